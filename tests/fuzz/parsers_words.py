"""The parsers of texts from users and programs: source addresses, settings, bodies of hooks."""

from __future__ import annotations

import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.requests import Request

from services.ingest.body import fields
from services.ingest.call import CALLS, read_call
from services.ingest.refusal import Refused
from streamwave.config.fields import to_base_urls, to_folders, to_place
from streamwave.errors import LadderError, SourceError, UsageError
from streamwave.ffmpeg.relay import is_listener, is_relayed
from streamwave.pipeline.ladder import choose, load_ladder
from streamwave.sources.address import check_stream_name, local_path, protocol_whitelist, redact, resolve_source, shown
from streamwave.storage.address import shown_address
from streamwave.storage.outputs import format_outputs, outputs, outputs_above, outputs_below, parse_outputs
from streamwave.untrusted import to_fraction
from tests.fuzz.parsers import parser

_KINDS = (b"application/json", b"application/x-www-form-urlencoded", b"text/plain", b"")


def _text(data: bytes) -> str:
    """Decode the input as a command line or an environment variable would be."""
    return data.decode("utf-8", "surrogateescape")


@parser(Refused, text=True)
def body(data: bytes) -> None:
    """The body of a hook: its fields, and the resulting call."""
    kind = _KINDS[data[0] % len(_KINDS)] if data else b""
    found, _ = _now(fields(_request(kind, data[1:])))
    for hook in CALLS:
        with suppress(Refused):
            call = read_call(hook, "instance", found)
            assert len(call.key_hash) == 64 and len(call.address) <= 64 and call.encoder.isascii()


def _request(kind: bytes, content: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)


def _now(call: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never suspends."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@parser(SourceError, UsageError, text=True)
def source(data: bytes) -> None:
    """The address of a source: allowed ones are confined, and every address can be displayed."""
    text = _text(data)
    for show in (redact, shown, shown_address):
        show(text)
    with suppress(UsageError):
        check_stream_name(text)
    roots = [Path(tempfile.gettempdir())]
    for where in (roots, None):
        with suppress(SourceError):
            url = resolve_source(text, where)
            protocol_whitelist(url), shown(url), is_relayed(url), is_listener(url)
            assert not url.startswith("file:") or where is None or local_path(url).startswith(f"{roots[0].resolve()}/")


@parser(ValueError, UsageError, text=True)
def setting(data: bytes) -> None:
    """Settings with their own syntax. Formatted outputs are read back."""
    text = _text(data)
    for read in (to_base_urls, to_fraction, to_place, to_folders):
        with suppress(ValueError):
            read(text)
    with suppress(UsageError):
        outputs(text)
    targets = parse_outputs(text)
    assert parse_outputs(format_outputs(targets)) == targets
    assert outputs(outputs_above(outputs_below(text, "a/b"), 2)) is not None


@parser(LadderError, text=True)
def ladder(data: bytes) -> None:
    """A ladder: names, inline JSON, or a TOML or JSON file."""
    text = _text(data)
    with suppress(LadderError):
        load_ladder(text if "/" not in text else "{" + text)
    with suppress(LadderError):
        choose(None, "{" + text)
    with tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as folder:
        for name in ("ladder.toml", "ladder.json"):
            path = Path(folder, name)
            path.write_bytes(data)
            with suppress(LadderError):
                load_ladder(str(path))
