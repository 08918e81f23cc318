"""Finds out at a keyframe whether the parameters of the pictures change there."""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import Any

import av.error
from av import CodecContext, Packet, VideoFrame

from streamwave.ffmpeg.admission import check_pixels
from streamwave.model import VideoInfo
from streamwave.receive.nals import nal_type, nals, refreshes_gradually
from streamwave.receive.sizes import SPS, stated_size
from streamwave.spool.options import Options

#: Codecs whose keyframes are decoded to learn their size, because it is in no header that is read here.
_LOOKED_AT = frozenset({"vp8", "vp9", "libdav1d", "av1", "mjpeg"})
#: Parameters whose change players must be told of.
_LOOKS = ("codec", "width", "height", "sample_aspect", "pixel_format")
_MPEG2_SEQUENCE = b"\x00\x00\x01\xb3"


class Change(Enum):
    """What a keyframe changes: nothing, only how its pictures are decoded, or what they look like."""

    NONE = "none"
    DECODING = "decoding"
    PICTURE = "picture"


class VideoParameters:
    """The parameters of a video track, followed from keyframe to keyframe. ``info`` and ``extradata`` are the current ones.

    ``stream`` is the track; another track may take its place.
    """

    def __init__(self, stream: Any, info: VideoInfo, options: Options) -> None:
        self._options = options
        self._begin(stream, info)

    def _begin(self, stream: Any, info: VideoInfo) -> None:
        self.stream = stream
        self.info = info
        self.extradata: bytes | None = stream.codec_context.extradata
        self._codec: str = stream.codec_context.name
        self._signature: bytes | None = None
        self._looked = False

    def look(self, packet: Packet[Any], stream: Any, info: VideoInfo | None) -> Change:
        """Examine a keyframe of ``stream``; what changes with it. ``info`` describes ``stream``.

        Raises:
            SourceError: the pictures are larger than the limits allow, whatever the source has stated before.
        """
        if stream is not self.stream and info is not None:
            return self._go_on(stream, info, packet)
        stated = self._stated(packet)
        size = stated_size(self._codec, bytes(packet), self.extradata, stated)
        if size is not None:
            check_pixels(*size, self._options.source, self._options.limits)
        replaced = stated is not None and stated != self.extradata
        if replaced:
            self.extradata = stated
        signature = self._signature_of(packet, stated)
        before, self._signature = self._signature, signature if signature is not None else self._signature
        looks = self._codec in _LOOKED_AT
        # The first keyframe agrees with the extradata; if it has no headers, those of a later one may differ from it.
        known, self._looked = signature is None or signature == before or not self._looked, True
        if not replaced and not looks and known:
            return Change.NONE
        frame = self._decode(packet)
        if frame is not None:
            found = self.info.model_copy(
                update={
                    "width": frame.width,
                    "height": frame.height,
                    "sample_aspect": self._aspect or self.info.sample_aspect,
                    "pixel_format": frame.format.name,
                }
            )
            if found != self.info:
                self.info = found
                return Change.PICTURE
        return Change.DECODING if replaced else Change.NONE

    def _go_on(self, stream: Any, info: VideoInfo, packet: Packet[Any]) -> Change:
        before = self.info
        self._begin(stream, info)
        self.look(packet, stream, info)
        same = all(getattr(before, name) == getattr(self.info, name) for name in _LOOKS)
        return Change.DECODING if same else Change.PICTURE

    def is_entry(self, packet: Packet[Any]) -> bool:
        """Whether decoding can start at a packet that is marked as a keyframe.

        With intra refresh (H.264) the mark only says that the picture is complete some pictures later.
        """
        return self._codec != "h264" or not refreshes_gradually(bytes(packet), self.extradata)

    @staticmethod
    def _stated(packet: Packet[Any]) -> bytes | None:
        if not packet.has_sidedata("new_extradata"):
            return None
        return bytes(packet.get_sidedata("new_extradata"))

    def _signature_of(self, packet: Packet[Any], stated: bytes | None) -> bytes | None:
        """The headers that describe the pictures, or None if the keyframe has none."""
        data = bytes(packet)
        if self._codec in SPS:
            kind = SPS[self._codec]
            found = [nal for nal in nals(data, self.extradata) if nal_type(nal, self._codec) == kind]
            return b"".join(found) or stated
        if self._codec == "mpeg2video":
            at = data.find(_MPEG2_SEQUENCE)
            # Size, aspect and rate. The bit rate after them may vary (ISO/IEC 13818-2, 6.2.2.1).
            return data[at + 4 : at + 8] if at >= 0 else None
        return stated

    def _decode(self, packet: Packet[Any]) -> VideoFrame | None:
        self._aspect: Fraction | None = None
        context: Any = CodecContext.create(self._codec, "r")
        context.thread_count = 1
        context.options = {"max_pixels": str(self._options.limits.max_pixels)}
        if self.extradata:
            context.extradata = self.extradata
        copy: Packet[Any] = Packet(bytes(packet))
        copy.is_keyframe = True
        try:
            frames = [*context.decode(copy), *context.decode(None)]
        except av.error.FFmpegError:
            return None
        self._aspect = context.sample_aspect_ratio
        return frames[0] if frames else None
