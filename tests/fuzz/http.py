"""Requests to the ingest service, generated from its OpenAPI document and then mutated; and checks of the answers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzz.mutate import mutate, mutate_words

_KINDS = ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "")
_TEXTS = (
    "cam1",
    "",
    "a" * 300,
    "sw_key",
    "\ud800",
    "\0",
    "../..",
    "Ä",
    "7",
    "%",
    "live",
    "0" * 32,
    "http://[",
    "file:/etc/x",
)


@dataclass(frozen=True)
class Operation:
    """One method of one path; ``statuses`` are those in the document."""

    method: str
    path: str
    statuses: frozenset[int]
    body: bool

    @property
    def name(self) -> str:
        """Name for tables."""
        return f"{self.method} {self.path}"

    def judge(self, status: int, *, elsewhere: bool = False) -> str:
        """What is wrong with an answer; empty if it is allowed. ``elsewhere``: a parameter has changed the path."""
        if status >= 500 and status != 503:
            return f"status {status}"
        if status not in self.statuses and not (elsewhere and status in (404, 405)):
            return f"status {status} is not documented"
        return ""


def operations(document: dict[str, Any]) -> list[Operation]:
    """All operations of the document."""
    return [
        Operation(method.upper(), path, frozenset(map(int, found["responses"])), "requestBody" in found)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]


@dataclass(frozen=True)
class Request:
    """One request, as sent over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    def text(self) -> str:
        """The request as text, to repeat it."""
        return json.dumps([self.method, self.path, self.headers, self.content.decode("latin-1")])


def damaged(operation: Operation, chance: random.Random, bearer: dict[str, str], tokens: tuple[str, str]) -> Request:
    """A mutated request to ``operation``, every second one with the admin token; ``tokens`` are the hooks' token and start."""
    names = {"token": tokens[0] if chance.randrange(4) else _text(chance), "instance": tokens[1], "name": _text(chance)}
    path = operation.path
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", quote(value.encode("utf-8", "surrogatepass"), safe="") or "x")
    headers = dict(bearer) if chance.randrange(2) else {}
    if chance.randrange(20) == 0:
        headers["Authorization"] = chance.choice(("", "Bearer", "bearer \xff", "Basic Og==", "Bearer " + "x" * 5000))
    if not operation.body and chance.randrange(4):
        return Request(operation.method, path, headers, b"")
    headers["Content-Type"] = _KINDS[min(chance.randrange(7), 4) if chance.randrange(3) else chance.randrange(2)]
    fields = {"name": _text(chance), "clientid": "7", "call": chance.choice(("publish", "play", _text(chance)))}
    fields |= {chance.choice(("source", "stream", "key", "addr", "title", "publish")): _text(chance)}
    if "streams" in operation.path:
        fields = (
            {"name": _text(chance), "title": _text(chance)} if operation.method == "POST" else {"title": _text(chance)}
        )
    if headers["Content-Type"] == _KINDS[0]:
        content = json.dumps(fields).encode()
    else:
        content = urlencode(fields, errors="surrogatepass").encode()
    match chance.randrange(4):
        case 0:
            content = mutate(content, chance)
        case 1:
            content = mutate_words(content, chance)
        case _ if chance.randrange(50) == 0:
            content *= 2000
    return Request(operation.method, path, headers, content)


def _text(chance: random.Random) -> str:
    if chance.randrange(3):
        return chance.choice(_TEXTS)
    return "".join(chr(chance.randrange(1, 0x3FF)) for _ in range(chance.randrange(9)))
