"""Requests that cannot succeed: one line names the cause and the remedy, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamwave.mp4.boxes import iter_boxes
from tests.support.cli import PROGRAMS, Cli, Done, slow_ffmpeg
from tests.support.commands import Command, run_all
from tests.support.media import Clip, ffmpeg, make_clip
from tests.support.player import decode_pictures, representations
from tests.support.processes import marked, wait_for

SUBTITLES = "1\n00:00:00,000 --> 00:00:02,000\nonly text\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Ten seconds in five chunks, with the index before the media."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, frames=250, options=("-movflags", "+faststart"))


def refusal(done: Done) -> str:
    """The only error line of a failed command."""
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    assert "Traceback" not in done.out
    assert done.code > 0
    return lines[0]


def nothing_left(cli: Cli, output: str = "out") -> None:
    """Check that there is no process, no work file and no output."""
    assert marked(cli.mark) == {}
    assert cli.leftovers() == []
    assert not (cli.folder / output).exists()


# --- said at once -----------------------------------------------------------------------------------------------------


def no_file(folder: Path) -> str:
    return "missing.mp4"


def a_folder(folder: Path) -> str:
    (folder / "films").mkdir()
    return "films"


def a_text(folder: Path) -> str:
    (folder / "notes.txt").write_text("a page of text\n" * 200)
    return "notes.txt"


def text_named_mp4(folder: Path) -> str:
    (folder / "notes.mp4").write_text("a page of text\n" * 200)
    return "notes.mp4"


def nothing_in_it(folder: Path) -> str:
    (folder / "empty.mp4").touch()
    return "empty.mp4"


def index_cut_off(folder: Path) -> str:
    whole = make_clip(folder / "whole.mp4", frames=25)
    data = whole.path.read_bytes()
    # FFmpeg writes the index last, so a truncated copy lacks it.
    (folder / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    assert [box.type for box in iter_boxes(data)][-1] == "moov"
    return "cut.mp4"


def subtitles(folder: Path) -> str:
    (folder / "film.srt").write_text(SUBTITLES)
    return "film.srt"


def subtitles_in_matroska(folder: Path) -> str:
    (folder / "film.srt").write_text(SUBTITLES)
    ffmpeg("-i", str(folder / "film.srt"), "-c:s", "srt", str(folder / "film.mkv"))
    return "film.mkv"


def another_protocol(folder: Path) -> str:
    return "concat:a.mp4|b.mp4"


def a_device(folder: Path) -> str:
    return "/dev/zero"


SOURCES: dict[Callable[[Path], str], tuple[str, str]] = {
    no_file: ("there is no file missing.mp4", "check the path"),
    a_folder: ("films is a folder", "name one video file"),
    a_text: ("notes.txt is not readable media", "try to play it first"),
    text_named_mp4: ("notes.mp4 is not readable media", "try to play it"),
    nothing_in_it: ("empty.mp4 is (empty|not media)", "check that it was written|try to play it"),
    index_cut_off: ("cut.mp4 is not readable media .*truncated", "try to play it"),
    subtitles: ("film.srt is not readable media", "try to play it first"),
    subtitles_in_matroska: ("film.mkv contains neither video nor audio", "name another source"),
    another_protocol: ("'concat' are not allowed", "use a file or"),
    a_device: ("/dev/zero is not a regular file", "name a video file"),
}


def test_sources_that_are_none(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    names = {source: source(tmp_path) for source in SOURCES}
    transcodes = [Command(["transcode", name, "--output", "out"]) for name in names.values()]
    probes = {source: Command(["probe", names[source]]) for source in (no_file, a_text, index_cut_off)}
    done = run_all(cli, [*transcodes, *probes.values()])
    lines = dict(zip(SOURCES, map(refusal, done), strict=False))
    for source, (cause, way_out) in SOURCES.items():
        assert re.search(cause, lines[source]) and re.search(way_out, lines[source]), lines[source]
    # Probe says the same.
    assert [refusal(one) for one in done[len(transcodes) :]] == [lines[source] for source in probes]
    nothing_left(cli)


def test_settings_and_outputs_that_cannot_be(tmp_path: Path, clip: Clip) -> None:
    cli = Cli(tmp_path)
    cases = {
        "no rendition '8k'.*choose from large, small": Command(["--output", "out", "--ladder", "large,8k"]),
        "STREAMWAVE_CRF.*51": Command(["--output", "out"], {"STREAMWAVE_CRF": "99"}),
        "FFMPEG_PATH.*install FFmpeg": Command(["--output", "out"], {"FFMPEG_PATH": "/bin/true"}),
        "unknown kind of store 'gopher'; for example s3://": Command(["--output", "gopher://host/films"]),
    }
    done = run_all(cli, [Command(["transcode", str(clip.path), *one.arguments], one.extra) for one in cases.values()])
    for words, one in zip(cases, done, strict=True):
        assert re.search(words, refusal(one)), one
    nothing_left(cli)


def test_output_where_a_file_is_in_the_way(tmp_path: Path, clip: Clip) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "film").write_bytes(b"precious")
    outputs = ("film", "film/out")
    for output, done in zip(
        outputs, run_all(cli, [Command(["transcode", str(clip.path), "--output", one]) for one in outputs]), strict=True
    ):
        line = refusal(done)
        assert f"{output} cannot be written" in line and "a file is in the way" in line and "choose another" in line
    assert (tmp_path / "film").read_bytes() == b"precious"
    assert marked(cli.mark) == {} and cli.leftovers() == []


def test_unknown_option_and_missing_argument(tmp_path: Path) -> None:
    """By the program as it is installed."""
    cli = Cli(tmp_path)
    for arguments in (["transcode", "a.mp4", "--speed", "9"], ["transcode"]):
        done = cli.run(*arguments)
        assert "streamwave transcode --help" in refusal(done) and done.code == 2


# --- in file systems of the test's own --------------------------------------------------------------------------------


def on_a_disk(cli: Cli, place: Path, options: str, *arguments: str) -> tuple[Done, list[str]]:
    """Run a command with a separate file system at ``place``. Also returns the files that were on it afterwards.

    The mount is in a namespace that ends with the command, so it needs neither root nor clean-up.
    """
    place.mkdir(parents=True, exist_ok=True)
    listing = cli.folder / "listing"
    script = (
        f'mount -t tmpfs -o {options} tmpfs "$0" || exit 99; "$@"; code=$?; '
        f'cd "$0" && find . -mindepth 1 >"{listing}"; exit $code'
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *user, "sh", "-c", script, str(place), str(PROGRAMS / "streamwave"), *arguments]
    done = cli.run(*command[1:], program="/usr/bin/unshare")
    assert done.code != 99, f"no file system could be mounted: {done.err}"
    return done, listing.read_text().splitlines()


def test_output_that_is_read_only(tmp_path: Path, clip: Clip) -> None:
    # Root may write to any folder, whatever its mode, but not to a read-only file system.
    cli = Cli(tmp_path)
    done, left = on_a_disk(cli, tmp_path / "disk", "ro", "transcode", str(clip.path), "--output", "disk/out")
    line = refusal(done)
    assert "disk/out cannot be written" in line and "choose a writable folder" in line
    assert left == [] and marked(cli.mark) == {} and cli.leftovers() == []


def test_no_space_for_the_output(cli: Cli, clip: Clip) -> None:
    # Enough for the first chunks, not for all.
    done, left = on_a_disk(cli, cli.folder / "disk", "size=300k", "transcode", str(clip.path), "--output", "disk/out")
    line = refusal(done)
    assert "disk/out cannot be written (no space left; free some or choose another place)" in line
    assert left == [] and marked(cli.mark) == {} and cli.leftovers() == []


def test_no_space_for_the_spool(cli: Cli, clip: Clip) -> None:
    cli.extra["STREAMWAVE_SPOOL_DIR"] = str(cli.folder / "disk")
    done, left = on_a_disk(
        cli, cli.folder / "disk", "size=200k,mode=0700", "transcode", str(clip.path), "--output", "out"
    )
    line = refusal(done)
    # Either the segmenter or a task fails first.
    assert re.search("(no space left for work files in .*disk;|spool .*cannot be written .No space left)", line), line
    assert "STREAMWAVE_SPOOL_DIR" in line
    assert left == []
    nothing_left(cli)


# --- found out on the way ---------------------------------------------------------------------------------------------


def test_media_cut_off_behind_the_index(cli: Cli, clip: Clip) -> None:
    data = clip.path.read_bytes()
    (cli.folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    line = refusal(cli.run("transcode", "cut.mp4", "--output", "out"))
    # The message has the file, its actual and its expected length, and the remedy.
    assert re.search(r"cut.mp4 .*it ends after .*[3-6]\.\d s .*10\.0 s", line), line
    assert "copy it again" in line
    nothing_left(cli)


def test_output_that_holds_another_broadcast(cli: Cli, clip: Clip) -> None:
    assert cli.run("transcode", str(clip.path), "--output", "out", "--ladder", "small").code == 0
    before = tree(cli.folder / "out")
    line = refusal(cli.run("transcode", str(clip.path), "--output", "out", "--ladder", "large"))
    assert "out already holds a broadcast" in line and "--overwrite" in line
    assert tree(cli.folder / "out") == before
    # With --overwrite it is replaced completely.
    (cli.folder / "out" / "notes.txt").write_text("mine")
    done = cli.run("transcode", str(clip.path), "--output", "out", "--ladder", "large", "--overwrite")
    assert done.code == 0, done.err
    assert {path.split("/")[1] for path in tree(cli.folder / "out") if path.startswith("p0/")} == {"large", "audio"}
    assert (cli.folder / "out" / "notes.txt").read_text() == "mine"


def test_one_of_several_outputs_that_refuses(cli: Cli, clip: Clip) -> None:
    """The other output gets the complete result, and the command reports that the first is incomplete."""
    (cli.folder / "file").write_text("in the way")
    places = [str(cli.folder / "file" / "a"), str(cli.folder / "good")]
    done = cli.run("transcode", str(clip.path), "--output", ",".join(places))
    assert done.code == 1
    first, *_, last = done.err.splitlines()
    assert (
        first.startswith(f"warning: {places[0]} cannot be written (")
        and "; the other outputs are still written" in first
    )
    assert last.startswith(f"error: {places[0]} is incomplete: "), done.err
    assert f"written to {places[1]} in " in done.out and places[0] not in done.out
    assert cli.run("broadcasts", "verify", "--no-decode", places[1]).code == 0


def test_prefect_that_does_not_start(own_cli: Cli, cli: Cli, clip: Clip) -> None:
    """The first chunks are made meanwhile, but nothing is left of them; and a broadcast that exists is not touched."""
    place = ["--output", str(own_cli.folder / "out"), "--ladder", "small"]
    database = own_cli.state / "prefect/prefect.db"
    database.write_bytes(b"no database" * 1000)
    line = refusal(own_cli.run("transcode", str(clip.path), *place))
    assert "Prefect's server did not start; its log" in line and "server.log" in line
    nothing_left(own_cli)
    assert cli.run("transcode", str(clip.path), *place).code == 0
    before = tree(own_cli.folder / "out")
    line = refusal(own_cli.run("transcode", str(clip.path), *place, "--overwrite"))
    assert "Prefect's server did not start" in line
    assert tree(own_cli.folder / "out") == before and own_cli.leftovers() == []


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- interrupted ------------------------------------------------------------------------------------------------------


def hang(cli: Cli, chunk: str) -> None:
    """Make the transcode of a chunk take minutes, so that the run can be interrupted during it."""
    cli.extra["FFMPEG_PATH"] = str(slow_ffmpeg(cli.folder / "ffmpeg", chunk))


def in_the_middle(cli: Cli, ticks: int = 50_000) -> bool:
    """Whether the second chunk (at ``ticks``) is published while the third is being transcoded."""
    return (cli.folder / f"out/p0/small/{ticks}.m4s").exists() and bool(cli.ffmpegs("000002.mkv"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_in_the_middle(own_cli: Cli, clip: Clip, prefect_api: str, signum: int) -> None:
    hang(own_cli, "000002.mkv")
    if signum == signal.SIGTERM:  # one case with a server that has to end too is sufficient
        own_cli.extra["PREFECT_API_URL"] = prefect_api
    with own_cli.start("transcode", str(clip.path), "--output", "out") as process:
        wait_for(lambda: in_the_middle(own_cli), "the second chunk to be published and the third to be transcoded")
        interrupt(process, signum)
        out, err = process.communicate(timeout=60)
        line = refusal(Done(process.returncode, out, err))
        assert process.returncode == 130
        assert "interrupted" in line and "run the command again" in line
        nothing_left(own_cli)


def test_interrupted_while_prefect_starts(tmp_path: Path, clip: Clip) -> None:
    cli = Cli(tmp_path)  # no database yet, so the server takes ten seconds to start
    with cli.start("transcode", str(clip.path), "--output", "out") as process:
        wait_for(lambda: any("uvicorn" in argv for argv in marked(cli.mark).values()), "Prefect's server to start")
        interrupt(process, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert "interrupted" in refusal(Done(process.returncode, out, err))
        nothing_left(cli)


def interrupt(process: subprocess.Popen[str], signum: int) -> None:
    """Send Ctrl-C to the whole foreground process group, or SIGTERM to the process."""
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)


def test_killed_and_run_again(own_cli: Cli, prefect_api: str) -> None:
    # More chunks than may wait in the spool, so that the segmenter is still running when the second chunk is published.
    clip = make_clip(own_cli.folder / "clip.mp4", frames=14 * 25, gop=25)
    own_cli.extra |= {"STREAMWAVE_SEGMENT_SECONDS": "1", "STREAMWAVE_MAX_CHUNKS_IN_FLIGHT": "2"}
    hang(own_cli, "000002.mkv")
    with own_cli.start("transcode", str(clip.path), "--output", "out") as process:
        wait_for(
            lambda: in_the_middle(own_cli, 25_000), "the second chunk to be published and the third to be transcoded"
        )
        kinds = {name for argv in marked(own_cli.mark).values() for name in argv}
        assert {"streamwave.receive.segmenter", "uvicorn"} <= kinds and own_cli.ffmpegs()
        process.kill()
        process.wait(60)
        # No process could stop the children, but the kernel did.
        wait_for(lambda: not marked(own_cli.mark), "every process of the run to end")
    out = own_cli.folder / "out"
    assert not (out / "manifest.mpd").exists() and not (out / "master.m3u8").exists()
    finished = tree(out / "p0")
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.m4s")}

    del own_cli.extra["FFMPEG_PATH"]
    own_cli.extra["PREFECT_API_URL"] = prefect_api  # the rest does not depend on the server
    done = own_cli.run("transcode", str(clip.path), "--output", "out")
    assert (done.code, done.err) == (0, "")
    # Published chunks are kept, not transcoded again.
    assert finished.items() <= tree(out / "p0").items()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    for rendition in representations(out).values():
        if rendition.kind == "video":
            numbers = [picture.number for picture in decode_pictures(rendition.data, rendition.timescale)]
            assert numbers == list(range(clip.frames)), rendition.name
    assert own_cli.leftovers() == []
    # The third run has nothing to do; it skips more chunks than fit into the spool.
    complete = tree(out)
    assert own_cli.run("transcode", str(clip.path), "--output", "out").code == 0
    complete["ledger/writer.json"] = (out / "ledger/writer.json").read_bytes()
    assert tree(out) == complete


def test_killed_run_again_and_interrupted(cli: Cli, clip: Clip) -> None:
    """If the successor of a killed run is interrupted, chunks of both are deleted, so that no ledger names missing objects."""
    hang(cli, "000002.mkv")
    with cli.start("transcode", str(clip.path), "--output", "out") as process:
        wait_for(lambda: in_the_middle(cli), "the second chunk to be published")
        process.kill()
        process.wait(60)
        wait_for(lambda: not marked(cli.mark), "every process of the run to end")
    with cli.start("transcode", str(clip.path), "--output", "out") as process:
        wait_for(lambda: in_the_middle(cli), "the third chunk to be transcoded again")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert "interrupted" in refusal(Done(process.returncode, out, err))
    assert tree(cli.folder / "out") == {}
    assert marked(cli.mark) == {} and cli.leftovers() == []
