"""The MP4 boxes that StreamWave reads or writes: pure functions of bytes, without files or processes.

``split`` splits FFmpeg's fragmented file and joins fragments into CMAF segments, ``normal`` makes init segments identical
across chunks, ``init`` and ``fragment`` parse segments, ``nal`` inspects H.264 samples, ``avc`` builds video fragments, ``aac``
and ``adts`` handle audio, and ``boxes`` and ``asc`` are the building blocks of them all.
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
