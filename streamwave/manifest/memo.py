"""Cache of the text of segments, which is most of a manifest, from one rendering to the next.

A broadcast only grows at its end, and a DVR window only removes segments at the front. So the text of a segment is rendered
once, and apart from copying bytes, the cost of a manifest does not depend on the length of the broadcast. With a new
``Memo`` the same functions render everything from scratch, with byte-identical results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from streamwave.manifest.timeline import SegmentRef, Track


class Lines:
    """Text of the listed segments of a track, one piece per segment."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._sizes: deque[int] = deque()  # bytes of each piece
        self._first = 0  # number of the first segment in its period

    def text(self, track: Track, render: Callable[[SegmentRef], str]) -> bytes:
        """The text of all segments; ``render`` is called for new ones only."""
        end = self._first + len(self._sizes)
        if not self._first <= track.removed <= end <= track.removed + len(track.segments):
            self.__init__()  # type: ignore[misc]  # a different track
            self._first = end = track.removed
        gone = 0
        while self._first < track.removed:
            gone += self._sizes.popleft()
            self._first += 1
        del self._text[:gone]
        for segment in track.segments[end - track.removed :]:
            piece = render(segment).encode()
            self._sizes.append(len(piece))
            self._text += piece
        return bytes(self._text)


class Runs:
    """The listed segments of a track as runs of equal durations: the S elements of a SegmentTimeline."""

    def __init__(self) -> None:
        self._runs: deque[tuple[int, int, int]] = (
            deque()
        )  # duration in ticks, number of segments, bytes in the text (0 for the last run)
        self._text = bytearray()  # all runs but the first and last, each preceded by the indent
        self._first = 0  # number of the first segment in its period
        self._end = 0

    def text(self, track: Track, indent: str) -> str:
        """S elements, one per line, for contiguous segments; only the first has a time (S@t)."""
        listed_end = track.removed + len(track.segments)
        if not self._first <= track.removed <= self._end <= listed_end:
            self.__init__()  # type: ignore[misc]  # a different track
            self._first = self._end = track.removed
        for segment in track.segments[self._end - track.removed :]:
            self._add(segment.duration, indent)
        self._end = listed_end
        self._drop(track.removed)
        duration, count, _ = self._runs[0]
        first = _element(f't="{track.segments[0].time}" ', duration, count)
        last = f"{indent}{_element('', *self._runs[-1][:2])}" if len(self._runs) > 1 else ""
        return first + self._text.decode() + last

    def _add(self, duration: int, indent: str) -> None:
        if self._runs and self._runs[-1][0] == duration:
            _, count, _ = self._runs[-1]
            self._runs[-1] = (duration, count + 1, 0)
            return
        if len(self._runs) > 1:
            closed, count, _ = self._runs[-1]
            piece = (indent + _element("", closed, count)).encode()
            self._text += piece
            self._runs[-1] = (closed, count, len(piece))
        self._runs.append((duration, 1, 0))

    def _drop(self, until: int) -> None:
        while self._first < until:
            duration, count, _ = self._runs[0]
            taken = min(count, until - self._first)
            self._first += taken
            if taken < count:
                self._runs[0] = (duration, count - taken, 0)
                continue
            self._runs.popleft()
            if self._runs:
                # The second run is now the first, and is rendered with its time.
                duration, count, size = self._runs[0]
                del self._text[:size]
                self._runs[0] = (duration, count, 0)


def _element(time: str, duration: int, count: int) -> str:
    repeats = f' r="{count - 1}"' if count > 1 else ""
    return f'<S {time}d="{duration}"{repeats} />'


class Memo:
    """The cached parts of one broadcast's manifests. Not thread-safe."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, bool], Lines] = {}
        self._runs: dict[tuple[str, str, str], Runs] = {}
        self._checked: dict[tuple[str, str], tuple[Sequence[str], int]] = {}

    def lines(self, period: str, rendition: str, is_gap: bool) -> Lines:
        """The cached lines of a rendition in a period, for segments or gaps in a playlist."""
        return self._lines.setdefault((period, rendition, is_gap), Lines())

    def runs(self, period: str, rendition: str, indent: str) -> Runs:
        """The cached runs of a rendition in a period."""
        return self._runs.setdefault((period, rendition, indent), Runs())

    def checked(self, period: str, kind: str, names: Sequence[str]) -> int:
        """Number of leading segments of the period whose boundaries are known to be equal in the renditions ``names``."""
        known, number = self._checked.get((period, kind), (names, 0))
        return number if known == names else 0

    def note_checked(self, period: str, kind: str, names: Sequence[str], number: int) -> None:
        """Remember that the boundaries of ``names`` are equal up to ``number``."""
        self._checked[period, kind] = (names, number)

    def keep(self, periods: Sequence[str]) -> None:
        """Forget all periods but these; the others have left the DVR window."""
        self._lines = {key: value for key, value in self._lines.items() if key[0] in periods}
        self._runs = {key: value for key, value in self._runs.items() if key[0] in periods}
        self._checked = {key: value for key, value in self._checked.items() if key[0] in periods}
