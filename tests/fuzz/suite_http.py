"""Fuzzes every endpoint in the OpenAPI document of a real ingest service, with and without the admin token.

Half of the requests are generated from the document by schemathesis, if that is installed: valid and invalid ones. The
others are mutated at random.
"""

from __future__ import annotations

import importlib.util
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from streamwave.streams.hooks import hook_token
from tests.fuzz.http import Operation, Request, damaged, operations
from tests.fuzz.report import Findings, Row
from tests.fuzz.suites import Budget, suite
from tests.support.ingest import BEARER, Ingest, running

#: Time-out of a request in seconds: hooks answer within five, but the machine may be busy.
DEADLINE_S = 90.0
#: Memory limit of the service.
MOST_RSS_MB = 512
#: Requests between two checks of the time that schemathesis takes.
_BATCH = 50


@suite("http")
def run(budget: Budget, findings: Findings) -> Iterator[Row]:
    """A row for each endpoint."""
    with tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as folder, running(Path(folder)) as ingest:
        ingest.client.timeout = httpx.Timeout(DEADLINE_S)
        document = ingest.client.get("/openapi.json").json()
        chosen = [one for one in operations(document) if budget.wants(one.name)]
        token = hook_token(ingest.settings)
        for operation in chosen:
            # Every endpoint gets the full number of inputs, and a share of the time.
            part = Budget(budget.seed, budget.shared(len(chosen)).seconds, budget.inputs)
            yield endpoint(operation, document, ingest, (token, "start"), part, findings)


def endpoint(
    operation: Operation,
    document: dict[str, Any],
    ingest: Ingest,
    tokens: tuple[str, str],
    budget: Budget,
    findings: Findings,
) -> Row:
    """Fuzz one endpoint within the budget."""
    row, statuses = Row("http", operation.name), Counter[int]()

    def call(request: Request, elsewhere: bool = False) -> None:
        row.inputs += 1
        try:
            content = httpx.Request(
                request.method, ingest.url + request.path, headers=wire(request), content=request.content
            )
        except (ValueError, httpx.InvalidURL):  # it cannot be sent
            return
        try:
            status = ingest.client.send(content).status_code
        except httpx.TimeoutException:
            row.hangs += 1
            findings.keep(row, "hang", request.text().encode())
        except httpx.TransportError as error:
            if ingest.process is None or ingest.process.poll() is not None:
                row.crashes += 1
                findings.keep(row, "death", request.text().encode(), ingest.log.read_text()[-4000:])
                ingest.start()
            elif isinstance(error, httpx.ConnectError):
                raise
        else:
            statuses[status] += 1
            if wrong := operation.judge(status, elsewhere=elsewhere):
                row.server_errors += status >= 500
                findings.keep(row, f"status-{status}", request.text().encode(), wrong)
        findings.progress(row)

    if importlib.util.find_spec("schemathesis") is not None:
        _by_schema(operation, document, _half(budget), call)
    rest = Budget(budget.seed, _half(budget).seconds, budget.inputs - row.inputs if budget.inputs is not None else None)
    for chance in rest.steps():
        call(damaged(operation, chance, BEARER, tokens))
    row.max_rss_mb = _rss_mb(ingest)
    row.over_memory = int(row.max_rss_mb > MOST_RSS_MB)
    row.notes.append(", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())))
    findings.progress(row, last=True)
    return row


def _half(budget: Budget) -> Budget:
    return budget.shared(2)


def wire(request: Request) -> list[tuple[bytes, bytes]]:
    """The request's headers, as bytes."""
    return [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]


def _rss_mb(ingest: Ingest) -> int:
    with suppress(OSError, StopIteration, AttributeError):
        lines = Path(f"/proc/{ingest.process.pid}/status").read_text().splitlines()  # type: ignore[union-attr]
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024
    return 0


def _by_schema(operation: Operation, document: dict[str, Any], budget: Budget, call: Callable[..., None]) -> None:
    """Requests that schemathesis generates from the document."""
    import hypothesis
    import schemathesis

    found = schemathesis.openapi.from_dict(document)[operation.path][operation.method]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    strategy = hypothesis.strategies.one_of(*(found.as_strategy(generation_mode=mode) for mode in modes))
    chance = random.Random(budget.seed)
    end = time.monotonic() + budget.seconds if budget.seconds is not None else None
    left = budget.inputs if budget.inputs is not None else 1 << 30
    batch = 0

    def some(case: Any) -> None:
        call(*_request(case, chance))

    while left > 0 and (end is None or time.monotonic() < end):
        size = min(left, _BATCH)
        settings = hypothesis.settings(
            max_examples=size, database=None, deadline=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        with suppress(hypothesis.errors.Unsatisfiable):  # a request without parameters cannot be invalid
            hypothesis.seed(budget.seed + batch)(settings(hypothesis.given(strategy)(some)))()
        left, batch = left - size, batch + 1


def _request(case: Any, chance: random.Random) -> tuple[Request, bool]:
    """The bytes of a case, and whether a parameter has turned its path into another one."""
    sent = case.as_transport_kwargs(base_url="http://h")
    data = sent.get("data")
    built = httpx.Request(
        case.method, sent["url"], params=sent.get("params"), json=sent.get("json"),
        data=data if isinstance(data, dict) else None, content=data if isinstance(data, bytes | str) else None,
    )  # fmt: skip
    headers = dict(BEARER) if chance.randrange(2) else {}
    headers |= {str(name): str(value) for name, value in (sent.get("headers") or {}).items()}
    headers.setdefault("Content-Type", built.headers.get("Content-Type", ""))
    odd = any(str(value) in ("", ".", "..") or "/" in str(value) for value in (case.path_parameters or {}).values())
    return Request(case.method, built.url.raw_path.decode("ascii"), headers, built.content), odd
