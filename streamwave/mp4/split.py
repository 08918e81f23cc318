"""Split a fragmented file into init segment and fragments, and join fragments into a CMAF media segment."""

from __future__ import annotations

from collections.abc import Sequence

from streamwave.errors import MediaError
from streamwave.mp4.boxes import box, iter_boxes


def split_file(data: bytes) -> tuple[bytes, list[bytes]]:
    """(init segment, fragments) of a fragmented MP4: ftyp + moov, and each moof + mdat, in file order.

    All other top-level boxes (styp, sidx, prft, free, mfra …) are dropped, because they depend on positions in the file.

    Raises:
        MediaError: the file is truncated, has no ftyp, moov or fragment, or a moof without its mdat.
    """
    head: dict[str, bytes] = {}
    fragments: list[bytes] = []
    moof: bytes | None = None
    for item in iter_boxes(data):
        content = data[item.start : item.end]
        if item.type in ("ftyp", "moov"):
            if item.type in head:
                raise MediaError(f"damaged MP4: a second {item.type} at {item.start}; re-create the file")
            head[item.type] = content
        elif moof is not None and item.type != "mdat":
            break  # data offsets are relative to the moof, so nothing may be removed between it and its mdat
        elif item.type == "moof":
            moof = content
        elif item.type == "mdat":
            if moof is None:
                raise MediaError(f"this MP4 is not fragmented: mdat without moof at {item.start}; use +frag_keyframe")
            fragments.append(moof + content)
            moof = None
    if moof is not None:
        raise MediaError("truncated MP4: a moof is not followed by its mdat; re-create the file")
    missing = [name for name in ("ftyp", "moov") if name not in head] + ([] if fragments else ["moof"])
    if missing:
        raise MediaError(f"truncated MP4: it has no {', no '.join(missing)}; re-create the file")
    return head["ftyp"] + head["moov"], fragments


def media_segment(fragments: Sequence[bytes]) -> bytes:
    """A CMAF segment of one or more fragments (ISO/IEC 23000-19, 7.3.3; ISO/IEC 23009-1, 6.3.4.2).

    The brands are cmfs (CMAF segment), cmff (CMAF fragment) if it is a single fragment, and msdh (DASH media segment), but
    not msix, which would require a segment index.

    Raises:
        MediaError: there is no fragment.
    """
    if not fragments:
        raise MediaError("a media segment needs at least one fragment; check the frame count of the chunk")
    brands = b"cmfs" + (b"cmff" if len(fragments) == 1 else b"") + b"msdh"
    return b"".join((box("styp", b"cmfs", bytes(4), brands), *fragments))
