"""Decides which files an export writes: one, or one for each group of periods with the same format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from streamwave.broadcasts.catalog import need_ledger
from streamwave.broadcasts.export import Part, joined, plan, write_mp4
from streamwave.errors import UsageError
from streamwave.storage.address import shown_address
from streamwave.storage.store import Store
from streamwave.timing import round_half_up


def export_files(
    store: Store,
    target: Path,
    rendition: str | None,
    audio: bool,
    split: bool,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> list[tuple[Path, int]]:
    """Write the broadcast at ``store`` to MP4 files, and return their paths and lengths in milliseconds.

    Raises:
        UsageError: the formats differ and ``split`` is false, there is no such rendition, or ``target`` exists or is no place
            for a file.
        OutputError: an object is missing, or the file cannot be written.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(target)):
        raise UsageError(
            f"{shown_address(str(target))} is an address, but export writes local files; give a local path and upload the "
            "file, for example with aws s3 cp"
        )
    timeline = need_ledger(store).shown
    assert timeline is not None
    groups = joined(store, plan(timeline, rendition, audio=audio))
    if len(groups) > 1 and not split:
        what = ", ".join("+".join(part.period.name for part in group) for group in groups)
        raise UsageError(
            f"the periods {what} have different formats, which one file cannot hold; split=True writes a file for each"
        )
    files = [target] if len(groups) == 1 else [_numbered(target, group) for group in groups]
    for path in files:
        # os.path instead of Path, which raises in folders that may not be read; writing reports that in a sentence.
        exists = os.path.exists(path)
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder; name a file in it")
        if not os.path.isdir(path.parent):
            raise UsageError(f"{path} cannot be written (no such folder); name a file in a folder that exists")
        if exists and not os.path.isfile(path):  # a device would be replaced by a regular file
            raise UsageError(f"{path} is not a regular file; choose another name")
        if exists and not overwrite:
            raise UsageError(f"{path} exists; choose another name, or replace it with overwrite=True")
    written = []
    for path, group in zip(files, groups, strict=True):
        write_mp4(store, group, path, progress)
        last = group[-1]
        length = last.start - group[0].start + last.period.duration - last.lead
        written.append((path, round_half_up(length * 1000)))
    return written


def _numbered(target: Path, group: Sequence[Part]) -> Path:
    return target.with_name(f"{target.stem}-{group[0].period.name}{target.suffix}")
