"""Workers of a live stream are killed at random, and come back: is every frame there once, and is nothing encoded in vain?"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_faults import CORES, RERUN_S, WORKERS, Figures, is_up
from benchmarks.cluster_live_site import LiveSite, live_site
from benchmarks.cluster_site import Start, now
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import end_of
from tests.support.cli import LADDER
from tests.support.cluster import Program
from tests.support.live import is_static, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.player import decode_sound
from tests.support.processes import wait_for

#: Length of the clip, which is repeated: whole frames, chunks and AAC frames.
FRAMES = 800
#: No worker is killed so soon after the beginning and before the end, in seconds.
MARGIN_S = 10.0
#: Audio and video may differ in length by this, because AAC frames do not end with the last video frame.
AUDIO_S = 0.1


@dataclass(frozen=True)
class _Kill:
    """``worker`` was killed ``at``; it was ``busy`` with a chunk or not."""

    at: float
    worker: str
    busy: bool


def main(kills: int = 30, minutes: float = 10, seed: int = 1) -> list[str]:
    """Measure and print; returns what misses its target."""
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        live_site(
            Path(name), WORKERS, CORES, STREAMWAVE_LADDER=json.dumps(LADDER), STREAMWAVE_SEGMENT_SECONDS="2"
        ) as site,
    ):
        site.place.pace("-readrate 0.4")
        site.place.start(*(str(number) for number in range(1, WORKERS + 1)))
        # Without B-frames, so that a publisher that ends leaves no gap.
        clip = make_clip(Path(name) / "clip.mp4", frames=FRAMES, options=("-bf", "0"))
        key = site.running.add_stream("kills")
        began = now()
        with site.running.publish(clip, key, "-t", f"{60 * minutes:g}", loop=True) as publisher:
            spool = site.running.broadcast("kills")
            killed = _kill(site, kills, began, 60 * minutes, random.Random(seed))
            assert publisher.wait(60 * minutes) == 0
            (session,) = spool.sessions()
            wait_for(lambda: end_of(session) is not None, "the end of the session", 60)
            received = site.running.received(spool)
        site.running.finished(spool)
        print(
            f"  {len(killed)} kills in {minutes:g} minutes, seed {seed}; {sum(one.busy for one in killed)} in mid-chunk"
        )
        _encoded_again(site, spool, killed, began, figures)
        _frames(site.running.root(spool), clip, received, figures)
    return figures.report()


def _kill(site: LiveSite, kills: int, began: float, seconds: float, chance: random.Random) -> list[_Kill]:
    """Kill workers at random times, each of which has come back before it is killed again."""
    times = sorted(chance.uniform(MARGIN_S, seconds - MARGIN_S) for _ in range(kills))
    done = []
    for at in times:
        time.sleep(max(0.0, began + at - now()))
        up = wait_for(lambda: [name for name, one in site.place.workers.items() if is_up(one)], "a worker")
        victim = chance.choice(sorted(up))
        busy = victim in site.place.busy()
        done.append(_Kill(now(), victim, busy))
        _kill_one(site.place.workers[victim])
    return done


def _kill_one(worker: Program) -> None:
    worker.kill()
    wait_for(lambda: not is_up(worker), "the death of a worker")


def _encoded_again(
    site: LiveSite, spool: BroadcastSpool, killed: Sequence[_Kill], began: float, figures: Figures
) -> None:
    """Every start of a chunk's FFmpeg after the first must have its reason: its worker was killed meanwhile."""
    starts: dict[int, list[Start]] = {}
    for start in site.place.starts(began):
        starts.setdefault(start.chunk, []).append(start)
    # Seconds since the machine was started, as those of the starts are.
    stored = {one.number: one.stored - time.time() + now() for one in site.chunks(spool)}
    again, late, taken = Counter[str](), 0, []
    for chunk, found in starts.items():
        for before, after in zip(found, found[1:], strict=False):
            death = [
                one.at for one in killed if one.worker == before.worker and before.at <= one.at + 0.1 <= after.at + 0.1
            ]
            again["after its worker was killed" if death else "for no reason"] += 1
            late += after.at > stored[chunk]
            taken += [after.at - death[-1]] if death else []
    print(f"  {len(stored)} chunks; encoded again: {dict(again) or 'none'}", flush=True)
    figures.check("no completed chunk encoded again", not again["for no reason"] and not late)
    figures.check("at most one chunk encoded again per kill", sum(again.values()) <= len(killed))
    if taken:
        # For information: a slot need not have been free.
        print(f"  SIGKILL until encoded elsewhere, median and longest: {sorted(taken)[len(taken) // 2]:.2f} s, "
              f"{max(taken):.2f} s (with a free slot at most {RERUN_S:g} s)")  # fmt: skip
    lags = sorted(one.lag for one in site.chunks(spool))
    print(f"  lag: median {lags[len(lags) // 2]:.2f} s, longest {lags[-1]:.2f} s")


def _frames(root: Path, clip: Clip, received: int, figures: Figures) -> None:
    """Decode all renditions, and read the numbers in their frames."""
    assert is_static(root)
    found = periods(root)
    figures.check("one period", len(found) == 1)
    numbers = picture_numbers(found[0], clip.rate)  # fails if the renditions differ, or a frame is not on the grid
    wrong = [at for at, number in enumerate(numbers) if number != at % clip.frames]
    print(f"  {received} frames received, {len(numbers)} in every rendition; first wrong one: {wrong[:1] or 'none'}")
    figures.check("every frame exactly once in every rendition", not wrong and len(numbers) == received)
    sound = decode_sound(found[0]["audio"].data)  # fails if it has a gap
    apart = abs(len(sound.samples) / sound.rate - float(len(numbers) / clip.rate))
    figures.check("sound as long as the pictures, without a gap", apart <= AUDIO_S)
