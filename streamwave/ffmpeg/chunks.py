"""Chunk files, opened for their packets. The containers are ours, what is in them is the publisher's."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

from streamwave.model import CONTAINERS

#: For ``av.open``: no decoder sees what is opened, and nothing else is opened. libavformat would decode the first pictures to
#: learn their format, in whatever process this is.
UNDECODED = {"codec_whitelist": "none", "protocol_whitelist": "none"}


def open_chunk(path: Path, suffix: str | None = None) -> InputContainer:
    """Open a chunk's video file. No decoder sees any of it; the codec's name, its parameters and the packets are there.

    ``suffix`` tells its container where its name does not.

    Raises:
        OSError: it cannot be opened.
        av.error.FFmpegError: it is damaged.
    """
    options = {**UNDECODED, "protocol_whitelist": "file"}
    return av.open(str(path), format=CONTAINERS[suffix or path.suffix[1:]], options=options)
