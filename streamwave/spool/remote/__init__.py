"""The spool in a store (``s3://…``): how a run publishes on a machine that shares no disk with the one that receives.

The machine that receives works on a local folder, as ever (``spool.broadcast``). Its ``mirror`` stores what is received,
chunks before the lines of the journal that name them; its ``exchange`` stores the rest, and learns from the store how the
run is. The run works on a ``replica``, a local folder of its own that it fills from the store. Each object has one writer::

    SPOOL/<stream>/<broadcast>/broadcast.json, metadata.json     receiver: what the broadcast is
                               receiver.json                     receiver: a sign of life, changes every few seconds
                               closed                            receiver: how many sessions there were, none follows
                               000000/journal/000012.json        receiver: a line of the session's journal
                               000000/journal/part-000000.jsonl  receiver: a hundred of them, for those who come late
                               000000/000011.mkv, .aac           receiver; the run deletes them when they are published
                               000000/encoding.json              run: how the session is encoded
                               run.json                          run: its sign of life, its status, what it needs no more
                               finished                          run: everything is published

Nobody's clock is compared with another's: who looks at a sign of life measures by its own for how long it has not changed.
"""
