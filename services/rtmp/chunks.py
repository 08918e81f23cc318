"""Reads and checks the chunk stream of RTMP 1.0 (section 5.3): media passes as bytes, other messages as a whole.

nginx-rtmp reads the same bytes later, so deviations from the specification are those of nginx-rtmp: chunks that continue
a message repeat an extended timestamp, and after a header of type 0 the timestamp delta is 0.
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
#: Width of the basic header (one byte) and the message header, by the type of the chunk (5.3.1.2).
_WIDTHS = (12, 8, 4, 1)
#: By chunk stream: the basic headers of continuing chunks, as many as one read can hold.
_CONTINUED = [bytes([0xC0 | number]) * 2048 for number in range(MAX_STREAMS)]


@dataclass(slots=True)
class _Stream:
    """A chunk stream: the header of its latest message, how many bytes of it are missing, and its body if it is held."""

    time_ms: int = 0
    delta_ms: int = 0
    size: int = 0
    kind: int = 0
    target: int = 0
    extended: bool = False
    missing: int = 0
    body: bytearray | None = None


class ChunkReader:
    """One direction of a connection after its handshake. Call ``feed``, then ``next`` until it returns None.

    ``publishing`` selects the rules, and may be changed between two calls of ``next``. Memory is bounded by the bytes fed
    but not yet taken, plus ``MAX_UNFINISHED``.
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
        """Add bytes that have arrived."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> bytes | Message | None:
        """The next bytes to forward unchanged, or the next held message; None if more bytes are needed.

        Raises:
            Refused: publishers do not send this.
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
                    raise Refused("a message that begins inside another one of its chunk stream")
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
        """How many complete chunks of the same message follow without other chunks in between; 0 if not more than one."""
        unit = width + self.chunk_size
        count = min((len(self._data) - at) // unit, missing // self.chunk_size, 2048)
        marks = self._data[at : at + count * unit : unit]
        return count if count > 1 and marks == _CONTINUED[number][:count] else 0

    def _header(self, at: int, number: int, form: int, known: _Stream | None) -> tuple[int, _Stream] | None:
        """The width of a new message's header, and the new state of its chunk stream; None if the header is incomplete."""
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
            raise Refused("too many bytes of incomplete messages")
        stream.missing, stream.body = stream.size, bytearray() if held else None
        self._streams[number] = stream

    def _message(self, stream: _Stream) -> Message:
        body, stream.body = bytes(stream.body or b""), None
        message = Message(self._number, stream.time_ms, stream.kind, stream.target, body)
        if message.kind == ABORT and self._unfinished:
            raise Refused("an Abort of an incomplete message, which nginx-rtmp does not handle")
        if message.kind == SET_CHUNK_SIZE:
            self._resize(int.from_bytes(body[:4], "big"))
        return message

    def _resize(self, size: int) -> None:
        # nginx-rtmp mishandles changes in the middle of messages, and smaller sizes while it has unread data.
        if not MIN_CHUNK <= size <= MAX_CHUNK or self._unfinished or (self.publishing and size < self.chunk_size):
            raise Refused("a change of the chunk size that no encoder makes")
        self.chunk_size = size


def as_chunks(message: Message, chunk_size: int) -> bytes:
    """A message as chunks. Its header is complete (type 0), so it does not depend on earlier messages."""
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
    """A Set Chunk Size message (5.4.1)."""
    return Message(2, 0, SET_CHUNK_SIZE, 0, size.to_bytes(4, "big"))
