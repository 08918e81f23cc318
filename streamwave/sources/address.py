"""Validate the address of a source before any library opens it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

from streamwave.errors import SourceError, UsageError

#: URL schemes of sources, and the protocols that libavformat may use for each.
PROTOCOLS: dict[str, str] = {
    "file": "file",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp,httpproxy",
    "srt": "srt,udp",
    # HTTP and HTTPS may redirect to each other, and HLS segments may be encrypted.
    "http": "http,https,tls,tcp,httpproxy,crypto",
    "https": "https,http,tls,tcp,httpproxy,crypto",
}

#: Maximum length of a source's name in messages, and how many characters of its end are kept.
MAX_SHOWN, SHOWN_END = 300, 60

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: Maximum length of the title of a stream or a broadcast, in characters.
MAX_TITLE = 200


def is_stream_name(name: str) -> bool:
    """Whether ``name`` is a valid stream name: ``[a-z0-9][a-z0-9_-]{0,63}``."""
    return _NAME.fullmatch(name) is not None


def check_stream_name(name: str) -> None:
    """Check that ``name`` is a valid stream name.

    Raises:
        UsageError: it is not; the message says what is allowed.
    """
    if not is_stream_name(name):
        raise UsageError(f"{name[:70]!r} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters")


def checked_title(title: str) -> str:
    """``title`` without spaces around it.

    Raises:
        UsageError: it is too long, or has characters that cannot be displayed, such as line breaks.
    """
    if len(title) > MAX_TITLE or not title.isprintable():
        raise UsageError(f"a title is one line of at most {MAX_TITLE} printable characters")
    return title.strip()


def resolve_source(source: str, roots: Sequence[Path] | None = None) -> str:
    """The URL to open for ``source``: ``file:///absolute/path``, percent-encoded, or a URL with an allowed scheme.

    A path may contain any characters. Bytes that are not UTF-8 arrive as Python's surrogate escapes, or, where text cannot
    carry those (JSON, gRPC), percent-encoded after ``file://`` (docs/decisions/0026-names-of-files.md). ``roots`` restricts
    files to these folders; None allows every file, for users at their own shell.

    Raises:
        SourceError: the file is missing, a folder, or outside the roots, or the scheme is not allowed.
    """
    if not source:
        raise SourceError("the source is empty; name a file or a URL")
    said = shown(source)
    if "\0" in source or not _is_bytes(source):
        raise SourceError(
            f"{said} is neither a file name nor a URL: it contains a character that neither allows; check it"
        )
    if len(source) > 4096:
        raise SourceError(f"{said} is longer than the 4096 characters that a source's path or URL may have; shorten it")
    # A path that exists is a path, even if it looks like a URL ("movie: part 1.mp4").
    paths = [source]
    if not _exists(Path(source)):
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.,-]*):", source)
        if scheme and scheme[1].lower() != "file":
            _check_url(source, scheme[1], said)
            return source
        if scheme:
            paths = _meant(source[len("file:") :], said)
    try:
        real = [Path(re.sub("^//+", "/", path)).resolve() for path in paths]
    except (OSError, RuntimeError, ValueError):
        raise SourceError(_no_file(said)) from None
    # Check the roots before existence, so that a confined caller cannot find out which files exist elsewhere.
    within = [one for one in real if roots is None or any(one.is_relative_to(root.resolve()) for root in roots)]
    if not within:
        raise SourceError(
            f"{said} is outside the folders that sources may come from; see STREAMWAVE_ALLOWED_FILE_ROOTS"
        )
    found = next(filter(_exists, within), None)
    if found is None:
        raise SourceError(_no_file(said))
    if found.is_dir():
        raise SourceError(f"{said} is a folder; name one video file in it")
    if not found.is_file():
        raise SourceError(f"{said} is not a regular file; name a video file")
    return found.as_uri()


def _check_url(url: str, scheme: str, said: str) -> None:
    if scheme.lower() not in PROTOCOLS or not _parts(url).netloc:
        allowed = ", ".join(f"{name}://" for name in PROTOCOLS if name != "file")
        raise SourceError(
            f"there is no file {said}, and sources of type {scheme[:20]!r} are not allowed; use a file or {allowed}"
        )
    if not url.isprintable():
        raise SourceError(
            f"the address {said} contains characters that a URL cannot (such as line breaks or unusual spaces); copy it again, "
            "or percent-encode them"
        )


def _meant(rest: str, said: str) -> list[str]:
    """The paths that ``file:`` followed by ``rest`` may mean: as a URL (RFC 8089), or as FFmpeg interprets it."""
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise SourceError(
                f"there is no file {said}: file:// is followed by a host name; write file:///folder/film.mp4, or the path "
                "alone"
            )
        return [_decoded(f"/{path}"), f"/{path}"]
    return [rest, _decoded(rest)]


def _decoded(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def _no_file(said: str) -> str:
    if said.startswith("~"):
        return f"there is no file {said}; the shell expands ~ only outside quotation marks, so write the full path"
    return f"there is no file {said}; check the path"


def _is_bytes(text: str) -> bool:
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:  # an unpaired surrogate
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the name is too long, or contains a NUL
        return False


def local_path(url: str) -> str:
    """The path of a resolved ``file:`` URL, as Python's system calls take it."""
    rest = url.removeprefix("file:")
    return _decoded(rest.removeprefix("//")) if rest.startswith("//") else rest


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets without an IPv6 address
        return SplitResult("", "", "", "", "")


def protocol_whitelist(url: str) -> str:
    """The protocols that may be used to open ``url``, in libavformat's comma-separated form."""
    return PROTOCOLS[url.split(":", 1)[0].lower()]


def redact(url: str) -> str:
    """``url`` without possible secrets: user, password, query, and everything after the application of an RTMP address.

    For logs, errors and manifests.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # the secret's position is unknown
        return "***"
    if not parts.netloc:
        return url
    host = parts.netloc.rpartition("@")[2]
    path = parts.path
    if parts.scheme in ("rtmp", "rtmps"):
        application, _, key = path.strip("/").partition("/")
        path = f"/{application}/***" if key else "/***" if application else path
    return urlunsplit((parts.scheme, host, path, "", ""))


def shown(source: str) -> str:
    """The name of a source in messages, logs and Prefect: a path unchanged, a URL without secrets.

    Always printable and on one line. A path that contains anything else (line breaks, bidirectional controls, bytes that are
    not UTF-8) is shown as a ``file:`` URL with those percent-encoded, which is again a valid source.
    """
    text = local_path(source) if re.match("file:/(//)?[^/]", source) else redact(source)
    if not text.isprintable():
        scheme = "" if _parts(text).netloc else "file://" if text.startswith("/") else "file:"
        text = scheme + "".join(
            one if one.isprintable() and (one != "%" or not scheme) else _percent(one) for one in text
        )
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - SHOWN_END - 1]}…{text[-SHOWN_END:]}"


def _percent(letter: str) -> str:
    how = "surrogateescape" if _is_bytes(letter) else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", how))
