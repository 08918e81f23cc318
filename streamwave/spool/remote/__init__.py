"""The spool in a store (``s3://…``): lets a run publish on a machine that shares no disk with the receiving machine.

The receiving machine works on a local folder, as without a store (``spool.broadcast``). Its ``mirror`` uploads what is
received, chunks before the journal lines that name them; its ``exchange`` uploads the rest, and reads the state of the run
from the store. The run works on a ``replica``, a local folder that is filled from the store. Each object has one writer::

    SPOOL/<stream>/<broadcast>/broadcast.json, metadata.json     receiver: description of the broadcast
                               receiver.json                     receiver: heartbeat, changes every few seconds
                               closed                            receiver: number of sessions; no further one follows
                               000000/journal/000012.json        receiver: one line of the session's journal
                               000000/journal/part-000000.jsonl  receiver: a hundred lines, for a run that starts late
                               000000/000011.mkv, .aac           receiver; deleted by the run when they are published
                               000000/encoding.json              run: the session's encoding parameters
                               run.json                          run: heartbeat, status, chunks that it no longer needs
                               finished                          run: everything is published

Clocks of different machines are never compared: the reader of a heartbeat measures how long it has not changed with its
own clock.
"""
