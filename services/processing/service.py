"""The processing service: a gRPC server with health and reflection, the reconciler, and the processes of flow runs."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.processing.auth import TokenInterceptor, check_exposure
from services.processing.bodies import BodyInterceptor
from services.processing.executor import Executor
from services.processing.rounds import Rounds
from services.processing.rpc import MAX_WATCHERS, StreamProcessing
from streamwave.config.prefect_env import CLIENT_ENV, READY_FILE
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, SettingsError
from streamwave.spool.remote.exchanges import Exchanges
from streamwave.state.prefect_auth import client_environment
from streamwave.state.tokens import grpc_token
from streamwave.v1 import streamwave_pb2
from streamwave.v1.streamwave_pb2_grpc import add_StreamProcessingServicer_to_server

log = logging.getLogger("streamwave.processing")

ENTRYPOINT = str(Path(__file__).resolve().parents[2] / "flows" / "live_stream.py") + ":live_stream"
SERVICE = streamwave_pb2.DESCRIPTOR.services_by_name["StreamProcessing"].full_name
#: Health service name for the connection to Prefect: NOT_SERVING while Prefect does not answer; the service itself serves.
PREFECT = "prefect"

#: A request holds a few names and at most 32 entries of metadata, an answer at most 500 statuses.
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
#: Concurrent connections; further ones are closed at once. A client needs one connection for all its calls.
MAX_CONNECTIONS = 256
#: Concurrent calls besides watchers; further ones are refused with RESOURCE_EXHAUSTED.
CALL_THREADS = 16


class ProcessingService:
    """Use as a context manager, or call ``start`` and ``stop``. ``entrypoint`` names the flow as Prefect does (file:function).

    Raises on start:
        SettingsError: the address is not available, or needs a token that is not set.
        OutputError: the spool cannot be written.
    """

    def __init__(self, settings: Settings, entrypoint: str = ENTRYPOINT) -> None:
        self.settings = settings
        self._entrypoint = entrypoint
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        self._server: grpc.Server | None = None
        self.port = settings.grpc_port

    def start(self) -> None:
        """Start to listen and to reconcile."""
        settings = self.settings
        check_exposure(settings)
        try:
            settings.spool_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the spool {settings.spool_dir} cannot be written ({error.strerror}); "
                f"set {settings.spool_dir_variable}"
            ) from None
        environment = prefect_environment(settings)
        # Prefect reads its settings at import. Short timeouts suffice: the reconciler asks again every second.
        os.environ |= environment | {"PREFECT_API_REQUEST_TIMEOUT": "5", "PREFECT_CLIENT_MAX_RETRIES": "0"}
        from services.processing.orchestration import Orchestration
        from services.processing.reconciler import Reconciler

        ready_file = settings.state_dir / READY_FILE
        ready_file.unlink(missing_ok=True)
        if settings.work_pool:
            ready_file.touch()
        own = {"PREFECT_API_REQUEST_TIMEOUT": "60", "PREFECT_CLIENT_MAX_RETRIES": "5"}
        executor = None if settings.work_pool else Executor(self._entrypoint, environment | own, ready_file)
        self._orchestration = Orchestration(self._entrypoint, settings.work_pool)
        self._reconciler = Reconciler(
            settings.spool_dir,
            self._orchestration,
            executor,
            max_runs=settings.max_streams,
            restore=lambda spool: spool.restore(
                settings.output_url, settings.reconnect_window_s * 1000, settings.spool_url or ""
            ),
            on_health=lambda healthy: self._set_health(PREFECT, healthy),
        )
        self._set_health(PREFECT, False)
        self._server = self._listen(StreamProcessing(settings, self._reconciler, self._stopping))
        if executor is not None:
            executor.keep_spare()
        self._reconciler.start()
        self._exchanges = Exchanges(settings.spool_dir, settings.spool_options)
        self._exchanges.start()
        self._rounds = Rounds(settings)
        self._rounds.start()
        for name in ("", SERVICE):
            self._set_health(name, True)

    def _listen(self, servicer: StreamProcessing) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(CALL_THREADS + MAX_WATCHERS, thread_name_prefix="grpc"),
            interceptors=[
                TokenInterceptor(grpc_token(self.settings)),
                BodyInterceptor(),
            ],
            maximum_concurrent_rpcs=CALL_THREADS + MAX_WATCHERS,
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
                ("grpc.max_concurrent_streams", 128),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.so_reuseport", 0),  # starting a second service on the same port must fail
                # Close connections that do not complete the HTTP/2 handshake, are idle, or no longer answer.
                ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
                ("grpc.server_handshake_timeout_ms", 5_000),
                ("grpc.max_connection_idle_ms", 300_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
            ],
        )
        add_StreamProcessingServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        host = f"[{self.settings.grpc_host}]" if ":" in self.settings.grpc_host else self.settings.grpc_host
        try:
            self.port = server.add_insecure_port(f"{host}:{self.settings.grpc_port}")
        except RuntimeError:
            raise SettingsError(
                f"cannot listen on {host}:{self.settings.grpc_port}: the port is taken, or the address "
                "does not belong to this machine; "
                "set STREAMWAVE_GRPC_HOST or STREAMWAVE_GRPC_PORT"
            ) from None
        server.start()
        return server

    def _set_health(self, name: str, healthy: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set(name, status)

    def stop(self, *, leave: bool = False) -> None:
        """Stop the service and, unless ``leave``, its flow runs, which the next start resumes."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        if self._server is None:
            return
        ended = self._server.stop(grace=2)
        self._rounds.stop()
        self._reconciler.stop(leave=leave)
        self._exchanges.stop()
        ended.wait(5)
        self._orchestration.close()
        self._server = None

    def __enter__(self) -> ProcessingService:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def prefect_environment(settings: Settings) -> dict[str, str]:
    """The variables that processes which use or run flows need; those set in this process's environment take precedence."""
    defaults = {**CLIENT_ENV, "PREFECT_HOME": str(settings.prefect_home)}
    chosen = {name: os.environ.get(name, value) for name, value in defaults.items()}
    return chosen | client_environment(settings)
