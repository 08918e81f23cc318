"""Upkeep: deletes old flow runs from Prefect's database, and old spools."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from streamwave.config.settings import Settings
from streamwave.retention.janitor import clean_spool, clean_unattended

log = logging.getLogger("streamwave.upkeep")

#: Ended windows of a live broadcast that stay visible: half an hour, at five minutes each.
KEEP_WINDOWS = 6
#: How long ended windows stay visible.
KEEP_HOURS = 24

_ENDED = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED])
)


def delete_windows(parent: str) -> None:
    """Delete all but the newest ended windows of the flow run ``parent``, with their task runs.

    Prefect's own vacuum keeps child runs while their parent exists. A failure is logged; the next call, at the end of the
    next window, tries again.
    """
    try:
        with get_client(sync_client=True) as client:
            ended = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(parent)]), state=_ENDED
                ),
                sort=FlowRunSort.START_TIME_DESC,
                limit=200,
            )
            for run in ended[KEEP_WINDOWS:]:
                client.delete_flow_run(run.id)
    except Exception as error:
        log.warning("old windows were not deleted: %s", error)


def sweep(settings: Settings) -> None:
    """Delete old windows and spools at the end of a broadcast. A failure is logged; the next broadcast tries again."""
    try:
        _sweep(settings)
    except Exception as error:
        log.warning("old runs and spools were not removed: %s", error)


@flow(name="upkeep", persist_result=False)
def upkeep() -> None:
    """Delete old windows, and what the janitor finds in the spool and at the outputs."""
    settings = Settings.load()
    _sweep(settings)
    clean_unattended(settings)


def _sweep(settings: Settings) -> None:
    before = datetime.now(UTC) - timedelta(hours=KEEP_HOURS)
    with get_client(sync_client=True) as client:
        while True:
            old = client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=["live-window"])),
                flow_run_filter=FlowRunFilter(state=_ENDED, end_time=FlowRunFilterEndTime(before_=before)),
                limit=100,
            )
            for run in old:
                client.delete_flow_run(run.id)
            if not old:
                break
    clean_spool(settings.spool_dir)
