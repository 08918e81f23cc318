"""Filler for chunks that cannot be used: black frames or silence, exactly as long as what they replace."""

from __future__ import annotations

from fractions import Fraction

from streamwave.ffmpeg.transcode import FILLER, Transcoder, put_audio
from streamwave.model import Chunk, Rendition
from streamwave.receive.audio import AudioTrack
from streamwave.receive.audio_decoder import AudioDecoder


def put_filler(transcoder: Transcoder, chunk: Chunk, rendition: Rendition) -> None:
    """Replace the result of ``chunk`` in ``rendition`` by filler, and mark it as such.

    Raises:
        StreamWaveError: the filler could not be made.
    """
    if rendition.kind == "video":
        transcoder.put_filler(chunk, rendition)
        return
    path = put_audio(transcoder, chunk, rendition, silence(rendition.max_bps, chunk.audio_count))
    path.with_suffix(FILLER).touch()


def silence(bit_rate_bps: int, count: int) -> list[bytes]:
    """``count`` AAC frames of silence, encoded with the parameters of the session's audio."""
    track = AudioTrack(bit_rate_bps, AudioDecoder(Fraction(0)))
    track.fill_to(count)
    return track.take(count)
