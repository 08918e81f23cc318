"""Verify a broadcast through its manifests, as a player reads it: every segment exists, is contiguous and decodes.

``mpd`` and ``hls`` parse manifests, ``record`` reads the ledger, ``media`` checks one segment, ``promises`` checks what
the manifests state about the media as a whole, and ``whole`` verifies a broadcast.
"""

from streamwave.verify.counting import RenditionReport, read_broadcast
from streamwave.verify.mpd import timeline_of
from streamwave.verify.whole import Verdict, verify_broadcast

__all__ = ["RenditionReport", "Verdict", "read_broadcast", "timeline_of", "verify_broadcast"]
