"""Publishing one stream's ladder to a store that is 50 ms away: how long a chunk takes until the ledger has it.

Five segments, then five playlists, master playlist and MPD, then the ledger, every 2 s, over HTTP to moto's server, with
a proxy in between that delays every request. No processor time is measured; the machine should have some to spare.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path

from streamwave.publish import Publication
from streamwave.storage.store import open_store
from tests.support.broadcast import HEADER, LADDER, chunk
from tests.support.faults import Weather, proxy
from tests.support.s3 import s3_server

LATENCY_S = 0.050
#: Milliseconds that a chunk may take in the median.
TARGET = 250.0
#: Bytes of text that a segment repeats: about 700 kB each, as 2.8 Mbit/s in 2 s.
REPEAT = 64_000


def main(chunks: int = 30, every_s: float = 2.0) -> float:
    """Measure, print and return the median in milliseconds."""
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        s3_server() as s3,
        proxy(s3.endpoint, Weather(latency_s=LATENCY_S)) as through,
    ):
        store = open_store(f"{s3.bucket('bench')}/{uuid.uuid4().hex}", s3.through(through))
        publication = Publication(store, manifests=True, token="bench", manifest_interval_s=1.0)
        publication.begin(HEADER)
        times_ms = []
        for number in range(chunks):
            packaged = chunk(Path(name), number, renditions=LADDER, repeat=REPEAT)
            began = time.monotonic()
            publication.publish(packaged, "bench", "p0")
            times_ms.append((time.monotonic() - began) * 1000)
            time.sleep(max(0.0, began + every_s - time.monotonic()))
        publication.finish()
        publication.close()
    median = statistics.median(times_ms)
    print(
        f"publishing 5 objects and 7 playlists and manifests, {LATENCY_S * 1000:.0f} ms away: median {median:.0f} ms, "
        f"longest {max(times_ms):.0f} ms of {chunks} (median at most {TARGET:.0f})"
    )
    return median
