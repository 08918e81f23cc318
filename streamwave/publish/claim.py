"""Whether a broadcast may be published to a store: nothing may lie there that belongs to somebody else."""

from __future__ import annotations

import re

from streamwave.errors import OutputError
from streamwave.layout import MANIFEST, MASTER
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.storage.store import Store


def check_claim(store: Store, ledger: Ledger, header: BroadcastLine, copy_of: Store | None) -> None:
    """Check what ``store`` and its ``ledger`` hold before the broadcast that ``header`` describes is published there.

    Manifests without a ledger are accepted where they equal those at ``copy_of``: then only the ledger was lost.

    Raises:
        OutputError: the store holds another broadcast, or a manifest that another program wrote, or cannot be read.
    """
    if ledger.header is None:
        for name in (MANIFEST, MASTER):
            held = store.get(name)
            if held is not None and (copy_of is None or not is_same_manifest(held, copy_of.get(name))):
                raise OutputError(
                    f"{store.url} holds a {name} that another program wrote; choose another output, or remove it"
                )
    elif ledger.header.fingerprint != header.fingerprint:
        raise OutputError(
            f"{store.url} already holds a broadcast; choose another output, or replace it with overwrite=True"
        )


def is_same_manifest(one: bytes, other: bytes | None) -> bool:
    """Whether two manifests differ only in when they were written (``publishTime``, ISO/IEC 23009-1, 5.3.1.2)."""

    def undated(manifest: bytes) -> bytes:
        return re.sub(rb' publishTime="[^"]*"', b"", manifest, count=1)

    return other is not None and undated(one) == undated(other)
