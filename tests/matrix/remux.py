"""Changes the timestamps of packets, or drops packets, and remuxes them without re-encoding."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

#: Maps a packet's presentation time, in seconds, to a new one; None drops the packet.
Moved = Callable[[Fraction], Fraction | None]

_FINE = Fraction(1, 90_000)


def remux(
    source: Path,
    target: Path,
    *,
    picture: Moved | None = None,
    sound: Moved | None = None,
    options: dict[str, str] | None = None,
    late: Fraction = Fraction(0),
) -> None:
    """Remux ``source`` into the container given by the suffix of ``target``.

    Audio packets are interleaved ``late`` seconds after the corresponding video. Decoding times are recomputed: as late as
    the frame order allows.
    """
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        streams = {}
        for stream in old.streams:
            streams[stream.index] = new.add_stream_from_template(stream)
            streams[stream.index].time_base = _FINE
        packets: list[tuple[Fraction, int, Any]] = []
        for stream in old.streams:
            video = stream.type == "video"
            packets += [
                (at, stream.index, packet) for at, packet in _moved(old, stream, picture if video else sound, late)
            ]
            old.seek(0)
        for _, index, packet in sorted(packets, key=lambda one: one[0]):
            packet.stream = streams[index]
            new.mux_one(packet)


def _moved(container: Any, stream: Any, move: Moved | None, late: Fraction) -> list[tuple[Fraction, Any]]:
    """Packets of ``stream`` with new times, each with its position in the interleaving, in seconds."""
    kept = []
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        time = packet.pts * packet.time_base
        after = move(time) if move is not None else time
        if after is not None:
            kept.append((after, packet))
    times = sorted(time for time, _ in kept)
    last = container.streams.video[0].average_rate if stream.type == "video" else None
    lasts = dict(pairwise(times))
    delay = max(in_order - time for in_order, (time, _) in zip(times, kept, strict=True))
    found = []
    for in_order, (time, packet) in zip(times, kept, strict=True):
        decoded = in_order - max(delay, Fraction(0))
        packet.time_base = _FINE
        packet.pts, packet.dts = round(time / _FINE), round(decoded / _FINE)
        length = packet.duration * stream.time_base
        if last is not None:
            length = lasts[time] - time if time in lasts else 1 / last
        packet.duration = round(length / _FINE)
        found.append((decoded + (late if stream.type == "audio" else 0), packet))
    return found
