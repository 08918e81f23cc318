"""What a run sends to a worker for one chunk, and what it gets back.

The scheduler handles both without understanding them, so this module is all of StreamWave that it imports.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamwave.ffmpeg.commands import EncoderSettings
    from streamwave.ffmpeg.limits import ChunkLimits
    from streamwave.model import Chunk, Passthrough, Rendition

#: How long a worker may take for an order beyond what its FFmpeg processes may.
SPARE_S = 30.0
#: Name of the worker's plugin (``bench.Bench``).
BENCH = "streamwave"


@dataclass(frozen=True)
class Order:
    """Encode ``chunk``, whose video is sent with the order, into ``renditions``. ``key``: the name of the Dask task."""

    key: str
    chunk: Chunk
    renditions: tuple[Rendition, ...]
    encoder: EncoderSettings
    timeout_s: float
    limits: ChunkLimits
    passthrough: Passthrough | None

    @property
    def limit_s(self) -> float:
        """How long a worker may take for it: at most two FFmpeg processes, one after the other (``Transcoder.encode``)."""
        return 2 * self.timeout_s + SPARE_S


@dataclass(frozen=True)
class Outcome:
    """What became of an order at ``worker``, in ``seconds``: files by rendition, or the ``error``.

    In the renditions that are ``damaged``, a frame is repeated because others could not be decoded. It had ``waited`` at the
    worker for so many seconds.
    """

    worker: str
    seconds: float
    files: dict[str, bytes]
    damaged: frozenset[str]
    error: Exception | None = None
    waited: float = 0.0


def resource(digest: str) -> str:
    """Name of the Dask resource that workers with this encoder have, as many as they have slots."""
    return f"encoder-{digest}"


def perform(order: bytes, video: bytes) -> Outcome:
    """The Dask task: hand a pickled order and its video to the worker that runs this.

    Raises:
        Reschedule: the worker is stopping.
    """
    from distributed import Reschedule, get_worker

    bench: Any = get_worker().plugins.get(BENCH)
    if bench is None:
        raise Reschedule
    found: Outcome = bench.perform(pickle.loads(order), video)
    return found
