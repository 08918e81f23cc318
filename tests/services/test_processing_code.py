"""The processing service executes the code of this installation, whatever the deployment at Prefect's server says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.services.processing_case import Case, eventually
from tests.support.http import LOCAL
from tests.support.prefect_api import basic

ENDED = ("COMPLETED", "FAILED", "CRASHED")


class Attacker:
    """Somebody with credentials for Prefect's API, who can therefore write to it."""

    def __init__(self, url: str, made: Path) -> None:
        self.url, self.made = url, made
        self.flow = self.ask("POST", "/flows/", {"name": "live-stream"})["id"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        def answered() -> httpx.Response | None:
            answer = httpx.request(method, f"{self.url}{path}", json=body, auth=basic(), timeout=60, **LOCAL)
            return answer if answer.status_code != 503 else None  # SQLite was locked

        answer = eventually(answered, f"{method} {path}").raise_for_status()
        return answer.json() if answer.content else None

    @property
    def evil(self) -> dict[str, Any]:
        """Fields of a deployment that make a Prefect worker execute other code."""
        program = self.made.with_name("evil.py")
        program.write_text(f"from pathlib import Path\nPath({str(self.made)!r}).touch()\n")
        step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {self.made}"}}
        return {
            "pull_steps": [step], "entrypoint": f"{program}:live_stream", "path": str(program.parent),
            "job_variables": {"env": {"PYTHONSTARTUP": str(program)}}, "parameters": {"stream": "evil"}, "paused": True,
        }  # fmt: skip

    def deploy(self) -> str:
        """Create the deployment with those fields; its id."""
        self.ask("POST", "/work_pools/", {"name": f"pool-{self.made.parent.name}", "type": "process"})
        pool = {"work_pool_name": f"pool-{self.made.parent.name}"}
        return str(self.ask("POST", "/deployments/", {"name": "live", "flow_id": self.flow, **self.evil, **pool})["id"])

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/deployments/name/live-stream/live")
        return found

    def exists(self) -> bool:
        answer = httpx.get(f"{self.url}/deployments/name/live-stream/live", auth=basic(), timeout=30, **LOCAL)
        return answer.status_code == 200

    def is_mended(self, flow: str) -> bool:
        now = self.deployment()
        return now["entrypoint"] == flow and not any(
            now[name] for name in ("pull_steps", "path", "job_variables", "parameters", "work_pool_name", "paused")
        )


def test_only_our_flow_is_executed(case: Case, tmp_path: Path) -> None:
    attacker, target = Attacker(case.api, tmp_path / "made"), tmp_path / "by-hand"
    attacker.deploy()
    case.start()
    assert attacker.is_mended(case.flow), attacker.deployment()
    deployment = attacker.deployment()["id"]
    attacker.ask("PATCH", f"/deployments/{deployment}", {**attacker.evil, "paused": False})
    scheduled = {"parameters": {"source": str(target), "stream": "cam"}, "state": {"type": "SCHEDULED"}}
    run = attacker.ask("POST", f"/deployments/{deployment}/create_flow_run", scheduled)
    # The run executes our flow and ignores the fields of the deployment.
    eventually(lambda: case.run_state(run["id"]) in ENDED, "the run is over")
    assert (case.run_state(run["id"]), attacker.made.exists()) == ("COMPLETED", False)
    assert target.read_text() == "cam by hand"
    eventually(lambda: attacker.is_mended(case.flow), "the deployment is put back")
    # A run of another flow that claims to belong to the deployment.
    other = attacker.ask("POST", "/flows/", {"name": "evil"})["id"]
    target.unlink()
    run = attacker.ask("POST", "/flow_runs/", {"flow_id": other, "deployment_id": deployment, **scheduled})
    eventually(lambda: case.run_state(run["id"]) in ENDED, "the run is refused")
    assert (case.run_state(run["id"]), target.exists()) == ("FAILED", False)
    assert not attacker.made.exists()


def test_a_deployment_that_somebody_deletes_is_registered_again(case: Case, tmp_path: Path) -> None:
    somebody = Attacker(case.api, tmp_path / "made")
    case.start()
    somebody.ask("DELETE", f"/deployments/{somebody.deployment()['id']}")
    eventually(lambda: somebody.exists() and somebody.is_mended(case.flow), "the deployment is back")
    assert "Traceback" not in case.log
