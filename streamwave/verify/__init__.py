"""Read a broadcast through its manifests as a player does: is everything there, in its place, and does it decode?

``mpd`` and ``hls`` read what is listed, ``record`` what was published; ``media`` looks into one segment, ``promises`` at
what is said of all of them; ``whole`` goes over a broadcast.
"""

from streamwave.verify.counting import RenditionReport, read_broadcast
from streamwave.verify.mpd import timeline_of
from streamwave.verify.whole import Verdict, verify_broadcast

__all__ = ["RenditionReport", "Verdict", "read_broadcast", "timeline_of", "verify_broadcast"]
