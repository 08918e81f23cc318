"""Upkeep: what Prefect's database must not keep for ever."""

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
from streamwave.retention.janitor import clean_by_itself, clean_spool

log = logging.getLogger("streamwave.upkeep")

#: Windows of a living broadcast that stay visible: at five minutes each, half an hour.
KEEP_WINDOWS = 6
#: Ended windows of any broadcast stay visible this long.
KEEP_HOURS = 24

_ENDED = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED])
)


def delete_windows(parent: str) -> None:
    """Delete all but the newest ended windows of the flow run ``parent``, with their task runs.

    Prefect's own vacuum leaves child runs alone as long as their parent lives. A failure is logged: the next border
    tries again.
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
    """``upkeep`` for the end of a broadcast: a failure is logged, the next broadcast tries again."""
    try:
        _sweep(settings)
    except Exception as error:
        log.warning("old runs and spools were not removed: %s", error)


@flow(name="upkeep", persist_result=False)
def upkeep() -> None:
    """Delete windows that ended long ago, and what the janitor finds in the spool and at the outputs."""
    settings = Settings.load()
    _sweep(settings)
    clean_by_itself(settings)


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
