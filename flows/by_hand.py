"""A run by hand: the flow run itself receives a source that a person or Prefect's API named, instead of the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import FlowRunContext
from pydantic import SecretStr

from flows.caller import caller
from flows.reach import check_output, file_roots
from streamwave.config.settings import Settings
from streamwave.errors import UsageError
from streamwave.pipeline.receiving import Receiver, receiving
from streamwave.sources.address import check_stream_name, resolve_source
from streamwave.sources.hosts import check_host
from streamwave.spool.broadcast import BroadcastSpool

#: Prefix of a source that is the name of a Prefect Secret block, which holds the address.
BLOCK = "secret:"


def source_hosts(settings: Settings) -> tuple[str, ...] | None:
    """The non-public hosts that this run's source may be on; None (every host) for a run of the command line.

    The source of a deployment's run comes from a user of Prefect's API, so it is restricted.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return settings.source_hosts if run is not None and run.deployment_id is not None else None


@contextmanager
def received_by_hand(
    settings: Settings, source: SecretStr, stream: str, output: str | None
) -> Iterator[BroadcastSpool]:
    """Receive ``source`` as the only session of a new broadcast.

    Raises:
        UsageError: the stream's name or the output is not allowed.
        SourceError: the source is not allowed.
    """
    check_stream_name(stream)
    url = resolve_source(_address(source), file_roots(settings))
    root = check_output(output, settings)
    hosts = source_hosts(settings)
    if hosts is not None:
        check_host(url, hosts)
    receiver = Receiver()
    caller().on_receiving(receiver.stop)
    with receiving(receiver, settings, url, stream, root, source_hosts=hosts) as spool:
        yield spool


def _address(source: SecretStr) -> str:
    """The source's address, read from a Secret block if ``source`` is the name of one.

    Raises:
        UsageError: there is no such block, or its value is not text.
    """
    said = source.get_secret_value()
    if not said.startswith(BLOCK):
        return said
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    name = said.removeprefix(BLOCK)
    try:
        with get_client(sync_client=True) as client:
            # Read only the text: loading a block would create an object of a class that the server chooses.
            kept: Any = client.read_block_document_by_name(name, "secret").data.get("value")
    except ObjectNotFound:
        raise UsageError(f"Prefect has no Secret block {name[:70]!r}; create one with the source's address") from None
    if not isinstance(kept, str):
        raise UsageError(f"the value of the Secret block {name[:70]!r} is not text; it must be the source's address")
    return kept
