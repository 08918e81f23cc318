"""A cell of the matrix: a source, and what has to come out for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from tests.matrix.source import Recipe

if TYPE_CHECKING:
    from tests.matrix.measure import Outcome

#: Renditions of most cells: two, so that they can be compared, and small, because sizes have cells of their own.
SMALL_LADDER = (
    '{"rungs": [{"name": "large", "short_side": 108, "max_kbps": 400},'
    ' {"name": "small", "short_side": 72, "max_kbps": 250}], "audio_kbps": 128}'
)
SMALL_SIZES = {"large": (192, 108), "small": (128, 72)}


@dataclass(frozen=True)
class Part:
    """What one period has to show: pictures by their numbers, and at which rate. None: not asked."""

    numbers: tuple[int, ...] | None = None
    rate: Fraction | None = None
    sizes: dict[str, tuple[int, int]] | None = None


@dataclass(frozen=True)
class Cell:
    """What has to come out for ``recipe``; what is not said is as the recipe says.

    - ``rate`` of the grid (None: whatever was chosen); ``sizes`` of the renditions, in pixels
    - ``times``: when each picture is shown, ``end``: when the last one ends, ``sound_end``: when the sound does, in seconds
    - ``hidden``: indices of pictures that need not show; ``tail``: how many at the end may be missing altogether
    - ``beeps``: indices of the pictures with which beeps begin
    - ``parts``: the periods, where there has to be more than one, or not all pictures
    - ``padding``: samples that may come out beyond the source's sound, because its container does not tell of them; ``lead``:
      those of them that come first where sound stands alone
    - ``filled``: chunks that are to be given up (None: not asked)
    - ``damaged``: chunks that are to be reported for pictures that cannot be decoded (None: not asked)
    - ``advice``: codes of what its publisher is told, by the segmenter or by ``streamwave probe``, and of nothing else; what
      is said of the bit rate counts only where it is asked for
    - ``sounds``: whether each period has sound, be it silence (None: as the recipe says)
    - ``sound_clock``: by how much the timestamps of the sound grow faster than those of the pictures
    - ``silent``: FFmpeg has to play it without a word
    - ``segment_s``, ``ladder``, ``audio_track``, ``passthrough``: settings
    - ``own``: how many segments of ``large`` hold the source's own pictures: "all", "some" or "none" (None: not asked)
    - ``looks``: further measures
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
        """When each picture is to be shown, in seconds."""
        return self.recipe.shown_at if self.times is None else self.times

    @property
    def has_sound(self) -> bool:
        """Whether sound is to come out."""
        return self.recipe.sound is not None if self.sounds is None else self.sounds

    @property
    def due_end(self) -> Fraction:
        """When the last picture is to end, in seconds."""
        if self.end is not None:
            return self.end
        return self.shown_at[-1] + 1 / self.recipe.rate

    @property
    def due_sound_end(self) -> Fraction:
        """When the sound is to end: it is as long as the pictures, at least, in seconds."""
        sound = self.recipe.sound_end if self.sound_end is None else self.sound_end
        return max(sound, self.due_end) if self.recipe.count else sound
