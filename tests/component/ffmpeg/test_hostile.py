"""Files that lie, or lead elsewhere: each is refused in one sentence, by a process that stays small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg import probing
from streamwave.ffmpeg.formats import allowed_formats
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.localfile import open_local
from streamwave.ffmpeg.probe import open_source, probe
from streamwave.sources.address import resolve_source
from tests.support.hostile import alias, full, large_h264, mp4
from tests.support.http import sent
from tests.support.media import ffmpeg, make_clip, quick_ffmpeg
from tests.support.processes import alive

ROOT = Path(__file__).parents[3]
#: Says what a probe in a process of its own said, and how much memory that process took at most, in MB.
PROBE = """
import resource, sys
from streamwave.errors import SourceError
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.probing import probe
try:
    print(probe(f"file:{sys.argv[1]}", 0, SourceLimits(memory_mb=int(sys.argv[2]))))
except SourceError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def probed(path: Path, memory_mb: int) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path), str(memory_mb)], capture_output=True, text=True, timeout=120, cwd=ROOT,
        check=True,
    )  # fmt: skip
    said, size = done.stdout.strip().rsplit("\n", 1)
    return said, int(size)


def refused(path: Path, limits: SourceLimits | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        probe(f"file:{path}", 0, *filter(None, [limits]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is large -----------------------------------------------------------------------------------------------------


def test_an_index_of_sixty_million_samples_takes_no_memory(tmp_path: Path) -> None:
    said, size = probed(mp4(tmp_path / "a.mp4", samples=60_000_000), 1536)
    assert "is damaged: its index lists 60000000 samples, more than a file of its size can hold" in said
    assert size < 150


def test_one_in_a_file_that_is_large_enough_is_refused_as_well(tmp_path: Path) -> None:
    """As large as the index says, though nothing but a hole."""
    said, size = probed(mp4(tmp_path / "a.mp4", samples=60_000_000, media=60_000_000), 1536)
    assert "a.mp4 needs more memory than STREAMWAVE_SOURCE_MEMORY_MB allows (1536 MB)" in said and size < 150


def test_a_long_recording_is_no_attack(tmp_path: Path) -> None:
    """As many samples as eight hours of sixty pictures a second, though with a byte for each."""
    said, size = probed(mp4(tmp_path / "a.mp4", samples=1_728_000, media=2_000_000), 256)
    assert "width=640" in said and size < 256


def test_nor_is_pcm(tmp_path: Path) -> None:
    """Each sample of sound is one in its index: a minute has millions, for which 256 MB would not do."""
    path = tmp_path / "a.mov"
    ffmpeg("-f", "lavfi", "-i", "sine=d=60:r=192000", "-c:a", "pcm_s16le", str(path))
    said, size = probed(path, 256)
    assert "duration_ms=60000" in said and size < 150


@pytest.mark.parametrize("suffix", ["h264", "ts", "mkv", "mp4", "flv"])
def test_larger_pictures_than_the_limit_are_refused_wherever_their_size_stands(tmp_path: Path, suffix: str) -> None:
    path = large_h264(tmp_path / "a.h264")
    if suffix != "h264":
        made = tmp_path / f"b.{suffix}"
        # Otherwise FFmpeg decodes these pictures to find out about them, which takes seconds.
        undecoded = ("-c:v", "h264", "-skip_frame", "all")
        quick_ffmpeg("-r", "10", "-f", "h264", *undecoded, "-i", str(path), "-c", "copy", str(made))
        path = made
    assert "frames of 16384x8640 are larger than STREAMWAVE_MAX_PIXELS allows (35389440 pixels)" in refused(path)


def test_so_are_those_that_only_a_header_promises(tmp_path: Path) -> None:
    assert "frames of 16384x8640 are larger" in refused(mp4(tmp_path / "a.mp4", size=(16384, 8640)))


def test_8k_is_not_larger_than_the_limit(tmp_path: Path) -> None:
    assert probe(f"file:{mp4(tmp_path / 'a.mp4', size=(8192, 4320))}").video is not None
    assert "larger than STREAMWAVE_MAX_PIXELS" in refused(mp4(tmp_path / "b.mp4", size=(8192, 4336)))


def test_thousands_of_tracks(tmp_path: Path) -> None:
    said, size = probed(mp4(tmp_path / "a.mp4", tracks=3000), 1024)
    assert re.search("has more than the 256 tracks|needs more memory", said) and size < 200
    few = SourceLimits(max_tracks=4)
    assert "has more than the 4 tracks that STREAMWAVE_MAX_TRACKS allows" in refused(
        mp4(tmp_path / "b.mp4", tracks=5), few
    )
    assert probe(f"file:{mp4(tmp_path / 'c.mp4', tracks=4)}", 0, few).video is not None


def test_sound_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", str(path))
    data = path.read_bytes()
    path.write_bytes(data[:24] + (2_000_000_000).to_bytes(4, "little") + data[28:])
    assert "audio with 1 channels at 2000000000 Hz is not supported" in refused(path)


# --- what dies of it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> str:
    """The module that dies, for a process that looks for modules where it is told to, and nowhere else."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return "tests.support.dying"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("crash", r"film\.mp4 cannot be read: its content crashed the probing process \(status -11\)"),
        ("eat", r"film\.mp4 needs more memory than STREAMWAVE_SOURCE_MEMORY_MB allows \(256 MB\)"),
        ("hang", r"film\.mp4 could not be probed within 3 s"),
        ("flood", r"film\.mp4 could not be probed within 3 s"),
        ("raise", r"film\.mp4 cannot be read \(IndexError: pop from empty list\)"),
        ("refuse", r"^no$"),
    ],
)
def test_whatever_the_process_dies_of_is_one_sentence(dying: str, how: str, message: str) -> None:
    limits = SourceLimits(memory_mb=256)
    with pytest.raises(SourceError, match=message):
        probing.ask(dying, {"url": "file:/films/film.mp4", "how": how}, limits, deadline_s=3)


def test_it_is_gone_when_the_deadline_has_passed(dying: str) -> None:
    with pytest.raises(SourceError):
        probing.ask(dying, {"url": "file:/a", "how": "hang"}, SourceLimits(), deadline_s=1)
    with pytest.raises(SourceError) as caught:
        probing.ask(dying, {"url": "file:/a", "how": "pid"}, SourceLimits(), deadline_s=20)
    assert not alive(int(str(caught.value)))


def test_an_answer_for_a_file_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=10, audio=False)
    before = probing.probe(f"file:{clip.path}")
    assert probing.probe(f"file:{clip.path}") is before
    make_clip(clip.path, frames=20, audio=False)
    assert probing.probe(f"file:{clip.path}") != before


# --- what leads elsewhere ----------------------------------------------------------------------------------------------

LISTS: dict[str, Callable[[Path], bytes]] = {
    "a.m3u8": lambda secret: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{secret}\n#EXT-X-ENDLIST\n".encode(),
    "b.m3u8": lambda secret: (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n../{secret.parent.name}/{secret.name}\n#EXT-X-ENDLIST\n".encode()
    ),
    "c.m3u8": lambda secret: (
        f'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:{secret}\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",URI="{secret}"\n'.encode()
    ),
    "a.mp4": lambda secret: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{secret}\n#EXT-X-ENDLIST\n".encode(),
    "a.ffconcat": lambda secret: f"ffconcat version 1.0\nfile 'file:{secret}'\n".encode(),
    "b.ffconcat": lambda secret: f"ffconcat version 1.0\nfile '../{secret.parent.name}/{secret.name}'\n".encode(),
    "a.sdp": lambda secret: b"v=0\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\n",
    "a.mpd": lambda secret: (
        f'<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><Representation><BaseURL>file:{secret}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>".encode()
    ),
    "a.cpl.xml": lambda secret: f"<CompositionPlaylist><x>{secret}</x></CompositionPlaylist>".encode(),
    "a.idx": lambda secret: f"# VobSub index file, v7\nid: en, index: 0\n# {secret}\n".encode(),
    "a.pls": lambda secret: f"[playlist]\nFile1={secret}\nNumberOfEntries=1\nVersion=2\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_file_that_names_others_says_nothing_of_them(tmp_path: Path, name: str) -> None:
    """Whether the other file is there, is media, or is of whatever size: the answer is the same."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    secret = outside / "secret.ts"
    (inside / name).write_bytes(LISTS[name](secret))
    url = resolve_source(str(inside / name), [inside])
    answers = {refused(Path(url.removeprefix("file:")))}
    secret.write_bytes(b"root:x:0:0\n" * 40)
    answers.add(refused(Path(url.removeprefix("file:"))))
    make_clip(secret, frames=25)
    answers.add(refused(Path(url.removeprefix("file:"))))
    (answer,) = answers
    assert answer == (
        f"{inside / name} is a list of other files, which are not opened; name one media file, or the playlist's address "
        "at a web server"
    )


@pytest.mark.parametrize("kind", ["alis", "url "])
def test_media_in_another_file_are_not_read(tmp_path: Path, kind: str) -> None:
    """QuickTime's reference to another file: what is published is what the file itself holds."""
    secret = tmp_path / "secret.bin"
    reference = alias(secret) if kind == "alis" else full(b"url ", 0, f"file://{secret}\0".encode())
    path = mp4(tmp_path / "a.mov", reference=reference)
    answers = []
    for content in (None, b"s" * 4096):
        if content is not None:
            secret.write_bytes(content)
        try:
            with open_source(f"file:{path}") as container:
                answers.append(b"".join(bytes(packet) for packet in container.demux(video=0)))
        except SourceError as error:
            answers.append(str(error).encode())
    assert answers[0] == answers[1] and b"s" * 8 not in answers[1]


@pytest.mark.parametrize("name", ["a%03d.png", "a*.png"])
def test_a_name_that_stands_for_many_files_is_that_of_one(tmp_path: Path, name: str) -> None:
    for number, size in ((1, "32x32"), (2, "64x64")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}", "-frames:v", "1", "-f", "image2pipe", "-c:v", "png",
               str(tmp_path / f"a00{number}.png"))  # fmt: skip
    (tmp_path / name).write_bytes((tmp_path / "a002.png").read_bytes())
    with open_source(f"file:{tmp_path / name}") as container:
        sizes = [(picture.width, picture.height) for picture in container.decode(video=0)]
    assert sizes == [(64, 64)]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"words\n" * 99), ("a.ass", b"[Script Info]\nTitle: x\n"), ("a.svg", b"<svg></svg>\n")],
)
def test_what_is_no_media(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "not readable media" in refused(tmp_path / name)


def test_only_what_opens_nothing_else_is_allowed() -> None:
    others = {"concat", "hls", "dash", "imf", "image2", "image2pipe", "mlv", "sdp", "rtp", "rtsp", "vobsub", "lavfi",
              "webm_dash_manifest", "ffmetadata", "avisynth", "vapoursynth", "data", "sap", "alsa", "fbdev", "tty",
              "svg_pipe"}  # fmt: skip
    for url in ("file:/a", "rtmp://h/a", "srt://h:9", "http://h/a"):
        names = set(allowed_formats(url).split(","))
        assert not names & (others - ({"hls"} if url.startswith("http") else set()))
    assert "hls" not in allowed_formats("http://h/a", flow=True).split(",")


def test_a_link_that_was_put_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    make_clip(outside / "secret.mp4", frames=10)
    make_clip(inside / "a.mp4", frames=10)
    url = resolve_source(str(inside / "a.mp4"), [inside])
    assert probe(url).video is not None
    (inside / "a.mp4").unlink()
    (inside / "a.mp4").symlink_to(outside / "secret.mp4")
    with pytest.raises(SourceError, match="was replaced before it could be opened"):
        probe(url)
    # Neither is a folder that has become one.
    (inside / "a.mp4").unlink()
    inside.rmdir()
    (outside / "a.mp4").write_bytes((outside / "secret.mp4").read_bytes())
    inside.symlink_to(outside)
    with pytest.raises(SourceError, match="was replaced before it could be opened"):
        open_local(url)


@pytest.mark.parametrize(
    "named",
    [
        "file:{}",
        "crypto+file:{}",
        "concat:file:{}|{}",
        "subfile,,start,0,end,0,,:{}",
        "{}",
        "data:video/mp2t;base64,R0A=",
    ],
)
def test_playlists_at_web_servers_lead_to_web_servers_only(tmp_path: Path, named: str) -> None:
    secret = tmp_path / "secret.ts"
    answers = []
    for there in (False, True):
        if there:
            make_clip(secret, frames=25)
        entry = named.format(secret, secret)
        key = f'#EXT-X-KEY:METHOD=AES-128,URI="file:{secret}"\n' if "crypto" in named else ""
        body = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n{key}#EXTINF:9,\n{entry}\n#EXT-X-ENDLIST\n".encode()
        with sent(body, "a.m3u8") as url, pytest.raises(SourceError) as caught:
            probe(url)
        answers.append(re.sub(r":\d+/", ":0/", str(caught.value)))
    assert answers[0] == answers[1]
