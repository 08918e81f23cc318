"""Tells the processing service about new sessions. It would find them in the spool as well, only later."""

from __future__ import annotations

import grpc
import grpc.aio

from services.ingest.log import events
from streamwave.config.settings import Settings
from streamwave.state.tokens import grpc_token
from streamwave.streams.hooks import reachable
from streamwave.v1 import streamwave_pb2 as pb
from streamwave.v1 import streamwave_pb2_grpc as rpc

TIMEOUT_S = 3.0
HEALTH = "/grpc.health.v1.Health/Check"


class Processing:
    """A client of the processing service. Create it while the event loop runs."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"{reachable(settings.grpc_host)}:{settings.grpc_port}"
        self._metadata = [("authorization", f"Bearer {grpc_token(settings)}")]
        # Keep gRPC's reconnect back-off short; by default it grows to two minutes.
        options = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.aio.insecure_channel(self.address, options=options)
        self._service = rpc.StreamProcessingStub(self._channel)  # type: ignore[no-untyped-call, unused-ignore]

    async def started(self, session: str, stream: str, metadata: dict[str, str]) -> None:
        """Report that ``session`` has begun. Failures are logged and only delay the start of the flow run."""
        known = {key: value[:256] for key, value in metadata.items() if value}
        request = pb.StartStreamRequest(session=session, stream=stream, metadata=known)
        try:
            await self._service.StartStream(request, timeout=TIMEOUT_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            events.limited(
                "processing not told", self.address, session=session, why=error.code().name, detail=error.details()
            )

    async def healthy(self, timeout_s: float) -> str | None:
        """None if the service is healthy, else what is wrong (``Check`` of the gRPC health checking protocol)."""
        from grpc_health.v1 import health_pb2

        call = self._channel.unary_unary(
            HEALTH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            found = await call(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return f"no answer at {self.address} ({error.code().name})"
        serving = health_pb2.HealthCheckResponse.SERVING
        return None if found.status == serving else f"{self.address} reports that it is not serving"

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()
