"""The bytes of a source that is read through a network connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error

from streamwave.errors import SourceError
from streamwave.ffmpeg.flv import FILE_HEADER_BYTES
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.probe import explain, open_source

#: How addresses of RTMP begin.
RTMP = ("rtmp:", "rtmps:")
#: Times that an RTMP connection is opened again after a message that libavformat does not know.
MOST_REOPENED = 20


class Connection:
    """A connection to ``source``. ``timeout_s`` limits each wait for bytes.

    Set ``established`` once the source has been recognized. ``reopened`` counts repeated openings. ``fell_silent`` is the error
    if the source has ended because it sends nothing any more.
    """

    def __init__(self, source: str, *, timeout_s: int, limits: SourceLimits) -> None:
        self._source, self._timeout_s, self._limits = source, timeout_s, limits
        self._is_rtmp = source.startswith(RTMP)
        self.established = False
        self.reopened = 0
        self.fell_silent: str | None = None

    def open(self) -> Any:
        """Connect; the bytes can be read once, by ``pieces``.

        Raises:
            SourceError: the source cannot be reached.
        """
        return open_source(self._source, read_timeout_s=self._timeout_s, as_bytes=True, limits=self._limits)

    def pieces(self, raw: Any) -> Iterator[bytes]:
        """The bytes of ``raw``. A connection that breaks off ends them, as when libavformat reads FLV or MPEG-TS from it.

        A source that falls silent ends them too, so that its last pictures come out. For RTMP that is no error, because its
        servers send nothing after the publisher has gone.
        """
        try:
            yield from self._bytes(raw)
        except (av.error.FFmpegError, SourceError) as failure:
            silent = isinstance(failure, av.error.ExitError | SourceError)
            if silent and not self.established:
                raise  # nothing has been received that could be ended
            if silent and not self._is_rtmp:
                self.fell_silent = str(failure) if isinstance(failure, SourceError) else explain(self._source, failure)

    def _bytes(self, raw: Any) -> Iterator[bytes]:
        """The bytes, over several connections if libavformat gives one up for an RTMP message that it does not know."""
        repeated = 0  # bytes that come again
        while True:
            try:
                for packet in raw.demux():
                    data = bytes(packet)[repeated:]
                    repeated = max(0, repeated - packet.size)
                    if data:
                        yield data
                return
            except av.error.InvalidDataError:
                if not self.established or not self._is_rtmp or self.reopened == MOST_REOPENED:
                    raise
                self.reopened += 1
                raw, repeated = self.open(), FILE_HEADER_BYTES
