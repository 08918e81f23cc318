"""What makes a deployment lead to code or parameters other than ours. Against a real server: test_processing_code.py."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.responses import DeploymentResponse

from services.processing.deployment import runs_only

FLOW = "/opt/streamwave/flows/live_stream.py:live_stream"


def deployment(**fields: Any) -> DeploymentResponse:
    return DeploymentResponse(**{"flow_id": uuid4(), "name": "live", "entrypoint": FLOW, **fields})


def test_the_deployment_as_registered() -> None:
    assert runs_only(FLOW, deployment())
    assert runs_only(FLOW, deployment(pull_steps=[], job_variables={}, parameters={}))


@pytest.mark.parametrize(
    "change",
    [
        {"entrypoint": "/tmp/evil.py:live_stream"},
        {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "true"}}]},
        {"path": "/tmp"},
        {"job_variables": {"env": {"PYTHONSTARTUP": "/tmp/evil.py"}}},
        {"parameters": {"stream": "evil"}},
        {"work_pool_name": "pool"},
        {"storage_document_id": uuid4()},
        {"infrastructure_document_id": uuid4()},
        {"paused": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_counts(change: dict[str, Any]) -> None:
    assert not runs_only(FLOW, deployment(**change))
