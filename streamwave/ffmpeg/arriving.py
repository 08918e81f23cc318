"""Open live sources as soon as the tracks that are used are known. Their bytes can be received only once.

libavformat analyses every track that a source lists, even subtitles that appear once an hour, and buffers the source while it
does. So it is asked to analyse one second only, and if that is not enough, longer and longer, from the beginning each time.
"""

from __future__ import annotations

from typing import Any, Protocol

from av.container import InputContainer

from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.ffmpeg.probe import ANALYSED_S, open_source
from streamwave.ffmpeg.tracks import tracks

#: Seconds to analyse in the successive attempts.
_LOOKS_S = (1, 3, 6, ANALYSED_S)


class Bytes(Protocol):
    """A readable file object."""

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""


class Rewindable:
    """A file object over ``flow`` that can be rewound until ``settle`` is called, and keeps all bytes until then."""

    def __init__(self, flow: Bytes) -> None:
        self._flow = flow
        self._kept = bytearray()
        self._at = 0
        self._settled = False

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        if self._at >= len(self._kept):
            if self._settled:
                self._kept.clear()
                self._at = 0
            self._kept += self._flow.read(size)
        out = bytes(self._kept[self._at : self._at + size])
        self._at += len(out)
        return out

    def rewind(self) -> None:
        """Start reading from the beginning again."""
        self._at = 0

    def settle(self) -> None:
        """Stop keeping bytes."""
        self._settled = True


def open_arriving(url: str, received: Bytes, limits: SourceLimits = USUAL) -> InputContainer:
    """Open the resolved ``url``, whose data ``received`` delivers.

    Raises:
        SourceError: see ``open_source``.
    """
    flow = Rewindable(received)
    for analysed_s in _LOOKS_S:
        flow.rewind()
        container = open_source(url, live=True, flow=flow, analysed_s=analysed_s, limits=limits)
        if _known(container):
            break
    flow.settle()
    return container


def _known(container: Any) -> bool:
    """Whether the size of the video is known, or the source is audio only. Audio beside video may begin at any time."""
    video, audio = tracks(container)
    if video is None or video.codec_context is None:
        return audio is not None
    return bool(video.codec_context.width)
