"""Flow runs at Prefect's server, as this service needs them: created, listed, and recorded as over."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, Pending, Scheduled

from services.processing.deployment import FLOW, NAME, Deployment
from services.processing.prefect_api import PrefectApi, PrefectUnavailable

#: Message of the state that Prefect's runners and workers set when they shut down; no person has cancelled such a run.
_SHUTDOWN = "Runner is shutting down"
#: Always passed, as limits are: newer servers reject the null that the client sends otherwise.
_SORT = FlowRunSort.ID_DESC
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]


class Verdict(Enum):
    """How a flow run whose process is gone has ended."""

    CANCELLED = "cancelled by a person"
    COMPLETED = "completed"
    BROKEN = "broken off"


class Orchestration:
    """The flow runs of one deployment at one Prefect server. Thread-safe."""

    def __init__(self, entrypoint: str, work_pool: str | None) -> None:
        self.work_pool = work_pool
        self._api = PrefectApi()
        self._deployment = Deployment(self._api, entrypoint, work_pool)

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def check(self) -> None:
        """Make sure that the server answers and the deployment is as it should be.

        Raises:
            PrefectUnavailable: no answer.
        """
        self._deployment.id()
        with self._api.client() as client:
            client.hello().raise_for_status()
        self._deployment.restore()

    def create(self, key: str, name: str, place: str) -> str:
        """Create the flow run for the broadcast whose spool is at ``place``; its id.

        Idempotent: the same ``key`` gives the same run.

        Raises:
            PrefectUnavailable: the run could not be created.
        """
        parameters = {"broadcast_spool": place}
        # Without a work pool the run is created as Pending instead of Scheduled, so that nobody else picks it up.
        state: State[Any] = Scheduled() if self.work_pool else Pending()
        for last in (False, True):
            deployment = self._deployment.id()
            try:
                with self._api.client() as client:
                    run = client.create_flow_run_from_deployment(
                        deployment, parameters=parameters, state=state, name=name, idempotency_key=key
                    )
                return str(run.id)
            except ObjectNotFound:
                self._deployment.forget()  # the server has another database now
                if last:
                    raise PrefectUnavailable(
                        "Prefect's server does not know the deployment that was just registered"
                    ) from None
            except PrefectUnavailable as error:
                if last or "404" not in str(error):
                    raise
                self._deployment.forget()
        raise AssertionError

    def started_by_hand(self, limit: int) -> list[str]:
        """Ids of runs that somebody has scheduled, at most ``limit``; each id is returned once.

        Raises:
            PrefectUnavailable: no answer.
        """
        from prefect.types._datetime import now

        deployment = self._deployment.id()
        with self._api.client() as client:
            found = client.get_scheduled_flow_runs_for_deployments(
                [deployment], scheduled_before=now("UTC"), limit=limit
            )
            claimed: list[str] = []
            for run in found:
                if run.flow_id != self._deployment.flow:  # the API accepts runs of any flow for any deployment
                    failed: State[Any] = Failed(message=f"The deployment {FLOW}/{NAME} runs the flow {FLOW} only.")
                    client.set_flow_run_state(run.id, failed, force=True)
                    continue
                state: State[Any] | None = client.set_flow_run_state(run.id, Pending()).state
                if state is not None and state.is_pending():
                    claimed.append(str(run.id))
        return claimed

    def states(self, flow_run_ids: Sequence[str]) -> dict[str, State[Any]]:
        """The states of these runs by id, without those that the server does not know.

        Raises:
            PrefectUnavailable: no answer.
        """
        found: dict[str, State[Any]] = {}
        for start in range(0, len(flow_run_ids), 100):
            ids = [UUID(id_) for id_ in flow_run_ids[start : start + 100]]
            with self._api.client() as client:
                wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids))
                runs = client.read_flow_runs(flow_run_filter=wanted, sort=_SORT, limit=100)
            found.update({str(run.id): run.state for run in runs if run.state is not None})
        return found

    def abandoned(self, alive: set[str], older_than_s: float = 60.0) -> list[str]:
        """Ids of runs that Prefect believes to be running, that are not in ``alive`` and older than ``older_than_s``.

        Raises:
            PrefectUnavailable: no answer.
        """
        from datetime import timedelta

        from prefect.types._datetime import now

        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[self._deployment.id()]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN)),
        )
        with self._api.client() as client:
            runs: list[FlowRun] = client.read_flow_runs(flow_run_filter=wanted, sort=_SORT, limit=200)
        before = now("UTC") - timedelta(seconds=older_than_s)
        old = [str(run.id) for run in runs if run.created is None or run.created < before]
        return [flow_run_id for flow_run_id in old if flow_run_id not in alive]

    def conclude(self, flow_run_id: str, why: str, *, cancelled: bool = False) -> tuple[Verdict, str]:
        """Give a run whose process is gone a final state; how it ended, and the message of that state.

        ``cancelled``: a person has cancelled the run, even if the run has recorded a crash after SIGTERM. Idempotent.

        Raises:
            PrefectUnavailable: no answer; call again.
        """
        run_id = UUID(flow_run_id)
        with self._api.client() as client:
            try:
                state = client.read_flow_run(run_id).state
            except ObjectNotFound:
                return Verdict.BROKEN, why
            crashed = state is not None and state.is_crashed() and cancelled
            if state is None or not state.is_final() or crashed:
                cancelling = cancelled or (state is not None and state.type == StateType.CANCELLING)
                state = Cancelled(message="Cancelled.") if cancelling else Crashed(message=why)
                client.set_flow_run_state(run_id, state, force=True)
        message = (state.message or why).strip().splitlines()[0]
        if is_cancelled(state):
            return Verdict.CANCELLED, message
        return (Verdict.COMPLETED if state.is_completed() else Verdict.BROKEN), message

    def conclude_parts(self, flow_run_id: str, why: str) -> None:
        """Record a crash for the child flow runs (windows) and task runs that were open when the run died.

        Raises:
            PrefectUnavailable: no answer.
        """
        parent = UUID(flow_run_id)
        still = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
        family = FlowRunFilterParentFlowRunId(any_=[parent])
        with self._api.client() as client:
            wanted = FlowRunFilter(parent_flow_run_id=family, state=still)
            windows = client.read_flow_runs(flow_run_filter=wanted, sort=_SORT, limit=50)
            ids = [parent, *(window.id for window in windows)]
            tasks = client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)),
                task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_OPEN))),
                sort=TaskRunSort.ID_DESC,
                limit=200,
            )
            for window in windows:
                client.set_flow_run_state(window.id, Crashed(message=why), force=True)
            for task in tasks:
                client.set_task_run_state(task.id, Crashed(message=why), force=True)


def is_cancelled(state: State[Any]) -> bool:
    """Whether a person has cancelled the run, or asked to; a runner that shut down does not count."""
    return state.type in (StateType.CANCELLING, StateType.CANCELLED) and _SHUTDOWN not in (state.message or "")
