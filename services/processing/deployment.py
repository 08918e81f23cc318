"""The deployment at Prefect's server of which every flow run is an instance.

With a work pool, an operator registers it (``prefect deploy``). Otherwise this service registers it and restores it after
changes: we never execute what a deployment says, but a Prefect worker would.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema_from_entrypoint

from services.processing.prefect_api import PrefectApi, PrefectUnavailable

log = logging.getLogger("streamwave.processing")

FLOW, NAME = "live-stream", "live"
#: How often the deployment is compared with what this service has registered.
COMPARE_S = 10.0


class Deployment:
    """``FLOW/NAME``. ``entrypoint`` is the flow as Prefect names it (file:function); ``flow`` its id once registered here."""

    def __init__(self, api: PrefectApi, entrypoint: str, work_pool: str | None) -> None:
        self._api, self._entrypoint, self._work_pool = api, entrypoint, work_pool
        self._id: UUID | None = None
        self.flow: UUID | None = None
        self._compare_at = 0.0

    def id(self) -> UUID:
        """Its id. The first call looks the deployment up, or registers it if there is no work pool.

        Raises:
            PrefectUnavailable: no answer, or the work pool's deployment does not exist.
        """
        if self._id is None:
            with self._api.client() as client:
                self._id = self._find(client) if self._work_pool else self._register(client)
        return self._id

    def forget(self) -> None:
        """Look it up, or register it, again: the server no longer knows the id."""
        self._id = None

    def restore(self) -> None:
        """Register the deployment again if somebody has changed or deleted it; compared every ``COMPARE_S``.

        Raises:
            PrefectUnavailable: no answer.
        """
        if self._work_pool or time.monotonic() < self._compare_at:
            return
        deployment = self.id()
        self._compare_at = time.monotonic() + COMPARE_S
        with self._api.client() as client:
            try:
                intact = runs_only(self._entrypoint, client.read_deployment(deployment))
            except ObjectNotFound:
                intact = False
            if not intact:
                log.warning(
                    "somebody changed or deleted the deployment %s/%s at Prefect's server: restored", FLOW, NAME
                )
                self._id = self._register(client)

    def _find(self, client: SyncPrefectClient) -> UUID:
        try:
            return client.read_deployment_by_name(f"{FLOW}/{NAME}").id
        except ObjectNotFound:
            raise PrefectUnavailable(
                f"Prefect has no deployment {FLOW}/{NAME}: "
                "run `prefect deploy --prefect-file deployments/prefect.yaml --all`"
            ) from None

    def _register(self, client: SyncPrefectClient) -> UUID:
        schema = parameter_schema_from_entrypoint(self._entrypoint)
        flow = self.flow = client.create_flow_from_name(FLOW)
        for _ in range(2):
            deployment = client.create_deployment(
                flow_id=flow,
                name=NAME,
                description="Publishes one broadcast; started by the processing service, or by hand with source, stream.",
                entrypoint=self._entrypoint,
                parameter_openapi_schema=schema.model_dump_for_openapi(),
                enforce_parameter_schema=False,
                pull_steps=[],  # if omitted, existing steps would remain
                paused=False,
            )
            if runs_only(self._entrypoint, client.read_deployment(deployment)):
                break
            client.delete_deployment(deployment)  # some fields, such as a work pool, cannot be unset otherwise
        return deployment


def runs_only(entrypoint: str, found: DeploymentResponse) -> bool:
    """Whether a Prefect worker that follows the deployment would run ``entrypoint`` and no other code or parameters."""
    elsewhere = (
        found.pull_steps, found.path, found.job_variables, found.parameters, found.work_pool_name,
        found.storage_document_id, found.infrastructure_document_id, found.paused,
    )  # fmt: skip
    return found.entrypoint == entrypoint and not any(elsewhere)
