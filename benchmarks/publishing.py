"""Publishing one stream's ladder to a store that is 50 ms away: how long a chunk takes until the ledger has it.

What a live run does for each chunk, by way of ``Outputs``: five segments, then five playlists, master playlist and MPD,
then the ledger, every 2 s, an hour into the broadcast. Over HTTP to moto's server, with a proxy in between that answers
no request sooner than 50 ms after it has come in whole. The round trips, requests that wait for one another, are counted
there, and how long answers really took: where moto, which shares the processors, needs longer, that is in the figure.
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
#: Milliseconds that a chunk may take in the median.
TARGET = 250.0
#: Bytes of text that a segment repeats: about 700 kB each, as 2.8 Mbit/s in 2 s.
REPEAT = 64_000
#: Chunks that were published before: an hour.
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
    """Have the ledger at ``store`` say that chunks were published before; what it is about need not be there."""
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
