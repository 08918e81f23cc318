"""A cell of the matrix: a source, and the expected result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from tests.matrix.source import Recipe

if TYPE_CHECKING:
    from tests.matrix.measure import Outcome

#: Ladder of most cells: two rungs, so that they can be compared, and small ones, because frame sizes have their own cells.
SMALL_LADDER = (
    '{"rungs": [{"name": "large", "short_side": 108, "max_kbps": 400},'
    ' {"name": "small", "short_side": 72, "max_kbps": 250}], "audio_kbps": 128}'
)
SMALL_SIZES = {"large": (192, 108), "small": (128, 72)}


@dataclass(frozen=True)
class Part:
    """Expected content of a period: frame numbers and frame rate. None: not checked."""

    numbers: tuple[int, ...] | None = None
    rate: Fraction | None = None
    sizes: dict[str, tuple[int, int]] | None = None


@dataclass(frozen=True)
class Cell:
    """The expected result for ``recipe``; the defaults follow from the recipe.

    - ``rate`` of the frame grid (None: any); ``sizes`` of the renditions, in pixels
    - ``times``: presentation time of each frame, ``end``: end of the last frame, ``sound_end``: end of the audio, in seconds
    - ``hidden``: indices of frames that may be missing; ``tail``: number of frames at the end that may be missing
    - ``beeps``: indices of the frames at which beeps begin
    - ``parts``: the periods, if there has to be more than one, or if frames are missing
    - ``padding``: additional audio samples that may appear, because the source's container does not signal them; ``lead``:
      those of them that come first in a source without video
    - ``filled``: number of chunks that are replaced by filler (None: not checked)
    - ``damaged``: number of chunks reported for frames that cannot be decoded (None: not checked)
    - ``advice``: the exact set of codes of advice, by the segmenter or by ``streamwave probe``; advice on the bit rate counts
      only if it is listed
    - ``sounds``: whether each period has audio, possibly silence (None: as the recipe says)
    - ``sound_clock``: ratio by which the audio's timestamps grow faster than those of the video
    - ``silent``: FFmpeg has to decode it without a message
    - ``segment_s``, ``ladder``, ``audio_track``, ``passthrough``: settings
    - ``own``: how many segments of ``large`` are passed through: "all", "some" or "none" (None: not checked)
    - ``looks``: further checks
    """

    name: str
    group: str
    recipe: Recipe
    rate: Fraction | None = None
    ladder: str | None = SMALL_LADDER
    sizes: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(SMALL_SIZES))
    times: tuple[Fraction, ...] | None = None
    hidden: frozenset[int] = frozenset()
    beeps: tuple[int, ...] | None = None
    end: Fraction | None = None
    sound_end: Fraction | None = None
    parts: tuple[Part, ...] | None = None
    padding: int = 0
    lead: int = 0
    filled: int | None = 0
    damaged: int | None = 0
    advice: frozenset[str] = frozenset()
    sounds: bool | None = None
    sound_clock: Fraction = Fraction(1)
    tail: int = 0
    silent: bool = True
    segment_s: int = 1
    audio_track: int | None = None
    looks: tuple[Callable[[Outcome], list[str]], ...] = ()
    short: bool = False
    passthrough: bool = False
    own: str | None = None

    @property
    def shown_at(self) -> tuple[Fraction, ...]:
        """Expected presentation time of each frame, in seconds."""
        return self.recipe.shown_at if self.times is None else self.times

    @property
    def has_sound(self) -> bool:
        """Whether the result has to have audio."""
        return self.recipe.sound is not None if self.sounds is None else self.sounds

    @property
    def due_end(self) -> Fraction:
        """Expected end of the last frame, in seconds."""
        if self.end is not None:
            return self.end
        return self.shown_at[-1] + 1 / self.recipe.rate

    @property
    def due_sound_end(self) -> Fraction:
        """Expected end of the audio, in seconds: at least as late as the end of the video."""
        sound = self.recipe.sound_end if self.sound_end is None else self.sound_end
        return max(sound, self.due_end) if self.recipe.count else sound
