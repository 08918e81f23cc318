"""Regenerates the corpus: ``python -m tests.fuzz.seeds``. Findings of fuzzing (``found-…``) are kept.

Media comes from FFmpeg, as small as possible while covering everything that the parsers read; the rest comes from our own
writers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine, ChunkLine, EndLine, PeriodLine, TrackLine
from streamwave.manifest.memo import Memo
from streamwave.manifest.render import render_all
from streamwave.model import AudioInfo, ChunkRecord, Frozen, Rendition, SourceInfo, VideoInfo
from streamwave.mp4 import aac_fragment, aac_init, adts_frame, media_segment, read_init, split_file
from streamwave.mp4.asc import build_config
from streamwave.mp4.avc import Sample, avc_fragment
from streamwave.mp4.avcc import configuration
from streamwave.mp4.boxes import box, iter_boxes, need
from streamwave.mp4.fragment import read_fragment
from streamwave.spool.advice import tracks_added
from streamwave.spool.info import BroadcastInfo
from streamwave.spool.journal import AdviceLine, EndRecord, OpenRecord
from streamwave.spool.journal import ChunkLine as JournalChunk
from streamwave.spool.remote.objects import RunRecord
from streamwave.storage.outputs import OutputAddress, format_outputs
from tests.fuzz.parsers import CORPUS, MAX_BYTES
from tests.fuzz.parsers_records import Parts
from tests.matrix.edits import Edit, edited
from tests.support import encrypted
from tests.support.media import ffmpeg
from tests.support.metadata import NAME, USUAL, said
from tests.support.rtmp import amf

_PICTURES = ("-f", "lavfi", "-i", "testsrc=size=32x32:rate=10")
_SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=22050")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "2", "-pix_fmt", "yuv420p", "-threads", "1")
AAC = ("-c:a", "aac", "-b:a", "16k", "-ac", "1")
#: Options for reproducible output, with the same FFmpeg.
_EXACT = ("-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1")


def media(suffix: str, *options: str, seconds: str = "0.4", sound: bool = True, pictures: bool = True) -> bytes:
    """A file of that kind, made by FFmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"clip.{suffix}")
        inputs = [*(_PICTURES if pictures else ()), *(_SOUND if sound else ())]
        ffmpeg(*inputs, "-t", seconds, *_EXACT, *options, str(path))
        return path.read_bytes()


def seeds() -> dict[str, dict[str, bytes]]:
    """Inputs by parser and name."""
    return {**_boxes(), **_heads(), **_streams(), **_records(), **_words()}


def _boxes() -> dict[str, dict[str, bytes]]:
    fragmented = media("mp4", *H264, "-movflags", "+cmaf+frag_keyframe+empty_moov", sound=False)
    init, fragments = split_file(fragmented)
    record = need(init, "moov/trak/mdia/minf/stbl/stsd")
    found = configuration(init)
    summary = read_init(init)
    first = read_fragment(fragments[0], summary)
    sample = fragments[0][first.positions[0] : first.positions[0] + first.sizes[0]]
    avcc = found.write()
    moved = avc_fragment(
        sequence=2, time=512, frame_ticks=512, samples=[Sample(sample, place == 0, place) for place in (0, 2, 1)]
    )
    frames = [bytes([33, 16, 4, 96, 140, 28]), bytes([33, 27, 76])]
    sound = aac_init(48000, 2, 64000), aac_fragment(sequence=1, time=0, frames=frames)
    units = b"".join(
        b"\0\0\0\1" + unit for unit in (*found.sps, *found.pps, b"\x06\x06\x02\x40\x80", b"\x41\x9a\x00\x10")
    )
    packets = {"lengths": bytes([len(avcc)]) + avcc + sample[:200], "start-codes": b"\0" + units}
    return {
        "boxes": {"init": init, "record": init[record.start : record.end], "sound": b"".join(sound)},
        "split": {
            "file": init + fragments[0],
            "segment": b"".join((init, media_segment(fragments[:2]))),
            "sound": b"".join(sound),
        },
        "init": {"pictures": init, "sound": sound[0]},
        "fragment": {"first": fragments[0], "moved": moved},
        "made_fragment": {"frames": b"\1\2\3\4" * 9},
        "adts": {"two": b"".join(adts_frame(frame, 48000, 2) for frame in frames)},
        "asc": {"stereo": build_config(48000, 2), "escape": bytes.fromhex("f9f0bb8010")},
        "avcc": {"baseline": avcc},
        "sps": {"sps": found.sps[0], "pps": found.pps[0], "slice": b"\x65\x88\x84\x00\x10"},
        "nal": {"sample": b"\3" + sample},
        "received_nals": packets,
    }


def _heads() -> dict[str, dict[str, bytes]]:
    """Heads of files whose media is of no interest."""
    nothing: Edit = (Fraction(1, 10), None)
    shown: Edit = (Fraction(1, 10), Fraction(0))

    def index(data: bytes) -> bytes:
        return b"".join(data[one.start : one.end] for one in iter_boxes(data) if one.type in ("ftyp", "moov"))

    with tempfile.TemporaryDirectory() as folder:
        plain, other = Path(folder, "plain.mp4"), Path(folder, "other.mp4")
        plain.write_bytes(media("mp4", *H264, *AAC, seconds="0.3"))
        edited([nothing, shown, nothing, shown], [shown, nothing, nothing])(plain, other)
        edits = index(other.read_bytes())
        cenc = index(encrypted.mp4(plain, b"cenc", 0, 1).read_bytes())
        mkv = Path(folder, "plain.mkv")
        mkv.write_bytes(media("mkv", *H264, *AAC, seconds="0.3"))
        matroska = encrypted.matroska(mkv, 1).read_bytes()
    return {
        "gaps": {"two-tracks": edits, "after-media": box("free", bytes(8)) + box("mdat", bytes(8)) + edits},
        "encrypted": {"mp4": cenc, "matroska": matroska[:1500], "edits": edits},
    }


def _streams() -> dict[str, dict[str, bytes]]:
    flv = media("flv", *H264, *AAC, seconds="0.3")
    speech = media("flv", "-c:a", "libmp3lame", "-b:a", "16k", pictures=False, seconds="0.2")
    ts = media("ts", *H264, *AAC, "-muxrate", "0", seconds="0.2")
    tables = ts[188:564]  # PAT and PMT, which follow the SDT
    return {
        "flv": {"both": flv[:2500], "late": flv[:400] + speech[13:500]},
        "metadata": {"usual": said(), "object": NAME + amf(USUAL)},
        "late_sound": {"aac": flv[:3000], "mp3": speech[:700]},
        "flv_file": {"both": flv[:2500]},
        "mpegts": {
            "both": ts[: 188 * 8],
            "again": tables * 3,
            "m2ts": b"".join(bytes(4) + ts[at : at + 188] for at in range(0, 188 * 7, 188)),
        },
    }


def _lines(*records: Frozen) -> bytes:
    return b"".join(record.model_dump_json().encode() + b"\n" for record in records)


def _records() -> dict[str, dict[str, bytes]]:
    video = VideoInfo(codec="h264", width=64, height=48, stated_rate=Fraction(30000, 1001))
    source = SourceInfo(
        url="rtmp://h/live/***",
        container="flv",
        video=video,
        audio=AudioInfo(codec="aac", sample_rate=44100, channels=2),
        audio_tracks=1,
    )
    opened = OpenRecord(source=source, rate=Fraction(30000, 1001), sample_rate=48000, origin_unix_ms=1_700_000_000_000)
    chunk = ChunkRecord(
        number=0,
        video_file="000000.mkv",
        start_ms=0,
        next_ms=2002,
        pictures=60,
        audio_file="000000.aac",
        audio_count=94,
    )
    journal = _lines(opened, JournalChunk(chunk=chunk), AdviceLine(advice=tracks_added()), EndRecord(reason="stopped"))

    large = Rendition(name="360p", kind="video", width=64, height=48, max_bps=800_000)
    audio = Rendition(name="audio", kind="audio", max_bps=128_000)
    tracks = (
        TrackLine(
            rendition=large,
            timescale=30000,
            codecs="avc1.42c01e",
            init_sha256="",
            init_size=700,
            frame_rate=Fraction(30000, 1001),
        ),
        TrackLine(rendition=audio, timescale=48000, codecs="mp4a.40.2", init_sha256="", init_size=600, frame_rate=None),
    )
    header = BroadcastLine(created_unix_ms=1_700_000_000_000, segment_ms=2000, fingerprint="f", dvr_window_ms=3000)
    period = PeriodLine(
        name="p0", session="s", first_chunk=0, start=Fraction(0), wall_unix_ms=1_700_000_000_000, tracks=tracks
    )
    chunks = [
        ChunkLine(number=n, segments={"360p": ((n * 60060, 60060, 900),), "audio": ((n * 96256, 96256, 90),)})
        for n in range(3)
    ]
    live = _lines(header, period, *chunks)
    rolling = _rolling(header, period, chunks)
    store = Parts({"ledger/000000.jsonl": live})
    playlists, named = render_all(
        Ledger.load(store), now_unix_ms=1_700_000_009_000, utc_timing_url=None, base_urls=(), memo=Memo()
    )

    info = BroadcastInfo(
        stream="cam", broadcast="20261122-131800-4f2a", created_unix_ms=1, output="/srv/out/cam/b", title="T"
    )
    word = RunRecord(token="t", beat=3, done={"000000": 2}, status={"state": "live"})
    listed = {"stream": "cam", "id": "b", "started_unix_ms": 1, "state": "live", "manifest": "cam/b/manifest.mpd"}
    return {
        "journal": {"whole": journal, "cut": journal[:-9]},
        "ledger": {
            "live": live, "ended": live + _lines(EndLine()), "parts": live + b"\n\n" + _lines(*chunks), "rolling": rolling,
        },
        "description": {
            "broadcast": info.model_dump_json().encode(),
            "word": word.model_dump_json().encode(),
            "run": b'{"number": 2, "created_unix_ms": 1, "flow_run_id": "x"}',
            "metadata": b'{"title": "T", "fps": "30/1"}',
            "clock": b'{"seen_unix_ms": 1, "steady_unix_ms": 1}',
        },
        "entry": {
            "entry": json.dumps(listed).encode(), "list": json.dumps({"broadcasts": [listed]}).encode(),
            "fence": b'{"token": "token"}', "manifest": named["manifest.mpd"],
        },
        "mpd": {"live": named["manifest.mpd"]},
        "playlist": {"master": named["master.m3u8"], "media": playlists["360p.m3u8"]},
    }  # fmt: skip


def _rolling(header: BroadcastLine, period: PeriodLine, chunks: list[ChunkLine]) -> bytes:
    """A rolling ledger that has dropped its first part."""
    store = Parts({})
    found = Ledger(store)
    found.append(header.model_copy(update={"keep": False}), period, *chunks, save=False)
    found.moved_to(Ledger(store), ()).restart()
    found.save()
    parts = [data for _, data in sorted(store.objects.items())]
    return b"\n\n".join([parts[0], *parts[1:]])


def _words() -> dict[str, dict[str, bytes]]:
    rungs = {"rungs": [{"name": "720p", "short_side": 720, "max_kbps": 2800}], "audio_kbps": 96}
    outputs = format_outputs(
        [
            OutputAddress(url="/srv/out"),
            OutputAddress(url="s3://b/tv", endpoint="https://s3.example.org", region="eu-1"),
        ]
    )
    return {
        "body": {
            "form": b"\1call=publish&addr=127.0.0.1&clientid=7&app=live&flashver=FMLE/3.0&name=sw_key",
            "json": b'\0{"name": "sw_key", "clientid": "7", "call": "publish", "addr": "::1"}',
            "play": b"\1call=play&name=cam&clientid=9&publish=0123456789abcdef0123456789abcdef",
        },
        "source": {
            "rtmp": b"rtmp://user:word@host:1935/live/key", "file": b"file:/tmp/film.mp4", "http": b"https://h/x.m3u8?k=v",
            "srt": b"srt://0.0.0.0:9000?mode=listener&passphrase=secret", "six": b"http://[::1]:80/x",
        },
        "setting": {
            "list": outputs.encode(), "folders": b"/srv/out, s3://bucket/tv", "number": b"1001/500",
            "bases": b'[{"url": "https://cdn.example.org/x", "service_location": "a", "priority": 2}, "https://b.example.org"]',
        },
        "ladder": {
            "json": json.dumps(rungs).encode(), "names": b"720p,360p",
            "toml": b'audio_kbps = 96\n[[rungs]]\nname = "720p"\nshort_side = 720\nmax_kbps = 2800\n',
        },
    }  # fmt: skip


def main() -> int:
    """Write all seeds."""
    for name, inputs in seeds().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for label, data in inputs.items():
            (folder / f"seed-{label}").write_bytes(data[:MAX_BYTES])
    print(f"{sum(path.stat().st_size for path in CORPUS.rglob('*') if path.is_file())} bytes in {CORPUS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
