"""Checks what manifests state about the media as a whole: durations, bit rates, codecs, frame sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from streamwave.layout import MASTER
from streamwave.manifest.rates import RECENT_SEGMENTS, buffered_bps, peak_bps
from streamwave.manifest.timeline import SegmentRef
from streamwave.mp4.init import InitSummary
from streamwave.timing import round_half_up
from streamwave.verify.hls import ListedPlaylist, Variant
from streamwave.verify.mpd import Listed, ListedTrack

#: Tolerance in seconds by which an MPD's duration may be shorter or longer than its media: players accept it, and some
#: need a longer one (``TAIL`` in ``manifest.dash``).
SHORTER, LONGER = Fraction(1, 100_000), Fraction(1, 50)
#: Tolerance for bit rates: one per cent.
SLACK = Fraction(1, 100)


@dataclass(frozen=True)
class Media:
    """What was read: summaries of init segments and sizes in bytes of media segments, by name."""

    inits: Mapping[str, InitSummary]
    sizes: Mapping[str, int]

    def refs(self, track: ListedTrack) -> list[SegmentRef] | None:
        """The segments of a track with their sizes; None if a segment could not be read."""
        found = [SegmentRef(at, length, self.sizes[name]) for name, at, length in track.segments if name in self.sizes]
        return found if len(found) == len(track.segments) else None


def check_duration(listed: Listed, name: str) -> list[str]:
    """Check that mediaPresentationDuration of a recording is the end of its last segment (ISO/IEC 23009-1, 5.3.1.2)."""
    if listed.live:
        return []
    if listed.duration is None:
        return [f"{name}: has no mediaPresentationDuration"]
    if listed.end - SHORTER <= listed.duration <= listed.end + LONGER:
        return []
    stated, due = float(listed.duration), float(listed.end)
    return [f"{name}: mediaPresentationDuration is {stated:.3f} s, but the last segment ends at {due:.3f} s"]


def check_targets(playlists: Mapping[str, ListedPlaylist], most_s: int | None) -> list[str]:
    """Check that EXT-X-TARGETDURATION is at least every rounded EXTINF (RFC 8216, 4.3.3.1) and at most twice ``most_s``."""
    findings = []
    for name, playlist in playlists.items():
        longest = max((round_half_up(seconds) for _, seconds, _ in playlist.segments), default=0)
        if playlist.target_s is None:
            findings.append(f"{name}: has no EXT-X-TARGETDURATION")
        elif playlist.target_s < longest:
            findings.append(f"{name}: EXT-X-TARGETDURATION is {playlist.target_s} s, but a segment lasts {longest} s")
        elif most_s is not None and playlist.target_s > max(2 * most_s, longest):
            findings.append(f"{name}: EXT-X-TARGETDURATION is {playlist.target_s} s instead of {most_s} s")
    return findings


def check_representations(listed: Listed, name: str, media: Media) -> list[str]:
    """Check that codecs, size, sampling rate and bandwidth of every Representation (5.3.5, 5.3.7) match its media."""
    findings = []
    for track in listed.tracks:
        summary = media.inits.get(track.init)
        if summary is None:
            continue
        of = f"{name}: {track.name} in period {track.period}"
        for what, stated, due in (
            ("codecs", track.codecs, summary.codecs),
            ("size", f"{track.width_px}x{track.height_px}", f"{summary.width_px}x{summary.height_px}"),
            ("sampling rate", track.sample_rate, summary.sample_rate),
        ):
            if stated != due:
                findings.append(f"{of} states {what} {stated}, but its media have {due}")
        refs = media.refs(track)
        if refs:
            newest = refs[-RECENT_SEGMENTS:] if listed.live else refs
            least = buffered_bps(newest, track.timescale, listed.buffer_ms)
            most = None if listed.live else max(least, _highest(refs, track.timescale))
            findings += _off(f"{of} states bandwidth", track.bandwidth_bps, least, most)
    return findings


def check_variants(
    variants: Sequence[Variant], listed: Listed, playlists: Mapping[str, ListedPlaylist], media: Media
) -> list[str]:
    """Check that BANDWIDTH, CODECS and RESOLUTION of every variant (RFC 8216, 4.3.4.2) match its media."""
    findings = []
    tracks = {name: track for track in listed.tracks for name, _, _ in track.segments}
    for variant in variants:
        of = f"{MASTER}: {variant.playlist}"
        members = [playlists[name] for name in (variant.playlist, variant.audio) if name and name in playlists]
        inits = [media.inits.get(init) for member in members for init in member.inits]
        if variant.playlist not in playlists or not inits or None in inits:
            continue  # reported elsewhere
        known = [summary for summary in inits if summary is not None]
        if variant.codecs != (due := {summary.codecs for summary in known}):
            findings.append(f"{of} states CODECS {_joined(variant.codecs)}, but its media have {_joined(due)}")
        # In a period that lacks the rendition, its playlist lists another one. RESOLUTION is that of the rendition itself.
        name = variant.playlist.partition(".")[0]
        own = [media.inits.get(track.init) for track in listed.tracks if track.name == name]
        sizes = {f"{one.width_px}x{one.height_px}" for one in own if one is not None and one.width_px}
        if variant.resolution not in (sizes or {""}):
            findings.append(
                f"{of} states RESOLUTION {variant.resolution or 'nothing'}, but its media have {_joined(sizes)}"
            )
        rates = [_rates(member, tracks, media, live=listed.live) for member in members]
        sums = [(least, most) for least, most in filter(None, rates)]
        if len(sums) == len(members):
            least, most = sum(one for one, _ in sums), sum(two for _, two in sums)
            findings += _off(f"{of} states BANDWIDTH", variant.bandwidth_bps, least, None if listed.live else most)
    return findings


def _joined(words: set[str] | frozenset[str]) -> str:
    return ",".join(sorted(words)) or "nothing"


def _highest(refs: Sequence[SegmentRef], timescale: int) -> int:
    return max(-(-ref.size * 8 * timescale // max(ref.duration, 1)) for ref in refs)


def _rates(
    playlist: ListedPlaylist, tracks: Mapping[str, ListedTrack], media: Media, *, live: bool
) -> tuple[int, int] | None:
    """Peak bit rates of a playlist as (over a target duration, of a single segment), in bits per second."""
    listed = {id(tracks[name]): tracks[name] for name, _, gap in playlist.segments if not gap and name in tracks}
    peaks, highest = [0], [0]
    for track in listed.values():
        refs = media.refs(track)
        if refs is None or not playlist.target_s:
            return None
        newest = refs[-RECENT_SEGMENTS:] if live else refs
        peaks.append(peak_bps(newest, track.timescale, playlist.target_s))
        highest.append(max(_highest(newest, track.timescale), peaks[-1]))
    return max(peaks), max(highest)


def _off(what: str, stated: int, least: int, most: int | None) -> list[str]:
    if stated < least * (1 - SLACK):
        return [f"{what} {stated} bit/s, but its media need {least}"]
    if most is not None and stated > most * (1 + SLACK):
        return [f"{what} {stated} bit/s, but its media need at most {most}"]
    return []
