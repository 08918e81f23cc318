"""Which sources may be opened, checked before any library sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

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

#: Characters of a source's name that a message holds, and how many of them are from its end.
MOST_SHOWN, ENDING = 300, 60

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_stream_name(name: str) -> bool:
    """Whether ``name`` may name a stream: ``[a-z0-9][a-z0-9_-]{0,63}``."""
    return _NAME.fullmatch(name) is not None


def check_stream_name(name: str) -> None:
    """Raises UsageError, with what is allowed, unless ``name`` may name a stream."""
    if not is_stream_name(name):
        raise UsageError(f"{name[:70]!r} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters")


def resolve_source(source: str, roots: Sequence[Path] | None = None) -> str:
    """The URL to open for ``source``: ``file:///absolute/path``, percent-encoded, or a URL of an allowed scheme.

    A path is taken as it is, whatever characters it holds. Bytes that are no UTF-8 come as Python gives them
    (``surrogateescape``) or, where text cannot carry them (JSON, gRPC), percent-encoded behind ``file://``
    (docs/decisions/0026-names-of-files.md). ``roots`` confines files to these folders; None allows every file (a person at
    their own shell).

    Raises:
        SourceError: missing file, folder, forbidden scheme or a path outside of the roots.
    """
    if not source:
        raise SourceError("the source is empty; name a file or a URL")
    said = shown(source)
    if "\0" in source or not _is_bytes(source):
        raise SourceError(
            f"{said} cannot be a file's name or a URL: it has a character that neither can hold; check it"
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
    # Asked first, so that a caller who is confined cannot find out which files there are elsewhere.
    within = [one for one in real if roots is None or any(one.is_relative_to(root.resolve()) for root in roots)]
    if not within:
        raise SourceError(
            f"{said} is outside of the folders that sources may come from; see STREAMWAVE_ALLOWED_FILE_ROOTS"
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
            f"there is no file {said}, and sources of the kind {scheme[:20]!r} are not allowed; use a file or {allowed}"
        )
    if not url.isprintable():
        raise SourceError(
            f"the address {said} holds characters that a URL cannot have (such as line breaks, or spaces of other widths); "
            "copy it again, or write them percent-encoded"
        )


def _meant(rest: str, said: str) -> list[str]:
    """The paths that ``file:`` with ``rest`` behind it may stand for: of a URL (RFC 8089), and as FFmpeg writes it."""
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise SourceError(
                f"there is no file {said}: what follows file:// is the name of a host; write file:///folder/film.mp4, or the "
                "path alone"
            )
        return [_decoded(f"/{path}"), f"/{path}"]
    return [rest, _decoded(rest)]


def _decoded(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def _no_file(said: str) -> str:
    if said.startswith("~"):
        return f"there is no file {said}; a shell replaces ~ only without quotation marks, so write the whole path"
    return f"there is no file {said}; check the path"


def _is_bytes(text: str) -> bool:
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long for any file, or holds what no name can
        return False


def local_path(url: str) -> str:
    """The path that a resolved ``file:`` URL stands for, as the system calls of Python take it."""
    rest = url.removeprefix("file:")
    return _decoded(rest.removeprefix("//")) if rest.startswith("//") else rest


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


def shown(source: str) -> str:
    """How a source is named in messages, logs and Prefect: a path as it is, a URL without secrets.

    Always printable and on one line. Where a path holds anything else (line breaks, marks that turn the direction of
    writing, bytes that are no UTF-8), it is shown as a ``file:`` URL with that percent-encoded, which can be given as a
    source again.
    """
    text = local_path(source) if re.match("file:/(//)?[^/]", source) else redact(source)
    if not text.isprintable():
        scheme = "" if _parts(text).netloc else "file://" if text.startswith("/") else "file:"
        text = scheme + "".join(
            one if one.isprintable() and (one != "%" or not scheme) else _percent(one) for one in text
        )
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - ENDING - 1]}…{text[-ENDING:]}"


def _percent(letter: str) -> str:
    how = "surrogateescape" if _is_bytes(letter) else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", how))
