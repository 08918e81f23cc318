"""Publish one stream's ladder to a store 50 ms away: how long until a chunk is in the ledger.

Like a live run, ``Outputs`` publishes every 2 s, an hour into the broadcast: five segments, then five media playlists,
the master
playlist and the MPD, then the ledger. The store is moto's server over HTTP, behind a proxy that answers no request sooner
than 50 ms after receiving all of it. The proxy also counts round trips (requests that wait for one another) and measures
the actual response times, because moto shares the CPU and its delays are part of the result.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path

from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, PeriodLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.pipeline.worker import MANIFEST_INTERVAL_S
from streamwave.publish.outputs import Outputs
from streamwave.publish.publication import Publication
from streamwave.storage.store import Store, open_store
from tests.support.broadcast import HEADER, LADDER, chunk
from tests.support.faults import Weather, proxy
from tests.support.s3 import s3_server

LATENCY_S = 0.050
#: Maximum median time per chunk, in milliseconds.
TARGET = 250.0
#: How often a segment repeats its text: about 700 kB per segment, like 2.8 Mbit/s for 2 s.
REPEAT = 64_000
#: Chunks that are already published: one hour.
BEFORE = 1800


def main(chunks: int = 30, every_s: float = 2.0) -> float:
    """Measure, print and return the median in milliseconds."""
    weather = Weather()
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        s3_server() as s3,
        proxy(s3.endpoint, weather) as through,
    ):
        work = Path(name)
        store = open_store(f"{s3.bucket('bench')}/{uuid.uuid4().hex}", s3.through(through))
        _one_hour(store, work)

        def publication() -> Publication:
            return Publication(store, manifests=True, token="bench", manifest_interval_s=MANIFEST_INTERVAL_S)

        outputs = Outputs([("bench", publication)], patience_s=60)
        outputs.begin(HEADER)
        weather.latency_s = LATENCY_S
        times_ms, round_trips, answers_ms = [], [], []
        for number in range(BEFORE, BEFORE + chunks):
            packaged = _chunk(work, number)
            weather.spans.clear()
            began = time.monotonic()
            outputs.publish(packaged, "bench", "p0")
            times_ms.append((time.monotonic() - began) * 1000)
            round_trips.append(weather.round_trips())
            answers_ms += [(answered - came) * 1000 for came, answered in weather.spans]
            time.sleep(max(0.0, began + every_s - time.monotonic()))
        outputs.finish()
        outputs.close()
    median, trips = statistics.median(times_ms), round(statistics.median(round_trips))
    print(
        f"publishing 5 objects and 7 playlists and manifests, {LATENCY_S * 1000:.0f} ms away: median {median:.0f} ms, "
        f"longest {max(times_ms):.0f} ms of {chunks} (median at most {TARGET:.0f}); {trips} round trips; "
        f"the store answered after {statistics.median(answers_ms):.0f} ms"
    )
    return median


def _chunk(work: Path, number: int) -> PackagedChunk:
    return chunk(work, number, renditions=LADDER, repeat=REPEAT)


def _one_hour(store: Store, work: Path) -> None:
    """Write a ledger at ``store`` that lists earlier chunks; their objects are not needed."""
    first = Publication(open_store(f"memory://{uuid.uuid4().hex}"), manifests=False, token="bench")
    first.begin(HEADER)
    first.publish(_chunk(work, 0), "bench", "p0")
    first.close()
    (period,) = first.ledger.periods
    ledger = Ledger(store)
    ledger.append(HEADER, PeriodLine.model_validate(period), save=False)
    sizes = {name: track.segments[0] for name, track in first.timeline.periods[0].tracks.items()}
    for number in range(BEFORE):
        segments = {name: ((number * one.duration, one.duration, one.size),) for name, one in sizes.items()}
        ledger.append(ChunkLine(number=number, segments=segments), save=False)
    ledger.save()
