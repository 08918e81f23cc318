"""Find FFmpeg: the one that FFMPEG_PATH names, else the system's, else the one in the package imageio-ffmpeg."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from streamwave.errors import SettingsError
from streamwave.util.programs import ask
from streamwave.util.trust import program

#: The oldest FFmpeg whose fragments have been verified to be exact: that of Debian 12.
MINIMUM_VERSION = (5, 1)

_INSTALL = "install FFmpeg 5.1 or newer (on Debian with apt-get install ffmpeg) or point FFMPEG_PATH to one"

Source = Literal["FFMPEG_PATH", "system", "pip"]


@dataclass(frozen=True)
class FFmpegBinary:
    """An FFmpeg program: absolute path, version as (major, minor), and where it was found."""

    path: str
    version: tuple[int, int]
    source: Source


def locate(ffmpeg_path: str | None = None) -> FFmpegBinary:
    """Find the FFmpeg to use; ``ffmpeg_path`` (a path or a name in PATH) is the setting FFMPEG_PATH.

    If the system's FFmpeg is too old, the one from pip is used instead; a named one is never replaced.

    Raises:
        SettingsError: there is none, or the one at ``ffmpeg_path`` is missing, not FFmpeg, or too old.
    """
    if ffmpeg_path:
        path = program(ffmpeg_path)
        if path is None:
            raise SettingsError(f"FFMPEG_PATH names {ffmpeg_path!r}, which is not a program: {_INSTALL}")
        version = parse_version(ask(path, "-version"))
        if version is None:
            raise SettingsError(f"FFMPEG_PATH names {ffmpeg_path!r}, which does not answer like FFmpeg: {_INSTALL}")
        if version < MINIMUM_VERSION:
            raise SettingsError(f"FFMPEG_PATH names {ffmpeg_path!r}, which is FFmpeg {dotted(version)}: {_INSTALL}")
        return FFmpegBinary(path, version, "FFMPEG_PATH")
    candidates: list[tuple[str | None, Source]] = [(program("ffmpeg"), "system"), (_from_pip(), "pip")]
    for path, source in candidates:
        version = parse_version(ask(path, "-version")) if path else None
        if path and version and version >= MINIMUM_VERSION:
            return FFmpegBinary(path, version, source)
    raise SettingsError(f"no FFmpeg was found: {_INSTALL}")


def encoders(binary: FFmpegBinary) -> frozenset[str]:
    """Names of the encoders that the program includes."""
    listing = ask(binary.path, "-hide_banner", "-encoders").partition("------")[2]
    return frozenset(words[1] for words in map(str.split, listing.splitlines()) if len(words) > 1)


@cache
def has_zimg(ffmpeg_path: str) -> bool:
    """Whether the program can convert colours with zimg, which is exact for HDR; other filters approximate."""
    return re.search(r"^ *\S+ zscale ", ask(ffmpeg_path, "-hide_banner", "-filters"), re.MULTILINE) is not None


@cache
def decodable(ffmpeg_path: str) -> frozenset[str]:
    """Names of the codecs that the program can decode."""
    listing = ask(ffmpeg_path, "-hide_banner", "-codecs").partition("-------")[2]
    rows = (line.split() for line in listing.splitlines())
    return frozenset(words[1] for words in rows if len(words) > 1 and words[0].startswith("D"))


def dotted(version: tuple[int, int]) -> str:
    """(5, 1) as ``5.1``."""
    return ".".join(map(str, version))


def parse_version(banner: str) -> tuple[int, int] | None:
    """The version in the output of ``ffmpeg -version``; None if it is not FFmpeg's.

    Development builds state a commit instead of a version. For those it is derived from libavcodec's major version, which has
    been FFmpeg's plus 54 since FFmpeg 3.
    """
    if not banner.startswith("ffmpeg version "):
        return None
    if found := re.match(r"ffmpeg version n?(\d+)\.(\d+)", banner):
        return int(found[1]), int(found[2])
    if found := re.search(r"^libavcodec\s+(\d+)\.", banner, re.MULTILINE):
        return int(found[1]) - 54, 0
    return None


def _from_pip() -> str | None:
    try:
        import imageio_ffmpeg  # imported late, because it slows down start-up and is rarely needed

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
