"""The broadcasts at an output, and what is known about each without reading its media."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from streamwave.config.settings import Settings
from streamwave.errors import DamagedError, OutputError, UsageError
from streamwave.layout import ENTRY, FENCE, MANIFEST, ledger_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.timeline import Timeline
from streamwave.model import State
from streamwave.spool.broadcast import broadcasts as spooled
from streamwave.storage.outputs import OutputAddress, format_outputs
from streamwave.storage.outputs import outputs as places
from streamwave.storage.store import Store, check_name, open_store
from streamwave.timing import round_half_up
from streamwave.untrusted import parse_json, parse_xml

#: A broadcast that has not ended, is in no spool here and has published nothing for this long counts as cut off.
CUT_OFF_S = 3600


@dataclass(frozen=True)
class Output:
    """Where broadcasts are looked for: the root URL of an output, and the spool that knows which of them are live."""

    url: str
    options: Mapping[str, Any]
    spool_dir: Path
    cut_off_s: int = CUT_OFF_S

    def store(self, path: str = "") -> Store:
        """The store of the broadcast at ``path``; without a path, that of the root."""
        return open_store(f"{self.url.rstrip('/')}/{path}" if path else self.url, self.options)

    def in_spool(self) -> set[str]:
        """Paths of the broadcasts that are being received or published on this machine."""
        return {f"{spool.stream}/{spool.broadcast}" for spool in spooled(self.spool_dir) if not spool.finished}


def outputs(settings: Settings, url: str | None = None) -> list[Output]:
    """The outputs to look in: those in ``url``, or else those of the settings.

    Raises:
        UsageError: ``url`` is empty or malformed.
    """
    targets = settings.outputs if url is None else places(url)
    # While a broadcast waits for its publisher to reconnect, it publishes nothing.
    cut_off_s = max(CUT_OFF_S, 2 * settings.reconnect_window_s)
    return [Output(one.url, one.options(settings.s3_options), settings.spool_dir, cut_off_s) for one in targets]


@dataclass(frozen=True)
class Broadcast:
    """One broadcast. ``path`` is relative to the output; ``ended_unix_ms`` is None while it is live.

    ``duration_ms`` is the length of what can be watched. If a DVR window makes that shorter than the broadcast,
    ``on_air_ms`` is the length of the whole broadcast. ``size_bytes`` is the size of the media; ``renditions`` are in the
    order of the ladder.
    """

    path: str
    title: str
    state: State
    started_unix_ms: int
    duration_ms: int
    renditions: tuple[str, ...]
    size_bytes: int
    ended_unix_ms: int | None = None
    on_air_ms: int | None = None

    @property
    def stream(self) -> str:
        """Name of the stream, or of the folder that a file was transcoded to."""
        return self.path.split("/")[0]


#: A broadcast at one of the outputs.
Copy = tuple[Output, Broadcast]


def list_broadcasts(output: Output, now_unix_ms: int) -> list[Broadcast]:
    """All broadcasts at ``output``, newest first. Folders with other content are skipped.

    Raises:
        OutputError: the output cannot be read.
    """
    root, live = output.store(), output.in_spool()
    found = paths(root)
    # For most recordings the entry is the only object that has to be read.
    names = [name for name in (f"{path}/{ENTRY}".lstrip("/") for path in found) if _is_plain(name)]
    entries = {name.removesuffix(ENTRY).rstrip("/"): _entry(data) for name, data in root.get_all(names)}
    loaded = [load(output, path, now_unix_ms, live=path in live, entry=entries.get(path)) for path in found]
    return sorted((one for one in loaded if one), key=lambda one: one.started_unix_ms, reverse=True)


def paths(root: Store) -> list[str]:
    """Paths below ``root`` that contain a broadcast or the remains of one; "" stands for the root itself."""
    names = [name for depth in ("", "*/", "*/*/") for name in root.list_matching(f"{depth}ledger/*")]
    found = {name.removesuffix(FENCE).rstrip("/") for name in names if name.endswith(FENCE)}
    found |= {name.removesuffix(ledger_name(0)).rstrip("/") for name in names if name.endswith(ledger_name(0))}
    found |= {name.removesuffix(f"/{ENTRY}") for name in root.list_matching(f"*/*/{ENTRY}")}
    return sorted(found)


def load(
    output: Output, path: str, now_unix_ms: int, *, live: bool = False, entry: dict[str, Any] | None = None
) -> Broadcast | None:
    """The broadcast at ``path``; None if there is none.

    ``live``: whether a spool says that it is live. ``entry``: the result of ``read_entry`` if it is known already.
    """
    store = output.store(path)
    entry = read_entry(store) if entry is None else entry
    if State.of_entry(entry.get("state")) is State.DELETED:
        return Broadcast(
            path, str(entry.get("title", "")), State.DELETED, int(entry.get("started_unix_ms", 0)), 0, (), 0
        )
    over = State.of_entry(entry.get("state")) is State.RECORDED
    if not live and over and {"size_bytes", "renditions", "ended_unix_ms"} <= entry.keys():
        return Broadcast(
            path=path, title=str(entry["title"]), state=State.RECORDED, started_unix_ms=entry["started_unix_ms"],
            duration_ms=entry["duration_ms"], renditions=tuple(entry["renditions"]), size_bytes=entry["size_bytes"],
            ended_unix_ms=entry["ended_unix_ms"],
        )  # fmt: skip
    try:
        ledger = Ledger.load(store)
    except DamagedError:  # list it, so that it can be removed
        title, started = str(entry.get("title", "")), int(entry.get("started_unix_ms", 0))
        return Broadcast(path, title, State.LIVE if live else State.DAMAGED, started, 0, (), 0)
    timeline, shown = ledger.timeline, ledger.shown
    if timeline is None or shown is None:
        return None
    last_ms = max(timeline.created_unix_ms, published_unix_ms(store))
    state = State.RECORDED if timeline.ended else State.LIVE
    if state is State.LIVE and not live and now_unix_ms - last_ms > output.cut_off_s * 1000:
        state = State.CUT_OFF
    return Broadcast(
        path=path,
        title=str(entry.get("title") or timeline.info.get("title") or ""),
        state=State.LIVE if live else state,
        started_unix_ms=timeline.created_unix_ms,
        duration_ms=round_half_up(shown.watchable * 1000),
        on_air_ms=round_half_up(timeline.duration * 1000) if shown.watchable < timeline.duration else None,
        renditions=renditions(timeline),
        size_bytes=size_bytes(timeline),
        ended_unix_ms=None if live or state is State.LIVE else last_ms,
    )


def everywhere(outputs: Sequence[Output], now_unix_ms: int) -> tuple[list[list[Copy]], list[str]]:
    """All broadcasts, newest first, each as the list of its copies, the most complete first; and the errors of outputs.

    A broadcast that is over at one output is over at all of them: other copies that look live are cut off.
    """
    copies: dict[str, list[Copy]] = {}
    faults = []
    for output in outputs:
        try:
            for one in list_broadcasts(output, now_unix_ms):
                copies.setdefault(one.path, []).append((output, one))
        except OutputError as error:
            faults.append(str(error))
    found = []
    for same in copies.values():
        if any(one.state in (State.RECORDED, State.DELETED) for _, one in same):
            same = [(at, replace(one, state=State.CUT_OFF) if one.state is State.LIVE else one) for at, one in same]
        found.append(
            sorted(
                same,
                key=lambda copy: (copy[1].state is not State.RECORDED, -(copy[1].on_air_ms or copy[1].duration_ms)),
            )
        )
    found.sort(key=lambda same: same[0][1].started_unix_ms, reverse=True)
    return found, faults


def find(outputs: Sequence[Output], name: str, now_unix_ms: int) -> tuple[list[Copy], list[str]]:
    """The copies of the broadcast ``name`` (``stream/broadcast``, or either part alone), and the errors of outputs.

    Raises:
        UsageError: no broadcast, or more than one, matches.
    """
    found, faults = everywhere(outputs, now_unix_ms)
    # A broadcast in the root of an output is listed as ".".
    exact = [same for same in found if (same[0][1].path or ".") == name.strip("/")]
    matching = exact or [same for same in found if name in same[0][1].path.split("/")]
    if len(matching) == 1:
        return matching[0], faults
    if matching:
        some = ", ".join(same[0][1].path for same in matching[:5]) + (" …" if len(matching) > 5 else "")
        raise UsageError(f"{name} matches {len(matching)} broadcasts: name one of {some}")
    if faults:
        raise UsageError(f"no broadcast {name} was found, but not every output could be read: {'; '.join(faults)}")
    places = ", ".join(output.url for output in outputs)
    raise UsageError(f"there is no broadcast {name} in {places}; list_broadcasts() shows which there are")


def named(name: str, url: str | None, settings: Settings, now_unix_ms: int) -> tuple[list[Copy], list[str]]:
    """The copies of the broadcast ``name`` at ``url`` or at the outputs of ``settings``, the most complete first; and the
    errors of outputs. A folder or address selects that one copy.

    Raises:
        UsageError: the name or an address is malformed, or no broadcast, or more than one, matches.
    """
    if not name.strip():
        raise UsageError("the name of the broadcast is empty; write STREAM/BROADCAST, its folder or its address")
    if not is_address(name):
        try:
            return find(outputs(settings, url), name, now_unix_ms)
        except UsageError:
            # A relative folder without ./ is accepted too, as for transcode --output.
            if url is not None or not os.path.isfile(Path(name, MANIFEST)):
                raise
        name = f"./{name}"
    outputs(settings, url)  # refuse it where it is malformed, though the address is enough
    _at(name, settings)  # refuse a malformed address as a whole, before a part of it is looked at
    # Prefer the usual depth, STREAM/BROADCAST below an output, which has an entry; else the folder itself is the output.
    for root, path in split_address(name):
        output = _at(root, settings)
        if "/" in path and not output.store(path).get(ENTRY):
            continue
        found = load(output, path, now_unix_ms, live=path in output.in_spool())
        if found is not None:
            return [(output, found)], []
    raise UsageError(f"{name} does not contain a broadcast")


def _at(url: str, settings: Settings) -> Output:
    """The one output at ``url``, whose commas belong to its name."""
    (output,) = outputs(settings, format_outputs([OutputAddress(url=url)]))
    return output


def is_address(name: str) -> bool:
    """Whether ``name`` is the folder or address of a broadcast rather than its name."""
    return "://" in name or name.startswith(("/", "./", "../", "~"))


def split_address(address: str) -> list[tuple[str, str]]:
    """The possible ways to split the address of a broadcast into (output, path), the usual depth first.

    A bucket is never split from its scheme: a broadcast in its root has the path "". A folder whose name is not valid for
    an object is never part of the path: a user chose it with transcode --output.
    """
    address = address.rstrip("/") or "/"
    halves = [address.rsplit("/", depth) for depth in (2, 1) if address.count("/") >= depth]
    found = [(root or "/", "/".join(rest)) for root, *rest in halves if not root.endswith((":", ":/", "://"))]
    return [*((root, path) for root, path in found if path and _is_plain(path)), (address, "")]


def _is_plain(path: str) -> bool:
    try:
        return check_name(path) == path
    except OutputError:
        return False


def read_entry(store: Store) -> dict[str, Any]:
    """The entry of a broadcast; empty if it is missing or not an entry of ours."""
    return _entry(store.get(ENTRY))


def _entry(data: bytes | None) -> dict[str, Any]:
    try:
        entry = parse_json(data) if data is not None else {}
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) and isinstance(entry.get("started_unix_ms"), int) else {}


def renditions(timeline: Timeline) -> tuple[str, ...]:
    """Names of the renditions of all periods, in the order of their first appearance."""
    names = [*timeline.gone_renditions, *(name for period in timeline.periods for name in period.tracks)]
    return tuple(dict.fromkeys(names))


def size_bytes(timeline: Timeline) -> int:
    """Size of all media that the timeline lists."""
    tracks = [track for period in timeline.periods for track in period.tracks.values()]
    return sum(track.init_size + sum(segment.size for segment in track.segments) for track in tracks)


def published_unix_ms(store: Store) -> int:
    """When the manifest was last written according to its MPD@publishTime; 0 if that is missing."""
    data = store.get(MANIFEST)
    if data is None:
        return 0
    try:
        stamp = parse_xml(data).get("publishTime", "")
        return round(datetime.fromisoformat(re.sub("Z$", "+00:00", stamp)).timestamp() * 1000)
    except ValueError:
        return 0


def need_ledger(store: Store) -> Ledger:
    """The ledger at ``store``.

    Raises:
        OutputError: there is none.
    """
    ledger = Ledger.load(store)
    if ledger.timeline is None:
        raise OutputError(f"{store.url} does not contain a broadcast")
    return ledger
