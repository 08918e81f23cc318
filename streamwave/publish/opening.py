"""Open the publication of a broadcast to all of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from streamwave.publish.outputs import Outputs
from streamwave.publish.publication import Publication
from streamwave.storage.location import BaseUrl
from streamwave.storage.outputs import OutputAddress
from streamwave.storage.store import Store


def open_publication(
    addresses: Iterable[OutputAddress],
    store_options: Mapping[str, Any],
    *,
    manifests: bool,
    token: str,
    patience_s: float = 0,
    base_urls: Sequence[BaseUrl] = (),
    utc_timing_url: str | None = None,
    manifest_interval_s: float = 0,
    levels: int = 0,
    copy_of: Store | None = None,
) -> Outputs:
    """Publish a broadcast to ``addresses``, its own folders at the outputs. The caller closes the result.

    ``store_options`` are the general options of S3. ``Outputs`` gets ``patience_s``, ``Publication`` everything else.
    Only local outputs get the ``utc_timing_url``, which is that of our own media server. Nothing is read or written before
    the result is used.
    """

    def at(address: OutputAddress) -> tuple[str, Callable[[], Publication]]:
        def make() -> Publication:
            return Publication(
                address.open(store_options),
                manifests=manifests,
                token=token,
                utc_timing_url=utc_timing_url if address.is_local else None,
                manifest_interval_s=manifest_interval_s,
                base_urls=base_urls,
                levels=levels,
                copy_of=copy_of,
            )

        return address.url, make

    return Outputs([at(address) for address in addresses], patience_s=patience_s)
