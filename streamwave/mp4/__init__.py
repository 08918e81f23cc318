"""The MP4 boxes that StreamWave reads or writes: bytes in, bytes out, no files and no processes.

``split`` takes FFmpeg's fragmented file apart and puts CMAF segments together, ``normal`` makes init segments equal
across chunks, ``init`` and ``fragment`` read what they say, ``nal`` looks at the pictures, ``avc`` puts pictures into
fragments, ``aac`` and ``adts`` do the audio, ``boxes`` and ``asc`` are what all of these are made of.
"""

from streamwave.mp4.aac import aac_fragment, aac_init
from streamwave.mp4.adts import adts_frame, read_adts
from streamwave.mp4.avc import Sample, avc_fragment, samples_of
from streamwave.mp4.fragment import FragmentSummary, read_fragment
from streamwave.mp4.init import InitSummary, read_init
from streamwave.mp4.nal import starts_with_idr
from streamwave.mp4.normal import video_init
from streamwave.mp4.split import media_segment, split_file

__all__ = [
    "Sample",
    "FragmentSummary",
    "InitSummary",
    "aac_fragment",
    "aac_init",
    "adts_frame",
    "avc_fragment",
    "media_segment",
    "read_adts",
    "read_fragment",
    "read_init",
    "samples_of",
    "split_file",
    "starts_with_idr",
    "video_init",
]
