"""Receive protocols that PyAV's libavformat lacks, such as SRT, through the FFmpeg program.

Its output comes through a pipe unchanged, and is demuxed in this process like every other source.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import weakref
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from streamwave.errors import SourceError
from streamwave.ffmpeg.limits import ProcessLimits
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import kill, spawn
from streamwave.ffmpeg.remedies import unreachable
from streamwave.sources.address import protocol_whitelist

#: Schemes that PyAV's libavformat does not support.
RELAYED = frozenset({"srt"})
#: How long to wait for an encoder to connect to us, in seconds: a person has to start it.
LISTEN_S = 600
_LAST_WORDS_BYTES, _MAX_WORDS_BYTES = 4096, 65536
#: FFmpeg only copies bytes; libsrt has buffers of a few megabytes.
_LIMITS = ProcessLimits(memory_bytes=512 << 20, file_bytes=16 << 20)
#: libavformat's message for a protocol that it was built without.
_UNKNOWN = "Protocol not found"


def is_relayed(url: str) -> bool:
    """Whether the resolved ``url`` must be received through FFmpeg."""
    return urlsplit(url).scheme.lower() in RELAYED


def is_listener(url: str) -> bool:
    """Whether the sender connects to us."""
    return "listener" in parse_qs(urlsplit(url).query).get("mode", [])


class Relay:
    """A file object with the data from ``url``. ``open_timeout_s`` applies to the first byte, ``read_timeout_s`` to later ones.

    ``name`` is the source's name in messages, ``ffmpeg_path`` the FFmpeg that receives it (see ``locate``). Create it in a
    thread that lives as long as it is read, because FFmpeg dies with that thread.
    """

    def __init__(
        self, url: str, name: str, ffmpeg_path: str | None = None, *, open_timeout_s: int, read_timeout_s: int
    ) -> None:
        self._name, self._url = name, url
        self._wait_s: float = open_timeout_s
        self._next_wait_s = read_timeout_s
        self._begun = False
        self._program = locate(ffmpeg_path).path
        self._errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (closed with the process)
        self._process = spawn(
            _command(self._program, url), stdout=subprocess.PIPE, stderr=self._errors, confined=True, limits=_LIMITS
        )
        self._leave = weakref.finalize(self, _leave, self._process, self._errors)

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty when the sender has disconnected.

        Raises:
            SourceError: no data arrived within the timeout.
        """
        if not self._leave.alive:
            return b""
        pipe: Any = self._process.stdout
        ready, _, _ = select.select([pipe], [], [], self._wait_s)
        if not ready:
            self._leave()
            raise SourceError(f"{self._name} did not answer in time; check the address and the network")
        data = os.read(pipe.fileno(), size)
        if data:
            self._begun, self._wait_s = True, self._next_wait_s
            # FFmpeg's messages would grow for as long as the stream runs.
            if os.fstat(self._errors.fileno()).st_size > _MAX_WORDS_BYTES:
                self._errors.truncate(0)
            return data
        kill(self._process, grace_s=0.5)
        reason = _last_words(self._errors)
        self._leave()
        if not self._begun:
            raise SourceError(self._refused(reason))
        return b""

    def _refused(self, reason: str) -> str:
        if reason == _UNKNOWN:
            return f"{self._name}: {self._program} was built without SRT; point FFMPEG_PATH to an FFmpeg that has it"
        return f"{self._name} {unreachable(self._url, reason)}"


def _leave(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    kill(process)
    if process.stdout is not None:
        process.stdout.close()
    errors.close()


def _last_words(errors: IO[bytes]) -> str:
    """FFmpeg's last message, without the URL, which may contain a key."""
    errors.seek(0)
    lines = errors.read(_LAST_WORDS_BYTES).decode("utf-8", "replace").strip().splitlines()
    return lines[-1].rpartition(": ")[2].rstrip(".") if lines else "it ended before anything arrived"


def _command(program: str, url: str) -> list[str]:
    return [
        program,
        *("-nostdin", "-hide_banner", "-loglevel", "error"),
        *("-protocol_whitelist", f"{protocol_whitelist(url)},pipe"),
        # -f data: copy bytes without parsing or buffering them.
        *("-probesize", "32", "-analyzeduration", "0", "-f", "data", "-i", url),
        *("-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", "pipe:1"),
    ]
