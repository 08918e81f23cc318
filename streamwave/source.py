"""Which sources may be opened, checked before any library sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from streamwave.errors import SourceError, UsageError

#: URL schemes that a source may have, and the protocols that libavformat may use underneath each.
PROTOCOLS: dict[str, str] = {
    "file": "file",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp,httpproxy",
    "srt": "srt,udp",
    # Either may lead to the other, and a playlist's segments may be encrypted.
    "http": "http,https,tls,tcp,httpproxy,crypto",
    "https": "https,http,tls,tcp,httpproxy,crypto",
}

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_stream_name(name: str) -> bool:
    """Whether ``name`` may name a stream: ``[a-z0-9][a-z0-9_-]{0,63}``."""
    return _NAME.fullmatch(name) is not None


def check_stream_name(name: str) -> None:
    """Raises UsageError, with what is allowed, unless ``name`` may name a stream."""
    if not is_stream_name(name):
        raise UsageError(f"{name[:70]!r} cannot name a stream; use a-z, 0-9, - and _, at most 64 of them")


def resolve_source(source: str, roots: Sequence[Path] | None = None) -> str:
    """The URL to open for ``source``: ``file:/absolute/path`` or a URL of an allowed scheme.

    ``roots`` confines files to these folders; None allows every file (a person at their own shell).

    Raises:
        SourceError: missing file, folder, forbidden scheme or a path outside of the roots.
    """
    if not source or "\0" in source or len(source) > 4096 or not source.isprintable():
        raise SourceError("the source must be a file's path or a URL, of printable characters and at most 4096 of them")
    said = source if len(source) <= 200 else f"{source[:200]}…"
    # A path that exists is a path, even if it looks like a URL ("movie: part 1.mp4").
    if not _exists(Path(source)):
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.,-]*):", source)
        if scheme and scheme[1].lower() != "file":
            if scheme[1].lower() not in PROTOCOLS or not _parts(source).netloc:
                allowed = ", ".join(f"{name}://" for name in PROTOCOLS if name != "file")
                raise SourceError(f"sources of the kind {scheme[1][:20]!r} are not allowed; use a file or {allowed}")
            return source
        if scheme:
            source = _parts(source).path or source[5:]
    try:
        real = Path(source).resolve()
    except (OSError, RuntimeError):
        raise SourceError(f"there is no file {said}; check the path") from None
    # Asked first, so that a caller who is confined cannot find out which files there are elsewhere.
    if roots is not None and not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceError(
            f"{said} is outside of the folders that sources may come from; see STREAMWAVE_ALLOWED_FILE_ROOTS"
        )
    if not _exists(real):
        raise SourceError(f"there is no file {said}; check the path")
    if real.is_dir():
        raise SourceError(f"{said} is a folder; name one video file in it")
    if not real.is_file():
        raise SourceError(f"{said} is not a regular file; name a video file")
    return f"file:{real}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for any file
        return False


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return SplitResult("", "", "", "", "")


def protocol_whitelist(url: str) -> str:
    """The protocols that opening ``url`` may use, in libavformat's comma-separated form."""
    return PROTOCOLS[url.split(":", 1)[0].lower()]


def redact(url: str) -> str:
    """``url`` without what may be a key: user, password, query, and what follows the application of an RTMP address.

    For logs, errors and manifests.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # nothing tells where in it a secret stands
        return "***"
    if not parts.netloc:
        return url
    host = parts.netloc.rpartition("@")[2]
    path = parts.path
    if parts.scheme in ("rtmp", "rtmps"):
        application, _, key = path.strip("/").partition("/")
        path = f"/{application}/***" if key else "/***" if application else path
    return urlunsplit((parts.scheme, host, path, "", ""))


def shown(url: str) -> str:
    """How ``url`` is named in messages: a plain path for files, without secrets otherwise."""
    return url.removeprefix("file:") if url.startswith("file:") else redact(url)
