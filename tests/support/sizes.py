"""Sizes of what is published."""

from __future__ import annotations


def size_of(name: str) -> int:
    """Bytes of an object that ``chunk`` makes: its text repeats what it is."""
    folder, _, file = name.rpartition("/")
    rendition = folder.partition("/")[2]
    if file == "init.mp4":
        return len(b"init")
    number = int(file.removesuffix(".m4s")) // (94 * 1024 if rendition == "audio" else 50_000)
    return len(f"{rendition} {number} ".encode()) * 50
