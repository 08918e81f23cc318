"""The chunk stream of RTMP 1.0 (5.3): checked while it passes, bytes of media as they come, other messages as a whole.

Deviations from the specification are those of nginx-rtmp, which reads the same bytes after us: continued chunks repeat an
extended timestamp, and after a header of type 0 the delta is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.rtmp.rules import (
    ABORT,
    DEFAULT_CHUNK,
    MAX_CHUNK,
    MAX_STREAMS,
    MAX_UNFINISHED,
    MAX_UNFINISHED_BEFORE,
    MIN_CHUNK,
    SET_CHUNK_SIZE,
    Message,
    Refused,
    is_held,
)

_EXTENDED = 0xFFFFFF
#: Bytes of the message header by the type of the chunk (5.3.1.2), and the one byte before it.
_WIDTHS = (12, 8, 4, 1)
#: First bytes of chunks that continue a message, as many as a read can hold, by chunk stream.
_CONTINUED = [bytes([0xC0 | number]) * 2048 for number in range(MAX_STREAMS)]


@dataclass(slots=True)
class _Stream:
    """A chunk stream: the header of its latest message, and how much of that is missing."""

    time_ms: int = 0
    delta_ms: int = 0
    size: int = 0
    kind: int = 0
    target: int = 0
    extended: bool = False
    missing: int = 0
    body: bytearray | None = None


class ChunkReader:
    """One direction of a connection after its handshake: ``feed`` it, then take what ``next`` gives until that is None.

    ``publishing`` decides what is allowed, and may be changed between two calls of ``next``. Memory is bounded by what was
    fed and not taken, and by ``MAX_UNFINISHED``.
    """

    def __init__(self, *, publishing: bool = False) -> None:
        self.publishing = publishing
        self.chunk_size = DEFAULT_CHUNK
        self._data, self._at = b"", 0
        self._streams: dict[int, _Stream] = {}
        self._current = _Stream()
        self._number = 0
        self._in_chunk = 0
        self._unfinished = 0

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> bytes | Message | None:
        """Bytes to be passed on as they are, or a whole message that is held back; None if more has to arrive.

        Raises:
            Refused: something that a publisher does not send.
        """
        data, size = self._data, len(self._data)
        begin = at = self._at
        while True:
            if self._in_chunk:
                stream, step = self._current, min(self._in_chunk, size - at)
                if stream.body is not None:
                    stream.body += data[at : at + step]
                    begin = at + step
                at += step
                self._in_chunk -= step
                stream.missing -= step
                if self._in_chunk:
                    break
                if not stream.missing:
                    self._unfinished -= stream.size
                    if stream.body is not None:
                        self._at = at
                        return self._message(stream)
                continue
            if at >= size:
                break
            first = data[at]
            number = first & 0x3F
            known = self._streams.get(number)
            if known is not None and known.missing:
                if first < 0xC0:
                    raise Refused("a message that begins inside of another one")
                if known.body is not None and begin < at:
                    break
                width = 5 if known.extended else 1
                if known.body is None:
                    step = self._whole_chunks(at, width, number, known.missing)
                    if step:
                        at += step * (width + self.chunk_size)
                        known.missing -= step * self.chunk_size
                        if not known.missing:
                            self._unfinished -= known.size
                        continue
                if size - at < width:
                    break
                at += width
                if known.body is not None:
                    begin = at
            else:
                opened = self._header(at, number, first >> 6, known)
                if opened is None:
                    break
                width, known = opened
                held = is_held(known.kind, known.size, publishing=self.publishing)
                if held and begin < at:
                    break
                self._begin(number, known, held)
                at += width
                if held:
                    begin = at
            self._current, self._number = known, number
            self._in_chunk = min(self.chunk_size, known.missing)
            if not known.size and known.body is not None:
                self._at = at
                return self._message(known)
        self._at = at
        return data[begin:at] if begin < at else None

    def _whole_chunks(self, at: int, width: int, number: int, missing: int) -> int:
        """How many chunks follow that are whole and continue the message, if nothing is in between; else 0."""
        unit = width + self.chunk_size
        count = min((len(self._data) - at) // unit, missing // self.chunk_size, 2048)
        marks = self._data[at : at + count * unit : unit]
        return count if count > 1 and marks == _CONTINUED[number][:count] else 0

    def _header(self, at: int, number: int, form: int, known: _Stream | None) -> tuple[int, _Stream] | None:
        """Width of the header of a new message, and its chunk stream as it will be; None if it has not arrived."""
        if not 2 <= number < MAX_STREAMS:
            raise Refused(f"a chunk stream other than 2 to {MAX_STREAMS - 1}")
        if known is None:
            if form > 1:
                raise Refused("a chunk without the header that it refers to")
            known = _Stream()
        data, width = self._data, _WIDTHS[form]
        if len(data) - at < width:
            return None
        time_ms, extended = known.delta_ms, known.extended
        length, kind, target = known.size, known.kind, known.target
        if form < 3:
            time_ms = int.from_bytes(data[at + 1 : at + 4], "big")
            extended = time_ms == _EXTENDED
        if form < 2:
            length, kind = int.from_bytes(data[at + 4 : at + 7], "big"), data[at + 7]
        if form == 0:
            target = int.from_bytes(data[at + 8 : at + 12], "little")
        if extended:
            if len(data) - at < width + 4:
                return None
            time_ms = int.from_bytes(data[at + width : at + width + 4], "big")
            width += 4
        base, delta = (known.time_ms, time_ms) if form else (time_ms, 0)
        return width, _Stream((base + delta) & 0xFFFFFFFF, delta, length, kind, target, extended)

    def _begin(self, number: int, stream: _Stream, held: bool) -> None:
        self._unfinished += stream.size
        if self._unfinished > (MAX_UNFINISHED if self.publishing else MAX_UNFINISHED_BEFORE):
            raise Refused("too many bytes of messages that have begun and not ended")
        stream.missing, stream.body = stream.size, bytearray() if held else None
        self._streams[number] = stream

    def _message(self, stream: _Stream) -> Message:
        body, stream.body = bytes(stream.body or b""), None
        message = Message(self._number, stream.time_ms, stream.kind, stream.target, body)
        if message.kind == ABORT and self._unfinished:
            raise Refused("a message that is given up, which nginx-rtmp does not understand")
        if message.kind == SET_CHUNK_SIZE:
            self._resize(int.from_bytes(body[:4], "big"))
        return message

    def _resize(self, size: int) -> None:
        # nginx-rtmp does not get these right: in the middle of other messages, and smaller while it has more to read.
        if not MIN_CHUNK <= size <= MAX_CHUNK or self._unfinished or (self.publishing and size < self.chunk_size):
            raise Refused("a change of the chunk size that no encoder makes")
        self.chunk_size = size


def written(message: Message, chunk_size: int) -> bytes:
    """A message in chunks, with a full header (type 0), which depends on nothing that was sent before."""
    extended = message.time_ms.to_bytes(4, "big") if message.time_ms >= _EXTENDED else b""
    header = b"%c%b%b%c%b%b" % (
        message.stream,
        min(message.time_ms, _EXTENDED).to_bytes(3, "big"),
        len(message.body).to_bytes(3, "big"),
        message.kind,
        message.target.to_bytes(4, "little"),
        extended,
    )
    body = message.body
    pieces = [body[at : at + chunk_size] for at in range(0, len(body), chunk_size)]
    return header + (bytes([0xC0 | message.stream]) + extended).join(pieces)


def chunk_size_message(size: int) -> Message:
    """Set Chunk Size (5.4.1)."""
    return Message(2, 0, SET_CHUNK_SIZE, 0, size.to_bytes(4, "big"))
