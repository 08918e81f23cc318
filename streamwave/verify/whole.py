"""Verify a whole broadcast: compare manifests and ledger with each other, and check every object that they name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from streamwave.errors import MediaError, OutputError
from streamwave.layout import LIVE_MANIFEST, MANIFEST, MASTER
from streamwave.manifest.hls import target_duration_s
from streamwave.mp4.init import InitSummary, read_init
from streamwave.storage.store import Store
from streamwave.verify.counting import RenditionReport
from streamwave.verify.hls import ListedPlaylist, Variant, read_master, read_playlist, read_variants
from streamwave.verify.media import check_segment
from streamwave.verify.mpd import Listed, ListedTrack, read_mpd
from streamwave.verify.promises import Media, check_duration, check_representations, check_targets, check_variants
from streamwave.verify.record import LEDGER, Record

#: The playlists of a live broadcast are written shortly before its MPD: attempts at reading a consistent set of both.
AGREE_TRIES = 10
AGREE_PAUSE_S = 0.3
#: Segments that are prefetched, so that fetching and decoding overlap.
AHEAD = 16


@dataclass
class Verdict:
    """The outcome: one line per finding, and what was counted."""

    live: bool = False
    live_born: bool = False  # it is or was live, not a transcoded file
    findings: list[str] = field(default_factory=list)
    renditions: dict[str, RenditionReport] = field(default_factory=dict)
    objects: int = 0


def verify_broadcast(
    store: Store, *, decode: bool = True, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verdict:
    """Check every object that the manifests at ``store`` name: it exists, parses, is contiguous, decodes, and matches the
    manifests and the ledger.

    A live broadcast is checked up to now. ``progress`` gets the number of segments done and their total.

    Raises:
        OutputError: the store cannot be read, or has no manifest.
    """
    verdict = Verdict()
    found = _agreeing(store, verdict)
    listed, playlists = found.listed, found.playlists
    if listed is None:
        return verdict
    verdict.live = listed.live
    verdict.live_born = found.record is not None and found.record.timeline.live_born
    watched = _live_manifest(store, listed, found.record, verdict.findings)
    _compare_lengths(listed, playlists, verdict.findings)
    _compare_order(listed, playlists, verdict.findings)
    _check_joints(listed, verdict.findings)
    verdict.findings += check_duration(listed, MANIFEST)
    verdict.findings += check_targets(playlists, target_duration_s(found.record.timeline) if found.record else None)
    inits, sizes = dict[str, InitSummary](), dict[str, int]()
    total, done = sum(len(track.segments) for track in listed.tracks), 0
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        for step in _in_order(pool, _jobs(store, found, inits, sizes, verdict, decode)):
            track, name, length, outcome = step
            done += 1
            progress(done, total)
            report = verdict.renditions.setdefault(track.name, RenditionReport(track.name, track.kind))
            if isinstance(outcome, str):
                if listed.live and store.get(name) is None and not _still_named(store, name):
                    continue  # it has left the DVR window meanwhile
                verdict.findings.append(f"{name}: {outcome}")
                continue
            report.segments += 1
            report.samples += outcome
            report.seconds += Fraction(length, track.timescale)
    media = Media(inits, sizes)
    verdict.findings += check_representations(listed, MANIFEST, media)
    if watched is not None and not listed.live:
        verdict.findings += check_representations(watched, LIVE_MANIFEST, media)
    verdict.findings += check_variants(found.variants, listed, playlists, media)
    verdict.objects = len(listed.objects())
    return verdict


_Step = tuple[ListedTrack, str, int, int | str]


@dataclass
class _Found:
    """The parsed manifests and ledger; None, or empty, if they cannot be read."""

    listed: Listed | None = None
    playlists: dict[str, ListedPlaylist] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)
    record: Record | None = None


def _jobs(
    store: Store, found: _Found, inits: dict[str, InitSummary], sizes: dict[str, int], verdict: Verdict, decode: bool
) -> Iterator[Callable[[], _Step]]:
    """Yield one job per segment. The jobs fill ``inits`` and ``sizes`` with what they read."""
    record = found.record
    for track in found.listed.tracks if found.listed is not None else ():
        init, summary = _init(store, track, record, verdict)
        if summary is None:
            continue
        inits[track.init] = summary
        for name, at, length in track.segments:

            def job(
                track: ListedTrack = track, init: bytes = init, summary: InitSummary = summary,
                name: str = name, at: int = at, length: int = length,
            ) -> _Step:  # fmt: skip
                try:
                    data = store.get(name)
                    if data is None:
                        return track, name, length, "missing"
                    # Use the published size: the manifests' bit rates were not computed from another run's segment.
                    sizes[name] = record.sizes.get(name, len(data)) if record is not None else len(data)
                    count = check_segment(track, init, summary, data, at, length, decode=decode)
                    fault = record.fault(name, data) if record is not None else None
                    return track, name, length, count if fault is None else fault
                except (MediaError, OutputError) as error:
                    return track, name, length, str(error)

            yield job


def _init(
    store: Store, track: ListedTrack, record: Record | None, verdict: Verdict
) -> tuple[bytes, InitSummary | None]:
    init = store.get(track.init)
    try:
        if init is None:
            raise MediaError("missing, so its rendition cannot be read in this period")
        summary = read_init(init)
        if summary.timescale != track.timescale:
            raise MediaError(f"its timescale is {summary.timescale}, but the manifest states {track.timescale}")
        if record is not None and (fault := record.fault(track.init, init)) is not None:
            verdict.findings.append(f"{track.init}: {fault}")
    except MediaError as error:
        verdict.findings.append(f"{track.init}: {error}")
        return b"", None
    assert init is not None
    return init, summary


def _in_order(pool: ThreadPoolExecutor, jobs: Iterator[Callable[[], _Step]]) -> Iterator[_Step]:
    """Run ``jobs``, at most ``AHEAD`` of them concurrently, and yield their results in order."""
    waiting: list[Future[_Step]] = []
    for job in jobs:
        waiting.append(pool.submit(job))
        if len(waiting) >= AHEAD:
            yield waiting.pop(0).result()
    for left in waiting:
        yield left.result()


def _agreeing(store: Store, verdict: Verdict) -> _Found:
    """Read the manifests and the ledger, and add a finding for every object that only one of them names."""
    for attempt in range(AGREE_TRIES):
        findings: list[str] = []
        found = _read_manifests(store, findings)
        listed, playlists = found.listed, found.playlists
        if listed is not None and playlists:
            mine, theirs = listed.objects(), {name for one in playlists.values() for name in one.objects()}
            ahead = theirs - mine
            if listed.live and found.record is not None:
                # Playlists are written before the MPD, and a full disk may delay the ledger; such objects do not count yet.
                ahead = {name for name in ahead if name in found.record.named or not store.exists(name)}
            findings += [f"{name}: in {MANIFEST} but in no playlist" for name in sorted(mine - theirs)]
            findings += [f"{name}: in a playlist but not in {MANIFEST}" for name in sorted(ahead)]
            if found.record is not None:
                findings += found.record.compare(mine | theirs, live=listed.live)
        if not findings or listed is None or not listed.live or attempt == AGREE_TRIES - 1:
            break
        time.sleep(AGREE_PAUSE_S)
    verdict.findings += findings
    return found


def _read_manifests(store: Store, findings: list[str]) -> _Found:
    manifest, listed = store.get(MANIFEST), None
    if manifest is None and store.get(MASTER) is None:
        raise OutputError(f"{store.url} has no manifest: it is not a broadcast, or nothing has been published yet")
    try:
        if manifest is None:
            raise MediaError("missing")
        listed = read_mpd(manifest)
    except MediaError as error:
        findings.append(f"{MANIFEST}: {error}")
    playlists: dict[str, ListedPlaylist] = {}
    variants: list[Variant] = []
    name = MASTER
    try:
        master = _text(store, MASTER)
        variants = read_variants(master)
        for name in (MASTER, *read_master(master)):
            if name != MASTER:
                playlists[name] = read_playlist(_text(store, name))
                if listed is not None and playlists[name].ended == listed.live:
                    raise MediaError(f"{'has' if listed.live else 'lacks'} an end, unlike {MANIFEST}")
    except MediaError as error:
        findings.append(f"{name}: {error}")
    record = None
    try:
        record = Record(store)
    except MediaError as error:
        findings.append(f"{LEDGER}: {error}")
    return _Found(listed, playlists, variants, record)


def _live_manifest(store: Store, listed: Listed, record: Record | None, findings: list[str]) -> Listed | None:
    """Read and check the MPD that live viewers use (docs/decisions/0012); None if the broadcast was never live.

    After the end it lists the same objects on the live timeline; with a DVR window, only those that the window still held.
    """
    if record is None or not record.timeline.live_born:
        return None
    try:
        data = store.get(LIVE_MANIFEST)
        if data is None:
            raise MediaError("missing, but players that watched the live broadcast request it")
        watched = read_mpd(data)
    except MediaError as error:
        findings.append(f"{LIVE_MANIFEST}: {error}")
        return None
    if listed.live:
        return watched  # it is written before the other one, so they may differ
    if watched.live:
        findings.append(f"{LIVE_MANIFEST}: is dynamic, unlike {MANIFEST}")
    mine, theirs = watched.objects(), listed.objects()
    if lost := [] if record.ledger.header is not None and record.ledger.header.dvr_window_ms else sorted(theirs - mine):
        findings.append(f"{LIVE_MANIFEST}: lacks {lost[0]}, which {MANIFEST} names")
    if extra := sorted(mine - theirs):
        findings.append(f"{LIVE_MANIFEST}: names {extra[0]}, which {MANIFEST} does not")
    _check_joints(watched, findings, LIVE_MANIFEST)
    findings += check_duration(watched, LIVE_MANIFEST)
    return watched


def _text(store: Store, name: str) -> str:
    data = store.get(name)
    if data is None:
        raise MediaError("missing")
    return data.decode("utf-8", "replace")


def _still_named(store: Store, name: str) -> bool:
    manifest = store.get(MANIFEST)
    return manifest is not None and name in read_mpd(manifest).objects()


def _check_joints(listed: Listed, findings: list[str], manifest: str = MANIFEST) -> None:
    """Check that segments are contiguous, and that renditions of the same kind have equal segment boundaries (5.3.3.2)."""
    edges: dict[tuple[str, str], tuple[str, list[Fraction]]] = {}
    for track in listed.tracks:
        for (_, time_a, length), (name, time_b, _) in pairwise(track.segments):
            if time_a + length != time_b:
                where = "" if manifest == MANIFEST else f"{manifest}: "
                findings.append(
                    f"{where}{name}: starts at {time_b}, but the previous segment ends at {time_a + length}"
                )
        mine = [Fraction(at, track.timescale) for _, at, _ in track.segments]
        other, theirs = edges.setdefault((track.period, track.kind), (track.name, mine))
        if mine != theirs:
            findings.append(
                f"{manifest}: in period {track.period} {track.name} and {other} have different segment boundaries"
            )


def _compare_lengths(listed: Listed, playlists: dict[str, ListedPlaylist], findings: list[str]) -> None:
    """Check that EXTINF is the segment's duration within 1 µs: boundaries are rounded, so that the sum never drifts."""
    lengths = {name: Fraction(d, track.timescale) for track in listed.tracks for name, _, d in track.segments}
    for playlist, found in playlists.items():
        for name, seconds, gap in found.segments:
            if not gap and name in lengths and abs(seconds - lengths[name]) > Fraction(1, 1_000_000):
                due = float(lengths[name])
                findings.append(f"{playlist}: EXTINF of {name} is {float(seconds):.6f} s instead of {due:.6f} s")


def _compare_order(listed: Listed, playlists: dict[str, ListedPlaylist], findings: list[str]) -> None:
    """Check that a playlist lists every segment once, in the order of the MPD's periods and times."""
    periods = {name: number for number, name in enumerate(dict.fromkeys(track.period for track in listed.tracks))}
    places = {name: (periods[track.period], at) for track in listed.tracks for name, at, _ in track.segments}
    for playlist, found in playlists.items():
        names = [name for name, _, gap in found.segments if not gap and name in places]
        for before, name in pairwise(names):
            if name == before:
                findings.append(f"{playlist}: {name} is listed twice")
            elif places[name] <= places[before]:
                findings.append(f"{playlist}: {name} is listed after {before}")
