"""Short fuzzing of the running services: no status 500 or INTERNAL, and no answer that the OpenAPI document lacks."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

import httpx

from services.ingest.__main__ import listen
from tests.fuzz import suite_grpc, suite_http
from tests.fuzz.http import damaged, operations
from tests.fuzz.report import Findings
from tests.fuzz.suites import Budget
from tests.support.ingest import BEARER, running
from tests.support.ports import free_port


def test_the_ingest_service_answers_what_it_documents(tmp_path: Path) -> None:
    with running(tmp_path) as ingest:
        document = ingest.client.get("/openapi.json").json()
        findings = []
        for operation in operations(document):
            assert 422 not in operation.statuses
            for number in range(12):
                request = damaged(operation, random.Random(number), BEARER, ("0" * 32, "start"))
                content = httpx.Request(
                    request.method, ingest.url + request.path, headers=suite_http.wire(request), content=request.content
                )
                if wrong := operation.judge(ingest.client.send(content).status_code):
                    findings.append((operation.name, wrong, request.text()))
        assert findings == []
        # A name that cannot be encoded as text matters only if JSON accepts it.
        for fields in ({"stream": "\ud800", "source": "rtmp://h/a/b"}, {"key": "\ud800", "source": "file://["}):
            answer = ingest.client.post(
                "/start-stream", content=json.dumps(fields), headers={**BEARER, "Content-Type": "application/json"}
            )
            assert 400 <= answer.status_code < 500, answer.text
        assert "Traceback" not in ingest.log.read_text()


def test_the_processing_service_answers_no_internal_error(tmp_path: Path) -> None:
    rows = list(suite_grpc.run(Budget(seed=1, inputs=15), Findings(tmp_path, quiet=True)))
    assert len(rows) == 6
    assert [row for row in rows if row.bad] == []


def test_small_answers_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY only on connections whose socket names its protocol; without it, each answer on a connection
    that stays open took 40 ms."""
    with (
        listen("127.0.0.1", free_port()) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.proto == socket.IPPROTO_TCP
