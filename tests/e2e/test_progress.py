"""What a user who transcodes a file in a terminal sees."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios

from tests.support.cli import Cli
from tests.support.media import make_clip


def test_a_terminal_shows_the_progress(cli: Cli) -> None:
    clip = make_clip(cli.folder / "clip.mp4", frames=230)
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    # Slow enough that the run is not over when the first chunk is done.
    cli.extra |= {"TERM": "xterm", "STREAMWAVE_MAX_CHUNKS_IN_FLIGHT": "1", "STREAMWAVE_PRESET": "slow"}
    shown = b""
    try:
        with cli.start("transcode", str(clip.path), "--output", "out", terminal=terminal) as process:
            os.close(terminal)
            with contextlib.suppress(OSError):  # reading a pseudo-terminal whose other end is closed fails
                while piece := os.read(main, 65536):
                    shown += piece
            assert process.wait(60) == 0
    finally:
        os.close(main)
    text = shown.decode()
    assert re.search(r"transcoding .*[1-9] chunks", text) and f"{clip.chunks} chunks" in text
    assert re.search(r"\d+\.\d+x", text) and re.search(r"\d+ s left", text)
    assert "out/manifest.mpd" in text
