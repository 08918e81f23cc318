"""StreamWave as a library: what the command line does, as functions.

Importing this package loads next to nothing; the first use of a name loads what it needs. Neither Prefect nor a server is
ever loaded: with Prefect, call the flows of the package ``flows`` instead. What may raise is in ``streamwave.errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamwave import errors
from streamwave.util.version import VERSION as __version__

if TYPE_CHECKING:
    from streamwave.api import (
        Broadcast,
        Exported,
        Live,
        Rendition,
        RenditionReport,
        Settings,
        SourceInfo,
        Status,
        Transcoded,
        Verification,
        ladder,
        list_broadcasts,
        open_broadcast,
        open_live,
        probe,
        transcode,
    )

__all__ = [
    "Broadcast",
    "Exported",
    "Live",
    "Rendition",
    "RenditionReport",
    "Settings",
    "SourceInfo",
    "Status",
    "Transcoded",
    "Verification",
    "__version__",
    "errors",
    "ladder",
    "list_broadcasts",
    "open_broadcast",
    "open_live",
    "probe",
    "transcode",
]


def __getattr__(name: str) -> Any:
    """Load the public API with the first name that is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import streamwave.api

    return getattr(streamwave.api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
