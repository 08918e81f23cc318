"""Live sources whose bytes are received once: opened as soon as what is used of them is known.

libavformat looks at every track that a source lists, be it for subtitles that come once an hour, and what it looks at is
held back. It is therefore asked to look for a second only, and again from the beginning, for longer, if that was not enough.
"""

from __future__ import annotations

from typing import Any, Protocol

from av.container import InputContainer

from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.ffmpeg.probe import ANALYSED_S, open_source
from streamwave.ffmpeg.tracks import tracks

#: For how long is looked, one after the other.
_LOOKS_S = (1, 3, 6, ANALYSED_S)


class Bytes(Protocol):
    """A file object that can only be read."""

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""


class Remembered:
    """A file object with the bytes of ``flow``, which are kept until ``settle``; up to then they can be read again."""

    def __init__(self, flow: Bytes) -> None:
        self._flow = flow
        self._kept = bytearray()
        self._at = 0
        self._settled = False

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""
        if self._at >= len(self._kept):
            if self._settled:
                self._kept.clear()
                self._at = 0
            self._kept += self._flow.read(size)
        out = bytes(self._kept[self._at : self._at + size])
        self._at += len(out)
        return out

    def rewind(self) -> None:
        """Begin again."""
        self._at = 0

    def settle(self) -> None:
        """Keep nothing more."""
        self._settled = True


def open_arriving(url: str, received: Bytes, limits: SourceLimits = USUAL) -> InputContainer:
    """Open the already resolved ``url``, of which ``received`` gives what comes.

    Raises:
        SourceError: see ``open_source``.
    """
    flow = Remembered(received)
    for analysed_s in _LOOKS_S:
        flow.rewind()
        container = open_source(url, live=True, flow=flow, analysed_s=analysed_s, limits=limits)
        if _known(container):
            break
    flow.settle()
    return container


def _known(container: Any) -> bool:
    """Whether there are pictures whose size is known, or nothing but sound. Sound beside pictures may begin at any time."""
    video, audio = tracks(container)
    if video is None or video.codec_context is None:
        return audio is not None
    return bool(video.codec_context.width)
