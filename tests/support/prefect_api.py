"""A client for Prefect's HTTP API, to look up our runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.processes import wait_for

#: Events of task runs reach Prefect's database a second or two later.
RECORDED_S = 120


#: Login of the Prefect servers that the tests start themselves.
AUTH = "tests:of-this-session"
AUTH_ENVIRONMENT = {"PREFECT_API_AUTH_STRING": AUTH}


def basic(auth: str = AUTH) -> tuple[str, str]:
    """User and password for httpx."""
    user, _, password = auth.partition(":")
    return user, password


@dataclass(frozen=True)
class PrefectApi:
    """A server; ``url`` ends in /api."""

    url: str
    auth: str = AUTH

    def _post(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        # verify=False: certificates, which nothing needs here, would take longer to load than the answer to come.
        with httpx.Client(timeout=60, trust_env=False, verify=False, auth=basic(self.auth)) as client:
            answer = client.post(f"{self.url}/{path}", json=body)
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()
            return found

    def flow_runs(self, flow: str, **parameters: Any) -> list[dict[str, Any]]:
        """Runs of a flow that have at least these parameters, newest first."""
        runs = self._post("flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC"})
        return [run for run in runs if parameters.items() <= run["parameters"].items()]

    def children(self, flow_run: str) -> list[dict[str, Any]]:
        """Child runs of a flow run, oldest first."""
        found = self._post("flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run]}}})
        return sorted(found, key=lambda run: run["name"])

    def task_runs(self, flow_run: str) -> list[dict[str, Any]]:
        """All task runs of a flow run that have been recorded so far."""
        body = {"flow_runs": {"id": {"any_": [flow_run]}}, "limit": 200}
        return self._post("task_runs/filter", body)

    def finished_task_runs(self, flow_run: str, count: int) -> dict[str, dict[str, Any]]:
        """Wait until ``count`` task runs of a flow run have been recorded in a final state, and return them by name."""

        def all_there() -> list[dict[str, Any]]:
            runs = self.task_runs(flow_run)
            final = [run for run in runs if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")]
            return runs if len(final) == len(runs) >= count else []

        found = wait_for(all_there, f"{count} task runs", RECORDED_S)
        names = {run["name"]: run for run in found}
        assert len(names) == len(found), "two task runs have the same name"
        return names

    def artifacts(self, flow_run: str) -> list[dict[str, Any]]:
        """The artifacts that a flow run made."""
        return self._post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}})


def upstream(run: dict[str, Any]) -> set[str]:
    """IDs of the task runs that a task run waited for or got its input from."""
    return {one["id"] for inputs in run["task_inputs"].values() for one in inputs if one["input_type"] == "task_run"}
