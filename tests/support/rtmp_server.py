"""An RTMP server that sends prepared messages to its players, to imitate servers of other vendors."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.support.rtmp import COMMAND, HANDSHAKE, SET_CHUNK_SIZE, USER_CONTROL, Sent, amf, chunks, greeting

CHUNK = 4096


@contextmanager
def playing(sent: Sequence[Sent], *later: Sequence[Sent]) -> Iterator[str]:
    """The URL of a server that sends these messages to a player and closes the connection.

    Further players get those in ``later``, the last of which is repeated.
    """
    datas = [b"".join(chunks(one, CHUNK) for one in messages) for messages in (sent, *later)]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    player, _ = server.accept()
                    data = datas.pop(0) if len(datas) > 1 else datas[0]
                    threading.Thread(target=_play, args=(player, data), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"rtmp://127.0.0.1:{server.getsockname()[1]}/live/stage"
        server.shutdown(socket.SHUT_RDWR)


def _play(player: socket.socket, data: bytes) -> None:
    with player, suppress(OSError):
        player.settimeout(30)
        begin, end = greeting()
        _await(player, b"", 1 + HANDSHAKE)
        player.sendall(begin + end)
        heard = _await(player, b"", HANDSHAKE)[HANDSHAKE:]
        player.sendall(chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", CHUNK))))
        for command, answer in ((b"connect", {"code": "NetConnection.Connect.Success"}), (b"createStream", 1)):
            name = b"\x02" + struct.pack(">H", len(command)) + command
            heard = _await(player, heard, 9, behind=name)
            (number,) = struct.unpack(">d", heard[1:9])
            player.sendall(chunks(Sent(3, COMMAND, amf("_result", number, None, answer)), CHUNK))
        _await(player, heard, 9, behind=b"\x02\0\4play")
        started = {"level": "status", "code": "NetStream.Play.Start", "description": "x"}
        player.sendall(chunks(Sent(2, USER_CONTROL, struct.pack(">HI", 0, 1))))
        player.sendall(chunks(Sent(5, COMMAND, amf("onStatus", 0, None, started), 0, 1), CHUNK) + data)
        player.shutdown(socket.SHUT_WR)
        while player.recv(65536):
            continue


def _await(player: socket.socket, heard: bytes, size: int, *, behind: bytes = b"") -> bytes:
    """Wait until ``size`` bytes have arrived after the bytes ``behind``, and return them."""
    while len(found := heard[heard.find(behind) + len(behind) :] if behind in heard else b"") < size:
        more = player.recv(65536)
        if not more:
            raise ConnectionError
        heard += more
    return found
