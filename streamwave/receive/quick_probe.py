"""Examines the first packets of a source, for ``streamwave probe``, without decoding anything.

A process of its own does it, see ``probing``.
"""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import chain

import av.error

from streamwave.ffmpeg.formats import counts_pictures
from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.ffmpeg.probe import open_source
from streamwave.ffmpeg.probing import DEADLINE_S, ask, serve
from streamwave.ffmpeg.relay import LISTEN_S, is_listener
from streamwave.ffmpeg.tracks import tracks
from streamwave.model import Rendition
from streamwave.receive.advisor import Advisor
from streamwave.receive.clock import SourceClock
from streamwave.receive.pictures import Pictures, is_hidden
from streamwave.spool import advice
from streamwave.spool.advice import Advice
from streamwave.timing import choose_rate, thinned, varies

#: How many seconds of the source are examined, and how many that may take if it is sent in real time.
LOOK_S = 30
PATIENCE_S = 12.0
#: The usual length of a chunk.
FIRST_MS = 2000


def look(url: str, renditions: tuple[Rendition, ...], limits: SourceLimits = USUAL) -> list[Advice]:
    """Advice for the publisher of the resolved ``url``; ``renditions`` are those planned for it.

    Raises:
        SourceError: the source cannot be opened, or crashes the process that does so.
    """
    request = {"url": url, "renditions": [one.model_dump(mode="json") for one in renditions]}
    deadline_s = DEADLINE_S + (LISTEN_S if is_listener(url) else 0)
    return [Advice(**one) for one in ask("streamwave.receive.quick_probe", request, limits, deadline_s)]


def _look(url: str, renditions: tuple[Rendition, ...], limits: SourceLimits) -> list[Advice]:
    live = not url.startswith("file:")
    advisor, sizes, starts_ms = Advisor(live=live), 0, list[int]()
    end = time.monotonic() + PATIENCE_S
    with open_source(url, live=live, limits=limits) as container:
        video, audio = tracks(container)
        if video is None or (live and counts_pictures(container.format)):
            return []  # its pictures have no timestamps
        clock, pictures = SourceClock(video=True), Pictures(video, container.format.name)
        damaged, at = 0, Fraction(0)
        try:
            for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
                of_video = packet.stream_index == video.index
                ready = pictures.put(packet) if of_video else [packet] if packet.size else []
                for timed in chain.from_iterable(clock.put(one, "video" if of_video else "audio") for one in ready):
                    if timed.kind == "video" and not is_hidden(timed.packet):
                        at = timed.shown
                        advisor.picture(timed, time.time_ns() // 1_000_000)
                        starts_ms.append(advisor.ms(at))
                        sizes += timed.packet.size
                if (starts_ms and starts_ms[-1] > LOOK_S * 1000) or time.monotonic() > end:
                    break
        except IndexError:
            pass  # tracks were added, see ``Reader``; the packets so far are enough
        except av.error.FFmpegError:
            damaged = 1
        stated = video.average_rate or video.guessed_rate
    advisor.counts(at, jumps=clock.jumps, lost=clock.untimed, damaged=damaged, slip=Fraction(0))
    if len(starts_ms) > 1:
        starts_ms.sort()
        # The first chunk decides on the grid.
        first = [at_ms for at_ms in starts_ms if at_ms - starts_ms[0] < FIRST_MS]
        rate = choose_rate(Fraction(stated) if stated else None, first)
        more = thinned(rate, first)
        if more is not None:
            advisor.say(advice.rate_capped(more, rate, live=live))
        elif not clock.jumps and varies(starts_ms, rate):
            advisor.say(advice.rate_varies(rate, live=live))
        length_ms = starts_ms[-1] - starts_ms[0]
        if length_ms >= 1000:
            advisor.say(advice.bitrate(sizes * 8000 // length_ms, renditions))
    return advisor.take()


if __name__ == "__main__":
    serve(
        lambda request, limits: [
            one.model_dump(mode="json")
            for one in _look(request["url"], tuple(Rendition(**one) for one in request["renditions"]), limits)
        ]
    )
