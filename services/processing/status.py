"""The status of a broadcast, from the spool, from what its flow run reports, and from the reconciler."""

from __future__ import annotations

from services.processing import attempts, metadata
from services.processing.watch import Watch
from streamwave.model import State
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import writer_alive
from streamwave.v1 import streamwave_pb2 as pb

_STATES = {
    State.STARTING: pb.STREAM_STATE_STARTING,
    State.LIVE: pb.STREAM_STATE_LIVE,
    State.WAITING: pb.STREAM_STATE_WAITING,
    State.FINISHING: pb.STREAM_STATE_FINISHING,
    State.RECORDED: pb.STREAM_STATE_FINISHED,
}


def session_name(spool: BroadcastSpool, number: str) -> str:
    """The name of a session in the API: stream/broadcast/number."""
    return f"{spool.stream}/{spool.broadcast}/{number}"


def flow_run_of(spool: BroadcastSpool) -> str:
    """Id of the flow run that publishes the broadcast, is being started for it, or was the last; empty if there is none."""
    reported, attempt = spool.status(), attempts.read(spool.folder)
    own = str(reported.get("flow_run_id") or "")
    if attempt is None or not attempt.flow_run_id:
        return own
    newer = own and _number(reported.get("updated_unix_ms")) > attempt.created_unix_ms
    return own if newer else attempt.flow_run_id


def stream_status(spool: BroadcastSpool, watch: Watch | None) -> pb.StreamStatus:
    """The complete status.

    Raises:
        SpoolError: the broadcast's description is missing or damaged.
    """
    info, reported, sessions, names = spool.info(), spool.status(), spool.sessions(), spool.session_names()
    alive = not spool.finished and spool.run_alive()
    bitrates = reported.get("bitrates")
    warnings, advice = reported.get("warnings"), reported.get("advice")
    messages = [str(warning) for warning in warnings] if isinstance(warnings, list) else []
    if isinstance(advice, list):
        messages += [f"{found['code']}: {found['text']}" for found in advice if {"code", "text"} <= set(found)]
    return pb.StreamStatus(
        stream=spool.stream,
        broadcast=spool.broadcast,
        state=_state(spool, reported, alive, watch),
        sessions=len(names),
        last_session=session_name(spool, names[-1]) if names else "",
        receiving=bool(sessions) and writer_alive(sessions[-1]),
        flow_run_id=flow_run_of(spool),
        run_alive=alive,
        attempts=watch.attempts if watch else 0,
        chunks=_number(reported.get("chunks")),
        published_ms=_number(reported.get("published_ms")),
        received_ms=_number(reported.get("received_ms")),
        lag_ms=_number(reported.get("lag_ms")),
        bitrates_bps={str(k): _number(v) for k, v in bitrates.items()} if isinstance(bitrates, dict) else {},
        metadata=metadata.read(spool.folder),
        output=info.output,
        title=info.title,
        created_unix_ms=info.created_unix_ms,
        updated_unix_ms=_number(reported.get("updated_unix_ms")),
        warnings=[text[:500] for text in messages[-20:]],
        outputs=_outputs(reported.get("outputs")),
        error=str((watch.error if watch and not alive else "") or reported.get("error") or "")[:500],
    )


def _outputs(reported: object) -> list[pb.OutputStatus]:
    """What the run reports about each output (``Outputs.lags``)."""
    return [
        pb.OutputStatus(
            output=str(one.get("output") or ""),
            chunks=_number(one.get("chunks")),
            lag_chunks=_number(one.get("lag_chunks")),
            lag_ms=_number(one.get("lag_ms")),
            error=str(one.get("error") or "")[:500],
        )
        for one in (reported if isinstance(reported, list) else [])
        if isinstance(one, dict)
    ]


def _state(spool: BroadcastSpool, reported: dict[str, object], alive: bool, watch: Watch | None) -> pb.StreamState:
    if spool.finished:
        return pb.STREAM_STATE_FINISHED
    if alive:
        state = State.of_status(reported.get("state"))
        return pb.STREAM_STATE_STARTING if state is None else _STATES.get(state, pb.STREAM_STATE_STARTING)
    return pb.STREAM_STATE_FAILED if watch is not None and watch.failed else pb.STREAM_STATE_STARTING


def _number(value: object) -> int:
    return max(-(2**63), min(2**63 - 1, int(value))) if isinstance(value, int | float) else 0
