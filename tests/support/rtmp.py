"""RTMP as bytes: sessions of publishers, randomly damaged ones, a client that sends them, and a simple reader.

``before_publish`` and ``after_publish`` yield damaged sessions, reproducible by their seed.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HANDSHAKE = 1536
SET_CHUNK_SIZE, ABORT, ACK, USER_CONTROL, WINDOW_ACK = 1, 2, 3, 4, 5
AUDIO, VIDEO, COMMAND_AMF3, DATA, COMMAND, AGGREGATE = 8, 9, 17, 18, 20, 22


@dataclass(frozen=True)
class Sent:
    """A message: chunk stream, kind, body, absolute time, message stream."""

    stream: int
    kind: int
    body: bytes
    time_ms: int = 0
    target: int = 0


def amf(*values: Any) -> bytes:
    """Values in AMF0: numbers, texts, None, bools, lists (strict arrays), dicts (objects)."""
    return b"".join(map(_amf, values))


def _amf(value: Any) -> bytes:
    if value is None:
        return b"\x05"
    if isinstance(value, bool):
        return b"\x01" + bytes([value])
    if isinstance(value, int | float):
        return b"\x00" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\x02" + struct.pack(">H", len(value)) + value.encode()
    if isinstance(value, list):
        return b"\x0a" + struct.pack(">I", len(value)) + amf(*value)
    members = b"".join(struct.pack(">H", len(name)) + name.encode() + _amf(one) for name, one in value.items())
    return b"\x03" + members + b"\x00\x00\x09"


def nested(levels: int, kind: str = "array") -> bytes:
    """Deeply nested AMF0: arrays of one element, or objects of one member, without their ends."""
    return {"array": b"\x0a\x00\x00\x00\x01", "object": b"\x03\x00\x01a"}[kind] * levels


def chunks(message: Sent, size: int = 128, form: int = 0, delta_ms: int = 0) -> bytes:
    """A message as chunks of ``size``, the first one of type ``form`` (for 1 to 3 with ``delta_ms``)."""
    time_ms = delta_ms if form else message.time_ms
    extended = struct.pack(">I", time_ms) if time_ms >= 0xFFFFFF else b""
    header = bytes([form << 6 | message.stream])
    if form < 3:
        header += min(time_ms, 0xFFFFFF).to_bytes(3, "big")
    if form < 2:
        header += len(message.body).to_bytes(3, "big") + bytes([message.kind])
    if form == 0:
        header += struct.pack("<I", message.target)
    parts = [message.body[at : at + size] for at in range(0, len(message.body), size)] or [b""]
    return header + extended + (bytes([0xC0 | message.stream]) + extended).join(parts)


def greeting() -> list[bytes]:
    """C0, C1 and C2; servers ignore their content."""
    return [b"\x03" + bytes(8) + bytes(range(256)) * 5 + bytes(248), bytes(HANDSHAKE)]


def commands(name: str, app: str = "live", *, flash: bool = False) -> list[Sent]:
    """The commands of a publisher up to the publish of ``name``; ``flash``: wrapped for AMF3 after the connect."""
    about = {"app": app, "type": "nonprivate", "flashVer": "FMLE/3.0", "tcUrl": f"rtmp://127.0.0.1/{app}"}
    said = [
        amf("connect", 1, about | ({"objectEncoding": 3} if flash else {})),
        amf("releaseStream", 2, None, name),
        amf("FCPublish", 3, None, name),
        amf("createStream", 4, None),
        amf("publish", 5, None, name, "live"),
    ]
    kinds = [COMMAND] + [COMMAND_AMF3 if flash else COMMAND] * 4
    return [
        Sent(3, kind, (b"\0" if kind == COMMAND_AMF3 else b"") + body, 0, 0 if number < 4 else 1)
        for number, (kind, body) in enumerate(zip(kinds, said, strict=True))
    ]


def media(seconds: int = 1, frame_bytes: int = 5000) -> list[Sent]:
    """Metadata, and undecodable video and audio messages."""
    about = amf("@setDataFrame", "onMetaData", {"width": 64, "height": 36, "framerate": 25, "stereo": True})
    sent = [
        Sent(4, DATA, about, 0, 1),
        Sent(6, VIDEO, b"\x17\0" + bytes(50), 0, 1),
        Sent(4, AUDIO, b"\xaf\0\x11\x90", 0, 1),
    ]
    for number in range(25 * seconds):
        body = (b"\x17\x01" if number % 25 == 0 else b"\x27\x01") + bytes([number % 251]) * frame_bytes
        sent += [Sent(6, VIDEO, body, 40 * number, 1), Sent(4, AUDIO, b"\xaf\x01" + bytes(200), 40 * number, 1)]
    return sent


def mutated(parts: Sequence[bytes], random_: random.Random) -> bytes:
    """The joined parts with a few random mutations: bits, bytes, lengths; pieces lost, duplicated, moved or cut off."""
    found = [bytearray(part) for part in parts]
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        if not found:
            break
        place = random_.randrange(len(found))
        part = found[place]
        accident = random_.randrange(9)
        at = random_.randrange(len(part)) if part else 0
        if accident == 0 and part:
            part[at] ^= 1 << random_.randrange(8)
        elif accident == 1 and part:
            part[at] = random_.choice((0, 1, 2, 3, 5, 8, 10, 17, 0x7F, 0x80, 0xC3, 0xFF))
        elif accident == 2 and len(part) > 12:  # the header of a message: time, length, kind
            part[random_.randrange(12)] = random_.randrange(256)
        elif accident == 3:
            del part[at : at + random_.choice((1, 2, 16, 1000))]
        elif accident == 4:
            part[at:at] = random_.randbytes(random_.choice((1, 2, 16, 1000)))
        elif accident == 5:
            found.insert(place, bytearray(part))
        elif accident == 6:
            del found[place]
        elif accident == 7:
            found[place:place] = [bytearray(chunks(Sent(random_.randrange(64), random_.randrange(32), bytes(at))))]
        else:
            del part[at:]
            del found[place + 1 :]
    return b"".join(found)


def before_publish(seed: int, count: int, name: str = "guess") -> Iterator[bytes]:
    """Damaged sessions of publishers without a key, including the handshake."""
    random_ = random.Random(seed)
    for _ in range(count):
        size = random_.choice((128, 128, 4096))
        said = [chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", size)))] * (size != 128)
        said += [chunks(one, size) for one in commands(name, flash=random_.random() < 0.2)]
        if random_.random() < 0.2:
            said.insert(-1, chunks(Sent(3, COMMAND, amf("x", 1) + nested(random_.randrange(1, 2000))), size))
        parts = said if random_.random() < 0.8 else [*greeting(), *said]
        found = mutated(parts, random_)
        yield found if parts is not said else b"".join(greeting()) + found


def after_publish(seed: int, count: int) -> Iterator[bytes]:
    """Damaged data of publishers with a key, sent after their publish was accepted."""
    random_ = random.Random(seed)
    for _ in range(count):
        said = [chunks(one) for one in media(1, random_.choice((10, 300, 5000)))[: random_.randrange(3, 40)]]
        for _ in range(random_.randrange(3)):
            kind = random_.choice((SET_CHUNK_SIZE, ABORT, ACK, USER_CONTROL, DATA, COMMAND, COMMAND_AMF3, AGGREGATE))
            body = random_.choice((amf("play", 1, None, "show"), amf("publish", 9, None, "show", "live"), nested(3000),
                                   amf("closeStream", 0, None), random_.randbytes(4), random_.randbytes(200)))  # fmt: skip
            said.insert(random_.randrange(len(said)), chunks(Sent(random_.randrange(2, 16), kind, body)))
        yield mutated(said, random_)


class Client:
    """A publisher that sends raw bytes. ``source`` is its local address."""

    def __init__(self, port: int, host: str = "127.0.0.1", source: str = "127.0.0.1", timeout_s: float = 30) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s, source_address=(source, 0))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def greet(self) -> None:
        """The handshake."""
        begin, end = greeting()
        self.send(begin)
        left = 1 + 2 * HANDSHAKE
        while left:
            got = len(self.socket.recv(left))
            assert got, "the connection was closed in the handshake"
            left -= got
        self.send(end)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def publish(self, name: str, app: str = "live", *, flash: bool = False, size: int = 128) -> None:
        """Do the handshake and publish, until the publish is accepted."""
        self.greet()
        if size != 128:
            self.send(chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", size))))
        self.send(b"".join(chunks(one, size) for one in commands(name, app, flash=flash)))
        seen = b""
        while b"NetStream.Publish.Start" not in seen:
            got = self.socket.recv(4096)
            assert got, "the publish was refused"
            seen += got

    def closed(self) -> bool:
        """Read until the server closes the connection. Returns False if it does not within the time-out."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


def read_messages(data: bytes) -> list[Sent]:
    """Parse the messages of a well-formed, complete chunk stream."""
    size, at = 128, 0
    streams: dict[int, dict[str, int]] = {}
    bodies: dict[int, bytes] = {}
    found = []
    while at < len(data):
        form, number = data[at] >> 6, data[at] & 63
        at += 1
        state = streams.setdefault(number, {"time": 0, "delta": 0, "size": 0, "kind": 0, "target": 0, "extended": 0})
        time_ms = state["delta"]
        if form < 3:
            time_ms = int.from_bytes(data[at : at + 3], "big")
            state["extended"] = int(time_ms == 0xFFFFFF)
            at += 3
        if form < 2:
            state["size"], state["kind"] = int.from_bytes(data[at : at + 3], "big"), data[at + 3]
            at += 4
        if form == 0:
            (state["target"],) = struct.unpack_from("<I", data, at)
            at += 4
        if state["extended"]:
            (time_ms,) = struct.unpack_from(">I", data, at)
            at += 4
        if number not in bodies:
            state["delta"] = time_ms if form else 0
            state["time"] = state["time"] + time_ms if form else time_ms
            bodies[number] = b""
        step = min(size, state["size"] - len(bodies[number]))
        bodies[number] += data[at : at + step]
        at += step
        if len(bodies[number]) == state["size"]:
            found.append(Sent(number, state["kind"], bodies.pop(number), state["time"], state["target"]))
            if found[-1].kind == SET_CHUNK_SIZE:
                size = int.from_bytes(found[-1].body, "big")
    assert not bodies
    return found
