"""Which RTMP messages a publisher may send, and of which size, before and after its publish is accepted. All limits are here.

The numbers of message types are those of RTMP 1.0, sections 5.4 and 7.1 (Adobe, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamwave.ffmpeg.amf import AmfError, Value, read_values
from streamwave.ffmpeg.metadata import SET_DATA_FRAME, plain

HANDSHAKE_BYTES = 1536
VERSION = 3

#: Chunk stream ids are 2 to 15, because of nginx-rtmp's ``max_streams``. Encoders use 2 to 8.
MAX_STREAMS = 16
#: Size of an audio, video or data message, also nginx-rtmp's ``max_message``. A keyframe is one message.
MAX_MESSAGE = 4 * 1024 * 1024
#: Total size of a connection's incomplete messages, after and before its publish is accepted.
MAX_UNFINISHED = MAX_MESSAGE + 1024 * 1024
MAX_UNFINISHED_BEFORE = 128 * 1024
#: Chunk sizes. nginx-rtmp allocates a buffer of the size of a chunk.
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

#: Commands that are forwarded to nginx-rtmp.
PASSED = frozenset(
    (b"connect", b"releaseStream", b"FCPublish", b"createStream", b"publish", b"_checkbw", b"FCUnpublish")
    + (b"deleteStream", b"closeStream")
)
#: Commands of players, which are refused: viewers watch over HTTP.
WATCHING = frozenset((b"play", b"play2", b"pause", b"pauseraw", b"seek", b"receiveAudio", b"receiveVideo"))
#: The body of a blanked message: an empty name, for which nginx-rtmp has no handler, so that it ignores the message.
_NOTHING = b"\x02\x00\x00"


class Refused(Exception):
    """The connection must end. The text is for the log and contains nothing that the client sent."""


@dataclass(frozen=True)
class Message:
    """A complete message: chunk stream id, absolute timestamp in milliseconds, message type, message stream id and body."""

    stream: int
    time_ms: int
    kind: int
    target: int
    body: bytes


def is_held(kind: int, size: int, *, publishing: bool) -> bool:
    """Whether a message is held until it is complete and has been checked. Audio and video are forwarded as they arrive.

    Raises:
        Refused: a message of this type or size is not allowed now.
    """
    if kind in CONTROL:
        if not MIN_CONTROL <= size <= MAX_CONTROL:
            raise Refused("a control message of an invalid size")
        return True
    if kind in COMMANDS:
        if size > MAX_COMMAND:
            raise Refused(f"a command of more than {MAX_COMMAND} bytes")
        return True
    if not publishing or kind not in MEDIA | DATAS:
        raise Refused("a message type that publishers do not send" if publishing else "media before a publish")
    if size > (MAX_DATA if kind in DATAS else MAX_MESSAGE):
        raise Refused("a message that is too large")
    return kind in DATAS


def _amf_start(message: Message) -> int:
    """Offset of the AMF0 data: AMF3 messages start with a format byte, which nginx-rtmp skips whatever its value."""
    return 1 if message.kind in (COMMAND_AMF3, DATA_AMF3) else 0


def values_of(message: Message) -> list[Value]:
    """The values of a command or data message.

    Raises:
        Refused: the message is malformed.
    """
    try:
        return read_values(message.body, _amf_start(message))
    except AmfError as error:
        raise Refused(str(error)) from None


def check_data(message: Message) -> Message:
    """The message that nginx-rtmp gets instead of a data message: metadata in one format that every puller understands.

    Other data becomes a blank message instead of none, because headers of later chunks may refer to its header.
    """
    found = plain(message.body, _amf_start(message))
    return replace(message, kind=DATA, body=_NOTHING if found is None else SET_DATA_FRAME + found)


def check_command(message: Message) -> tuple[bytes, Message]:
    """The name of a command, and the message that nginx-rtmp gets instead: unknown commands are blanked.

    Raises:
        Refused: the message is malformed, or a command of players.
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
