"""The public API, re-exported by ``import streamwave``. Everything else may change at any time."""

from streamwave.api.broadcasts import Broadcast, Exported, Verification, list_broadcasts, open_broadcast
from streamwave.api.files import Transcoded, ladder, probe, transcode
from streamwave.api.live import Live, open_live
from streamwave.api.status import Status
from streamwave.config.settings import Settings
from streamwave.model import Rendition, SourceInfo
from streamwave.verify import RenditionReport

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
    "ladder",
    "list_broadcasts",
    "open_broadcast",
    "open_live",
    "probe",
    "transcode",
]
