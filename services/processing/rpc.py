"""The methods of streamwave.v1.StreamProcessing: they validate requests and answer from the spool."""

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

if TYPE_CHECKING:  # imports prefect, which reads its settings from the environment at import
    from services.processing.reconciler import Reconciler

#: StartStream waits this long for the flow run to be created.
START_WAIT_S = 1.5
#: How often WatchStream checks its broadcast for changes.
WATCH_STEP_S = 0.25
#: Concurrent calls of WatchStream; each occupies a thread of the pool.
MAX_WATCHERS = 32
#: How long a successful check of a store is trusted.
STORE_TRUST_S = 30.0

_BROADCAST = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_NUMBER = re.compile(r"[0-9]{6}")


class StreamProcessing(StreamProcessingServicer):
    """The servicer. Setting ``stopping`` ends calls of WatchStream."""

    def __init__(self, settings: Settings, reconciler: Reconciler, stopping: threading.Event) -> None:
        self._settings = settings
        self._reconciler = reconciler
        self._watches = reconciler.watches
        self._sources = Sources(settings)
        self._stopping = stopping
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)
        self._store_good_until: dict[str, float] = {}

    @answers
    def StartStream(self, request: pb.StartStreamRequest, context: grpc.ServicerContext) -> pb.StartStreamResponse:
        """See the proto."""
        entries = metadata.check(dict(request.metadata))
        if request.source:
            if request.session:
                raise BadField("give a session or a source, not both", "session")
            if len(request.title) > metadata.MAX_LENGTH or not request.title.isprintable():
                raise BadField(f"the title must be printable, at most {metadata.MAX_LENGTH} characters", "title")
            self._check_limit()
            spool, number = self._sources.pull(_stream(request.stream), request.source, request.title)
        else:
            spool, number = self._session(request.session)
            if request.stream and request.stream != spool.stream:
                raise BadField(f"the session belongs to {spool.stream}, not to {request.stream[:70]!r}", "stream")
        if entries:
            metadata.merge(spool.folder, entries)
        created = self._start(spool)
        status = self._status(spool)
        return pb.StartStreamResponse(
            session=session_name(spool, number),
            broadcast=spool.broadcast,
            flow_run_id=status.flow_run_id,
            created=created,
            output=status.output,
            state=status.state,
        )

    def _start(self, spool: BroadcastSpool) -> bool:
        """Make sure that a run publishes the broadcast; whether this call started it."""
        if spool.finished or spool.run_alive():
            return False
        known = self._watches.known(spool.folder)
        if known is None or not known.wanted:
            self._check_store(spool.info().output)
            self._check_spool()
        before = known.attempts if known else 0
        watch = self._reconciler.want(spool.folder)
        with watch.changed:
            watch.changed.wait_for(lambda: watch.started_at is not None or spool.run_alive(), START_WAIT_S)
        return watch.attempts > before

    def _status(self, spool: BroadcastSpool) -> pb.StreamStatus:
        return stream_status(spool, self._watches.known(spool.folder))

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

    def _check_limit(self) -> None:
        if self._watches.active >= self._reconciler.max_runs:
            raise TooMany(
                f"{self._reconciler.max_runs} broadcasts are being published, which is the limit: stop one, or raise "
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
            raise BadField("name the stream or the session to stop", "target")
        stopped = [session_name(spool, number)] if number and request_stop(spool.folder / number) else []
        sessions = spool.sessions()
        # Stopping an earlier session late must not close the broadcast while a later one is live.
        if request.finish_now and not spool.finished and (not sessions or sessions[-1].name == number):
            spool.close()
        self._reconciler.kick()
        status = self._status(spool)
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
        return pb.GetStreamResponse(status=self._status(spool))

    @answers
    def ListStreams(self, request: pb.ListStreamsRequest, context: grpc.ServicerContext) -> pb.ListStreamsResponse:
        """See the proto."""
        if not 0 <= request.limit <= 500:
            raise BadField(f"limit is {request.limit}; allowed: 1 to 500, or 0 for 100", "limit")
        stream = _stream(request.stream) if request.stream else None
        found = broadcasts(self._settings.spool_dir, stream)
        if not request.include_finished:
            found = [spool for spool in found if not spool.finished]
        found.sort(key=lambda spool: spool.broadcast)  # names start with the time
        shown = found[-(request.limit or 100) :]
        streams = []
        for spool in shown:
            with suppress(SpoolError, FileNotFoundError):  # removed since it was listed
                streams.append(self._status(spool))
        return pb.ListStreamsResponse(streams=streams, left_out=len(found) - len(shown))

    @answers_stream
    def WatchStream(
        self, request: pb.WatchStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchStreamResponse]:
        """See the proto."""
        spool = self._broadcast(request.stream, request.broadcast)
        if not self._watchers.acquire(blocking=False):
            raise TooMany(
                f"{MAX_WATCHERS} callers are watching, which is the limit; try again later, or use GetStream",
                "watchers",
            )
        ended = threading.Event()
        try:
            if not context.add_callback(ended.set):  # the call has already ended
                return
            last = pb.StreamStatus()
            while not ended.is_set():
                status = self._status(spool)
                if _without_time(status) != _without_time(last):
                    last = status
                    yield pb.WatchStreamResponse(status=status)
                if status.state == pb.STREAM_STATE_FINISHED:
                    return
                if self._stopping.is_set():
                    context.abort(
                        grpc.StatusCode.UNAVAILABLE, "the service is stopping; call again once it has restarted"
                    )
                ended.wait(WATCH_STEP_S)
        finally:
            self._watchers.release()

    def _session(self, name: str) -> tuple[BroadcastSpool, str]:
        """The broadcast of a session, and the number of the session in it."""
        parts = name.split("/")
        if len(parts) != 3 or not _NUMBER.fullmatch(parts[2]):
            raise BadField(f"{name[:120]!r} is not a session; the format is stream/broadcast/number", "session")
        spool = self._broadcast(parts[0], parts[1], field="session")
        if parts[2] not in spool.session_names():
            raise NotFound(f"there is no session {name}", name)
        return spool, parts[2]

    def _broadcast(self, stream: str, broadcast: str, field: str = "stream") -> BroadcastSpool:
        """The broadcast with this name; the newest one of the stream if ``broadcast`` is empty."""
        _stream(stream, field)
        if broadcast:
            if not _BROADCAST.fullmatch(broadcast):
                about = field if field == "session" else "broadcast"
                raise BadField(f"{broadcast[:70]!r} is not the name of a broadcast", about)
            spool = BroadcastSpool(Path(self._settings.spool_dir, stream, broadcast))
            try:
                spool.info()
            except SpoolError:
                raise NotFound(f"there is no broadcast {stream}/{broadcast}", f"{stream}/{broadcast}") from None
            return spool
        found = broadcasts(self._settings.spool_dir, stream)
        if not found:
            raise NotFound(f"the spool holds no broadcast of the stream {stream}", stream)
        return found[-1]


def _stream(name: str, field: str = "stream") -> str:
    if not is_stream_name(name):
        raise BadField(f"{name[:70]!r} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters", field)
    return name


def _without_time(status: pb.StreamStatus) -> bytes:
    """A status without the time of its update, which alone is not a change."""
    copy = pb.StreamStatus()
    copy.CopyFrom(status)
    copy.ClearField("updated_unix_ms")
    return copy.SerializeToString(deterministic=True)
