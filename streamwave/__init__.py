"""StreamWave as a library: the functions behind the command line.

Importing this package is cheap: each part is loaded when one of its names is first used. It never loads Prefect or starts a
server; to run under Prefect, call the flows in the package ``flows``. ``streamwave.errors`` defines the exceptions.
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
    """Load the public API when one of its names is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import streamwave.api

    return getattr(streamwave.api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
