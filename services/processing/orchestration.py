"""Prefect's API as this service needs it. Everything that can fail because the server is away raises ServerAway."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
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
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Crashed, Failed, Pending, Scheduled
from prefect.utilities.callables import parameter_schema_from_entrypoint

from streamwave.errors import StreamWaveError

log = logging.getLogger("streamwave.processing")

FLOW, NAME = "live-stream", "live"
#: How often the deployment is looked at for changes.
LOOK_S = 10.0
#: What Prefect's runners and workers write when they end a run because they themselves end: no person did that.
_SHUTDOWN = "Runner is shutting down"
#: Always given, like limits: newer servers refuse the null that the client sends without.
_SORT = FlowRunSort.ID_DESC
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]


class ServerAway(StreamWaveError):
    """Prefect's server cannot be reached or fails."""


class Verdict(Enum):
    """How a flow run whose process is gone has ended."""

    CANCELLED = "cancelled by a person"
    COMPLETED = "completed"
    BROKEN = "broken off"


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound:
        raise
    except (httpx.HTTPError, PrefectException, RuntimeError, OSError) as error:
        raise ServerAway(f"Prefect's server does not answer ({type(error).__name__}: {str(error)[:200]})") from None


class Orchestration:
    """One deployment at one Prefect server. Thread-safe."""

    def __init__(self, entrypoint: str, work_pool: str | None) -> None:
        self._entrypoint = entrypoint
        self.work_pool = work_pool
        self._client: SyncPrefectClient | None = None
        self._deployment: UUID | None = None
        self._flow: UUID | None = None
        self._look_again_at = 0.0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)

    def _api(self) -> SyncPrefectClient:
        with self._lock:
            if self._client is None:
                client = get_client(sync_client=True)
                self._client = client.__enter__()
            return self._client

    def check(self) -> None:
        """Ask whether the server is there; register the deployment if that is still to be done, or mend it.

        Raises:
            ServerAway: no answer.
        """
        deployment = self.deployment()
        with _reaching():
            self._api().hello().raise_for_status()
            if not self.work_pool and time.monotonic() >= self._look_again_at:
                self._look_again_at = time.monotonic() + LOOK_S
                if not self._is_ours(self._api().read_deployment(deployment)):
                    log.warning("the deployment %s/%s was changed at Prefect's server; it is put back", FLOW, NAME)
                    self._deployment = self._registered()

    def deployment(self) -> UUID:
        """The id of the deployment, which is registered first if we run it ourselves.

        Raises:
            ServerAway: no answer, or the work pool's deployment does not exist.
        """
        if self._deployment is None:
            with _reaching():
                self._deployment = self._named() if self.work_pool else self._registered()
        return self._deployment

    def _named(self) -> UUID:
        try:
            return self._api().read_deployment_by_name(f"{FLOW}/{NAME}").id
        except ObjectNotFound:
            raise ServerAway(
                f"Prefect has no deployment {FLOW}/{NAME}: "
                "run `prefect deploy --prefect-file deployments/prefect.yaml --all`"
            ) from None

    def _registered(self) -> UUID:
        """Create the deployment, or put all of it back. We don't execute what it says, but a worker of Prefect would."""
        client = self._api()
        schema = parameter_schema_from_entrypoint(self._entrypoint)
        flow = self._flow = client.create_flow_from_name(FLOW)
        for _ in range(2):
            deployment = client.create_deployment(
                flow_id=flow,
                name=NAME,
                description="Publishes one broadcast; started by the processing service, or by hand with source, stream.",
                entrypoint=self._entrypoint,
                parameter_openapi_schema=schema.model_dump_for_openapi(),
                enforce_parameter_schema=False,
                pull_steps=[],  # left out, it would keep those that are there
                paused=False,
            )
            if self._is_ours(client.read_deployment(deployment)):
                break
            client.delete_deployment(deployment)  # a work pool, for example, can be taken away only so
        return deployment

    def _is_ours(self, found: DeploymentResponse) -> bool:
        """Whether nothing of the deployment leads a worker to other code than ours."""
        elsewhere = (
            found.pull_steps, found.path, found.job_variables, found.parameters, found.work_pool_name,
            found.storage_document_id, found.infrastructure_document_id, found.paused,
        )  # fmt: skip
        return found.entrypoint == self._entrypoint and not any(elsewhere)

    def create(self, key: str, name: str, place: str) -> str:
        """Create the flow run for the broadcast whose spool is at ``place``; the same one again for the same ``key``. Its id.

        Raises:
            ServerAway: it could not be created.
        """
        parameters = {"broadcast_spool": place}
        # Pending and not Scheduled where we start it ourselves: nobody else may pick it up.
        state: State[Any] = Scheduled() if self.work_pool else Pending()
        for last in (False, True):
            deployment = self.deployment()
            try:
                with _reaching():
                    run = self._api().create_flow_run_from_deployment(
                        deployment, parameters=parameters, state=state, name=name, idempotency_key=key
                    )
                return str(run.id)
            except ObjectNotFound:
                self._deployment = None  # the server has another database now
                if last:
                    raise ServerAway("Prefect's server has lost the deployment that was just registered") from None
            except ServerAway as error:
                if last or "404" not in str(error):
                    raise
                self._deployment = None
        raise AssertionError

    def started_by_hand(self, limit: int) -> list[str]:
        """Runs that somebody has scheduled, by id; each is given out once.

        Raises:
            ServerAway: no answer.
        """
        from prefect.types._datetime import now

        with _reaching():
            found = self._api().get_scheduled_flow_runs_for_deployments(
                [self.deployment()], scheduled_before=now("UTC"), limit=limit
            )
            given: list[str] = []
            for run in found:
                if run.flow_id != self._flow:  # the API takes runs of any flow for any deployment
                    failed: State[Any] = Failed(message=f"The deployment {FLOW}/{NAME} runs the flow {FLOW} only.")
                    self._api().set_flow_run_state(run.id, failed, force=True)
                    continue
                state: State[Any] | None = self._api().set_flow_run_state(run.id, Pending()).state
                if state is not None and state.is_pending():
                    given.append(str(run.id))
        return given

    def states(self, flow_run_ids: Sequence[str]) -> dict[str, State[Any]]:
        """The states of these runs.

        Raises:
            ServerAway: no answer.
        """
        found: dict[str, State[Any]] = {}
        for start in range(0, len(flow_run_ids), 100):
            ids = [UUID(id_) for id_ in flow_run_ids[start : start + 100]]
            with _reaching():
                wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids))
                runs = self._api().read_flow_runs(flow_run_filter=wanted, sort=_SORT, limit=100)
            found.update({str(run.id): run.state for run in runs if run.state is not None})
        return found

    def abandoned(self, alive: set[str], older_than_s: float = 60.0) -> list[str]:
        """Runs of the deployment that Prefect takes for running and that are not among ``alive``.

        Raises:
            ServerAway: no answer.
        """
        from datetime import timedelta

        from prefect.types._datetime import now

        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[self.deployment()]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN)),
        )
        with _reaching():
            runs: list[FlowRun] = self._api().read_flow_runs(flow_run_filter=wanted, sort=_SORT, limit=200)
        before = now("UTC") - timedelta(seconds=older_than_s)
        old = [str(run.id) for run in runs if run.created is None or run.created < before]
        return [flow_run_id for flow_run_id in old if flow_run_id not in alive]

    def conclude(self, flow_run_id: str, why: str, *, cancelled: bool = False) -> tuple[Verdict, str]:
        """Make the record of a run whose process is gone say so; how it ended, and Prefect's words on that.

        ``cancelled``: a person had asked for it, which the run itself may have overwritten with a crash when it was
        sent SIGTERM. Repeating it is harmless.

        Raises:
            ServerAway: no answer; to be repeated.
        """
        run_id = UUID(flow_run_id)
        with _reaching():
            try:
                state = self._api().read_flow_run(run_id).state
            except ObjectNotFound:
                return Verdict.BROKEN, why
            crashed = state is not None and state.is_crashed() and cancelled
            if state is None or not state.is_final() or crashed:
                cancelling = cancelled or (state is not None and state.type == StateType.CANCELLING)
                state = Cancelled(message="Cancelled.") if cancelling else Crashed(message=why)
                self._api().set_flow_run_state(run_id, state, force=True)
        words = (state.message or why).strip().splitlines()[0]
        if is_cancelled(state):
            return Verdict.CANCELLED, words
        return (Verdict.COMPLETED if state.is_completed() else Verdict.BROKEN), words

    def conclude_parts(self, flow_run_id: str, why: str) -> None:
        """The same for what belonged to the run: its windows and the task runs that were under way.

        Raises:
            ServerAway: no answer.
        """
        parent = UUID(flow_run_id)
        still = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
        family = FlowRunFilterParentFlowRunId(any_=[parent])
        with _reaching():
            client = self._api()
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
    """Whether a person has cancelled, or asked to cancel; not so if a runner did because it was itself ended."""
    return state.type in (StateType.CANCELLING, StateType.CANCELLED) and _SHUTDOWN not in (state.message or "")
