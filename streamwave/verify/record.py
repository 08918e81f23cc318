"""Compares a broadcast's ledger with its manifests and its media."""

from __future__ import annotations

from collections.abc import Iterable

from streamwave.errors import DamagedError, MediaError
from streamwave.layout import MANIFEST, init_name, ledger_name, segment_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, PeriodLine, read_lines
from streamwave.manifest.names import named_objects
from streamwave.manifest.rolling import StateLine
from streamwave.manifest.timeline import Timeline
from streamwave.storage.store import Store
from streamwave.util.digest import DIGITS, digest_of

#: Name of the ledger in findings.
LEDGER = ledger_name(0).rpartition("/")[0]


def published_sizes(timeline: Timeline) -> dict[str, int]:
    """Size in bytes of every media object of ``timeline``, by name."""
    sizes: dict[str, int] = {}
    for period in timeline.periods:
        for rendition, track in period.tracks.items():
            sizes[init_name(period.name, rendition)] = track.init_size
            for segment in track.segments:
                sizes[segment_name(period.name, rendition, segment.time)] = segment.size
    return sizes


def published_digests(store: Store) -> dict[str, str]:
    """Digests of media objects by name, as far as the ledger at ``store`` has them.

    Chunks from versions without digests, and chunks that a rolling ledger has dropped, are not included.

    Raises:
        OutputError: the ledger is damaged.
    """
    digests: dict[str, str] = {}
    period = ""
    for _, _, line in read_lines(store):
        if isinstance(line, StateLine):
            opened = [PeriodLine.model_validate(one) for one in line.lines]
        elif isinstance(line, PeriodLine):
            opened = [line]
        else:
            opened = []
            if isinstance(line, ChunkLine):
                for rendition, found in line.digests.items():
                    for (at, _, _), digest in zip(line.segments[rendition], found, strict=False):
                        digests[segment_name(period, rendition, at)] = digest
        for one in opened:
            period = one.name
            for track in one.tracks:
                digests[init_name(one.name, track.rendition.name)] = track.init_sha256[:DIGITS]
    return digests


class Record:
    """What the ledger records about a broadcast's media."""

    def __init__(self, store: Store) -> None:
        """Read the ledger at ``store``.

        Raises:
            MediaError: the ledger is missing or damaged.
            OutputError: the store cannot be read.
        """
        try:
            self.ledger = Ledger.load(store)
            self.digests = published_digests(store)
        except DamagedError:
            raise MediaError("unreadable, so no run can resume the broadcast") from None
        if self.ledger.timeline is None or self.ledger.shown is None:
            raise MediaError("missing, so no run can resume the broadcast")
        self.timeline: Timeline = self.ledger.timeline
        self.shown: Timeline = self.ledger.shown
        self.sizes = published_sizes(self.timeline)
        self.named = named_objects(self.shown)

    def fault(self, name: str, data: bytes) -> str | None:
        """How the content of an object differs from what was published; None if it does not.

        A media segment of another size is not a fault: another run encoded the same chunk (see ``fence``).
        """
        if len(data) != self.sizes.get(name, len(data)) and not name.endswith("/init.mp4"):
            return None
        if self.digests.get(name, "") not in ("", digest_of(data)):
            return "its content was changed: the ledger has another digest"
        return None

    def compare(self, objects: set[str], *, live: bool) -> list[str]:
        """Findings about objects named only by the ledger or only by the manifests, whose names are ``objects``.

        While the broadcast is live, either may be ahead of the other, so only objects within the range of both count.
        """
        if self.timeline.ended is live:
            if live:
                return []  # the broadcast is ending right now
            return [f"{LEDGER}: has no end, but {MANIFEST} is that of a recording"]
        extra, lost = objects - self.named, self.named - objects
        if live:
            mine, theirs = _bounds(self.named), _bounds(objects)
            extra = {name for name in extra if _inside(name, mine)}
            lost = {name for name in lost if _inside(name, theirs)}
        findings = [f"{name}: in the manifests but not in the ledger" for name in sorted(extra)]
        return findings + [f"{name}: in the ledger but in no manifest" for name in sorted(lost)]


_Place = tuple[int, int]


def _place(name: str) -> tuple[str, _Place] | None:
    """(rendition, (number of the period, time in ticks)) of a media segment by its name; None for an init segment."""
    period, _, rest = name.partition("/")
    rendition, _, last = rest.rpartition("/")
    number, time = period.removeprefix("p"), last.removesuffix(".m4s")
    return (rendition, (int(number), int(time))) if number.isdigit() and time.isdigit() else None


def _bounds(names: Iterable[str]) -> dict[str, tuple[_Place, _Place]]:
    bounds: dict[str, tuple[_Place, _Place]] = {}
    for name in names:
        if (found := _place(name)) is not None:
            rendition, at = found
            first, last = bounds.get(rendition, (at, at))
            bounds[rendition] = (min(first, at), max(last, at))
    return bounds


def _inside(name: str, bounds: dict[str, tuple[_Place, _Place]]) -> bool:
    found = _place(name)
    if found is None or found[0] not in bounds:
        return False
    first, last = bounds[found[0]]
    return first <= found[1] <= last
