"""The methods of streamwave.v1.StreamProcessing: checks of what is asked, and answers from the spool."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from services.processing import metadata
from services.processing.faults import BadField, NotFound, TooMany, answers, answers_stream
from services.processing.sources import Sources
from services.processing.status import session_name, stream_status
from streamwave.config.settings import Settings
from streamwave.errors import SpoolError
from streamwave.sources.address import is_stream_name
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.remote.objects import check_spool
from streamwave.spool.stop import request_stop
from streamwave.storage.outputs import check_outputs, outputs_above
from streamwave.v1 import streamwave_pb2 as pb
from streamwave.v1.streamwave_pb2_grpc import StreamProcessingServicer

if TYPE_CHECKING:  # it imports prefect, which must find its settings in the environment by then
    from services.processing.reconciler import Reconciler

#: StartStream waits this long for the flow run to be created.
START_WAIT_S = 1.5
#: How often a watched broadcast is looked at.
WATCH_STEP_S = 0.25
#: Watchers at once; each takes a thread of the pool.
MAX_WATCHERS = 32
#: A store that was found to work is not asked again for this long.
STORE_TRUST_S = 30.0

_BROADCAST = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_NUMBER = re.compile(r"[0-9]{6}")


class StreamProcessing(StreamProcessingServicer):
    """The service. ``stopping`` ends what watches."""

    def __init__(self, settings: Settings, reconciler: Reconciler, stopping: threading.Event) -> None:
        self._settings = settings
        self._reconciler = reconciler
        self._sources = Sources(settings)
        self._stopping = stopping
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)
        self._store_good_until: dict[str, float] = {}

    @answers
    def StartStream(self, request: pb.StartStreamRequest, context: grpc.ServicerContext) -> pb.StartStreamResponse:
        """See the proto."""
        told = metadata.check(dict(request.metadata))
        if request.source:
            if request.session:
                raise BadField("give a session or a source, not both", "session")
            if len(request.title) > metadata.MAX_LENGTH or not request.title.isprintable():
                raise BadField(f"the title must be printable, at most {metadata.MAX_LENGTH} characters", "title")
            self._check_room()
            spool, number = self._sources.pull(_stream(request.stream), request.source, request.title)
        else:
            spool, number = self._session(request.session)
            if request.stream and request.stream != spool.stream:
                raise BadField(f"the session belongs to {spool.stream}, not to {request.stream[:70]!r}", "stream")
        if told:
            metadata.merge(spool.folder, told)
        created = self._start(spool)
        status = stream_status(spool, self._reconciler.known(spool.folder))
        return pb.StartStreamResponse(
            session=session_name(spool, number),
            broadcast=spool.broadcast,
            flow_run_id=status.flow_run_id,
            created=created,
            output=status.output,
            state=status.state,
        )

    def _start(self, spool: BroadcastSpool) -> bool:
        """See to it that a run publishes the broadcast; whether it was started for this call."""
        if spool.finished or spool.run_alive():
            return False
        known = self._reconciler.known(spool.folder)
        if known is None or not known.wanted:
            self._check_store(spool.info().output)
            self._check_spool()
        before = known.attempts if known else 0
        watch = self._reconciler.kick(spool.folder)
        assert watch is not None
        with watch.changed:
            watch.changed.wait_for(lambda: watch.started_at is not None or spool.run_alive(), START_WAIT_S)
        return watch.attempts > before

    def _check_store(self, output: str) -> None:
        root = outputs_above(output, 2)
        if self._store_good_until.get(root, 0.0) < time.monotonic():
            check_outputs(root, self._settings.s3_options)
            self._store_good_until[root] = time.monotonic() + STORE_TRUST_S

    def _check_spool(self) -> None:
        url = self._settings.spool_url
        if url is not None and self._store_good_until.get(url, 0.0) < time.monotonic():
            check_spool(url, self._settings.spool_options)
            self._store_good_until |= {url: time.monotonic() + STORE_TRUST_S}

    def _check_room(self) -> None:
        if self._reconciler.active >= self._reconciler.max_runs:
            raise TooMany(
                f"{self._reconciler.max_runs} broadcasts are being published, which is the bound: stop one, or raise "
                "STREAMWAVE_MAX_STREAMS",
                "streams",
            )

    @answers
    def StopStream(self, request: pb.StopStreamRequest, context: grpc.ServicerContext) -> pb.StopStreamResponse:
        """See the proto."""
        if request.session:
            spool, number = self._session(request.session)
        elif request.stream:
            spool = self._broadcast(request.stream, "")
            sessions = spool.sessions()
            number = sessions[-1].name if sessions else ""
        else:
            raise BadField("name the stream or the session that shall end", "target")
        stopped = [session_name(spool, number)] if number and request_stop(spool.folder / number) else []
        sessions = spool.sessions()
        # A late stop of an old session must not close the broadcast over its successor.
        if request.finish_now and not spool.finished and (not sessions or sessions[-1].name == number):
            spool.close()
        self._reconciler.kick()
        status = stream_status(spool, self._reconciler.known(spool.folder))
        return pb.StopStreamResponse(sessions=stopped, status=status)

    @answers
    def ForwardMetadata(
        self, request: pb.ForwardMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ForwardMetadataResponse:
        """See the proto."""
        spool, _ = self._session(request.session)
        return pb.ForwardMetadataResponse(metadata=metadata.merge(spool.folder, dict(request.metadata)))

    @answers
    def GetStream(self, request: pb.GetStreamRequest, context: grpc.ServicerContext) -> pb.GetStreamResponse:
        """See the proto."""
        spool = self._broadcast(request.stream, request.broadcast)
        return pb.GetStreamResponse(status=stream_status(spool, self._reconciler.known(spool.folder)))

    @answers
    def ListStreams(self, request: pb.ListStreamsRequest, context: grpc.ServicerContext) -> pb.ListStreamsResponse:
        """See the proto."""
        if not 0 <= request.limit <= 500:
            raise BadField(f"limit is {request.limit}; allowed: 1 to 500, or 0 for 100", "limit")
        stream = _stream(request.stream) if request.stream else None
        found = broadcasts(self._settings.spool_dir, stream)
        if not request.include_finished:
            found = [spool for spool in found if not spool.finished]
        found.sort(key=lambda spool: spool.broadcast)  # their names begin with their time
        shown = found[-(request.limit or 100) :]
        streams = []
        for spool in shown:
            with suppress(SpoolError, FileNotFoundError):  # it has just been removed
                streams.append(stream_status(spool, self._reconciler.known(spool.folder)))
        return pb.ListStreamsResponse(streams=streams, left_out=len(found) - len(shown))

    @answers_stream
    def WatchStream(
        self, request: pb.WatchStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchStreamResponse]:
        """See the proto."""
        spool = self._broadcast(request.stream, request.broadcast)
        if not self._watchers.acquire(blocking=False):
            raise TooMany(f"{MAX_WATCHERS} callers watch already; try again later, or use GetStream", "watchers")
        ended = threading.Event()
        try:
            if not context.add_callback(ended.set):  # cancelled, over its deadline, or gone
                return
            last = pb.StreamStatus()
            while not ended.is_set():
                status = stream_status(spool, self._reconciler.known(spool.folder))
                if _told(status) != _told(last):
                    last = status
                    yield pb.WatchStreamResponse(status=status)
                if status.state == pb.STREAM_STATE_FINISHED:
                    return
                if self._stopping.is_set():
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the service is ending; watch again when it is back")
                ended.wait(WATCH_STEP_S)
        finally:
            self._watchers.release()

    def _session(self, name: str) -> tuple[BroadcastSpool, str]:
        """The broadcast of a session, and the session's number in it."""
        parts = name.split("/")
        if len(parts) != 3 or not _NUMBER.fullmatch(parts[2]):
            raise BadField(f"{name[:120]!r} is no session; the form is stream/broadcast/number", "session")
        spool = self._broadcast(parts[0], parts[1], field="session")
        if parts[2] not in spool.session_names():
            raise NotFound(f"there is no session {name}", name)
        return spool, parts[2]

    def _broadcast(self, stream: str, broadcast: str, field: str = "stream") -> BroadcastSpool:
        """A broadcast by its name, or a stream's newest."""
        _stream(stream, field)
        if broadcast:
            if not _BROADCAST.fullmatch(broadcast):
                about = field if field == "session" else "broadcast"
                raise BadField(f"{broadcast[:70]!r} is no name of a broadcast", about)
            spool = BroadcastSpool(Path(self._settings.spool_dir, stream, broadcast))
            try:
                spool.info()
            except SpoolError:
                raise NotFound(f"there is no broadcast {stream}/{broadcast}", f"{stream}/{broadcast}") from None
            return spool
        found = broadcasts(self._settings.spool_dir, stream)
        if not found:
            raise NotFound(f"nothing of the stream {stream} is in the spool", stream)
        return found[-1]


def _stream(name: str, field: str = "stream") -> str:
    if not is_stream_name(name):
        raise BadField(f"{name[:70]!r} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters", field)
    return name


def _told(status: pb.StreamStatus) -> bytes:
    """What of a status counts as a change."""
    copy = pb.StreamStatus()
    copy.CopyFrom(status)
    copy.ClearField("updated_unix_ms")
    return copy.SerializeToString(deterministic=True)
