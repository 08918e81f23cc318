"""Open chunk files to read packets. StreamWave wrote the containers, but their content is the publisher's."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

from streamwave.model import CONTAINERS

#: Options for ``av.open`` that disable all decoders and further files. Otherwise, libavformat would decode the first frames
#: in this process to find out their format.
UNDECODED = {"codec_whitelist": "none", "protocol_whitelist": "none"}


def open_chunk(path: Path, suffix: str | None = None) -> InputContainer:
    """Open a chunk's video file without any decoder; codec name, parameters and packets are available.

    ``suffix`` determines the container if the file's name does not.

    Raises:
        OSError: it cannot be opened.
        av.error.FFmpegError: it is damaged.
    """
    options = {**UNDECODED, "protocol_whitelist": "file"}
    return av.open(str(path), format=CONTAINERS[suffix or path.suffix[1:]], options=options)
