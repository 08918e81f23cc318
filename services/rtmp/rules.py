"""What a publisher may send: kinds of messages and their sizes, before it publishes and while it does. All bounds are here.

Numbers of kinds: RTMP 1.0, 5.4 and 7.1 (Adobe, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamwave.ffmpeg.amf import AmfError, Value, read_values
from streamwave.ffmpeg.metadata import SET_DATA_FRAME, plain

HANDSHAKE_BYTES = 1536
VERSION = 3

#: Chunk streams have the numbers 2 to 15: nginx-rtmp's ``max_streams``. Encoders use 2 to 8.
MAX_STREAMS = 16
#: One audio, video or data message: nginx-rtmp's ``max_message``. A keyframe is one message.
MAX_MESSAGE = 4 * 1024 * 1024
#: Bytes of one connection's messages that have begun and not ended.
MAX_UNFINISHED = MAX_MESSAGE + 1024 * 1024
MAX_UNFINISHED_BEFORE = 128 * 1024
#: nginx-rtmp allocates buffers of the size of a chunk.
DEFAULT_CHUNK, MIN_CHUNK, MAX_CHUNK = 128, 128, 1024 * 1024
MAX_COMMAND = 64 * 1024
MAX_DATA = 256 * 1024
#: Protocol control and user control messages have 4 to 14 bytes.
MIN_CONTROL, MAX_CONTROL = 4, 64

SET_CHUNK_SIZE, ABORT, ACK, USER_CONTROL, WINDOW_ACK, PEER_BANDWIDTH = 1, 2, 3, 4, 5, 6
AUDIO, VIDEO, DATA_AMF3, COMMAND_AMF3, DATA, COMMAND = 8, 9, 15, 17, 18, 20
CONTROL = frozenset((SET_CHUNK_SIZE, ABORT, ACK, USER_CONTROL, WINDOW_ACK, PEER_BANDWIDTH))
MEDIA = frozenset((AUDIO, VIDEO))
DATAS = frozenset((DATA, DATA_AMF3))
COMMANDS = frozenset((COMMAND, COMMAND_AMF3))

#: Commands that nginx-rtmp gets to see.
PASSED = frozenset(
    (b"connect", b"releaseStream", b"FCPublish", b"createStream", b"publish", b"_checkbw", b"FCUnpublish")
    + (b"deleteStream", b"closeStream")
)
#: Commands of those who want to watch, which they do over HTTP.
WATCHING = frozenset((b"play", b"play2", b"pause", b"pauseraw", b"seek", b"receiveAudio", b"receiveVideo"))
#: An empty name of a command, or of data; nginx-rtmp has no handler for it and reads no further.
_NOTHING = b"\x02\x00\x00"


class Refused(Exception):
    """The connection ends. The text is for the log and holds nothing that was sent."""


@dataclass(frozen=True)
class Message:
    """A whole message: its chunk stream, absolute timestamp in milliseconds, kind, message stream and body."""

    stream: int
    time_ms: int
    kind: int
    target: int
    body: bytes


def is_held(kind: int, size: int, *, publishing: bool) -> bool:
    """Whether a message is passed on only when it is there as a whole and has been looked at; media goes on as it comes.

    Raises:
        Refused: there is no such message at this point, or none of this size.
    """
    if kind in CONTROL:
        if not MIN_CONTROL <= size <= MAX_CONTROL:
            raise Refused("a control message of an impossible size")
        return True
    if kind in COMMANDS:
        if size > MAX_COMMAND:
            raise Refused(f"a command of more than {MAX_COMMAND} bytes")
        return True
    if not publishing or kind not in MEDIA | DATAS:
        raise Refused("a kind of message that publishers do not send" if publishing else "media before a publish")
    if size > (MAX_DATA if kind in DATAS else MAX_MESSAGE):
        raise Refused("a message that is too large")
    return kind in DATAS


def _amf_start(message: Message) -> int:
    """Messages of AMF3 begin with a byte that says so, and go on in AMF0; nginx-rtmp skips it whatever it is."""
    return 1 if message.kind in (COMMAND_AMF3, DATA_AMF3) else 0


def values_of(message: Message) -> list[Value]:
    """The values of a command or data message.

    Raises:
        Refused: it is not well-formed.
    """
    try:
        return read_values(message.body, _amf_start(message))
    except AmfError as error:
        raise Refused(str(error)) from None


def check_data(message: Message) -> Message:
    """What nginx-rtmp gets in the place of a data message: metadata in the one shape that all who pull understand.

    What is anything else keeps its place in the chunk stream, to which the headers of what follows may refer.
    """
    found = plain(message.body, _amf_start(message))
    return replace(message, kind=DATA, body=_NOTHING if found is None else SET_DATA_FRAME + found)


def check_command(message: Message) -> tuple[bytes, Message]:
    """The name of a command, and what nginx-rtmp gets in its place: unknown commands are blanked.

    Raises:
        Refused: it is not well-formed, or one of those who want to watch.
    """
    values = values_of(message)
    name = values[0] if values else None
    if not isinstance(name, bytes):
        raise Refused("a command without a name")
    if name in WATCHING:
        raise Refused("an attempt to play; viewers watch over HTTP")
    if name in PASSED:
        return name, message
    return name, replace(message, kind=COMMAND, body=_NOTHING)
