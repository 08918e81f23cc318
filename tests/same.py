"""Whether two output folders hold the same objects, byte by byte: ``python -m tests.same OUT1 OUT2``.

For changes that must not change what is stored: transcode the same clips (at the same paths, with STREAMWAVE_ENCODER_THREADS=1)
before and after. Only what differs between two runs of one version is ignored: times and the fence's token.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Of ledger, fence and entry: members that hold a wall clock or a random token.
_MEMBER = re.compile(rb'"(token|\w*_unix_ms)": ?("[^"]*"|\d+)')
#: Of manifests and playlists: wall clocks (ISO/IEC 23009-1, 5.3.1.2; RFC 8216, 4.3.2.6).
_CLOCK = re.compile(rb'(publishTime="|availabilityStartTime="|availabilityEndTime="|PROGRAM-DATE-TIME:)[^"\s]*')


def compare(one: Path, other: Path) -> list[str]:
    """A sentence for every object that is not the same below both folders."""
    mine, theirs = _objects(one), _objects(other)
    faults = [f"{one} lacks {name}" for name in theirs.keys() - mine.keys()]
    faults += [f"{other} lacks {name}" for name in mine.keys() - theirs.keys()]
    changed = [name for name in mine.keys() & theirs.keys() if _stable(mine[name]) != _stable(theirs[name])]
    return sorted([*faults, *(f"{name} differs" for name in changed)])


def _objects(root: Path) -> dict[Path, Path]:
    return {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}


def _stable(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        return _MEMBER.sub(rb'"\1":0', data)
    return _CLOCK.sub(rb"\1", data) if path.suffix in (".mpd", ".m3u8") else data


if __name__ == "__main__":
    found = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(found) or "the same")
    sys.exit(bool(found))
