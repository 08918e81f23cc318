"""Filler for what of a chunk cannot be used: black pictures and silence, exactly as long as what they replace."""

from __future__ import annotations

from fractions import Fraction

from streamwave.ffmpeg.transcode import FILLER, Transcoder, put_audio
from streamwave.model import Chunk, Rendition
from streamwave.receive.audio import AudioTrack
from streamwave.receive.audio_decoder import AudioDecoder


def put_filler(transcoder: Transcoder, chunk: Chunk, rendition: Rendition) -> None:
    """Put filler in the place of ``chunk`` in ``rendition``, with the mark that says so.

    Raises:
        StreamWaveError: not even that worked.
    """
    if rendition.kind == "video":
        transcoder.put_filler(chunk, rendition)
        return
    path = put_audio(transcoder, chunk, rendition, silence(rendition.max_bps, chunk.audio_count))
    path.with_suffix(FILLER).touch()


def silence(bit_rate_bps: int, count: int) -> list[bytes]:
    """``count`` AAC frames of silence, from an encoder like that of the session's sound."""
    track = AudioTrack(bit_rate_bps, AudioDecoder(Fraction(0)))
    track.fill_to(count)
    return track.take(count)
