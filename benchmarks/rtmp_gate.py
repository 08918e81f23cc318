"""The RTMP gate in front of nginx-rtmp: CPU time for one publisher, relative to a relay that copies bytes without parsing.

Both are asyncio servers in separate processes, in front of the same nginx-rtmp, and receive the same bytes one after the
other: 30 frames per second, a keyframe every second that is eight times as large, and audio, in RTMP chunks of 128
bytes (FFmpeg)
or 4096 bytes (OBS).
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import wait_for
from tests.support.rtmp import AUDIO, SET_CHUNK_SIZE, VIDEO, Client, Sent, chunks
from tests.support.rtmp_part import hooks, rtmp_part

#: Maximum ratio of the gate's CPU time to the relay's. The gate reads 64 kB at a time instead of 256 to bound its memory, and
#: parses every chunk; both take less than one per cent of a core.
TARGET = 2.5
FPS = 30

_RELAY = """
import asyncio, sys
class Side(asyncio.Protocol):
    other = None
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.other.transport.write(data)
    def connection_lost(self, exc):
        self.other.transport.close()
class Front(Side):
    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()
        asyncio.get_running_loop().create_task(self.connect())
    async def connect(self):
        back = Side()
        back.other, self.other = self, back
        await asyncio.get_running_loop().create_connection(lambda: back, "127.0.0.1", int(sys.argv[2]))
        self.transport.resume_reading()
async def main():
    server = await asyncio.get_running_loop().create_server(Front, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


def main(seconds: int = 10) -> float:
    """Measure, print and return the worst ratio of the gate's CPU time to the relay's."""
    ratios = []
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        hooks() as hook,
        rtmp_part(Path(name), hook.server_port) as part,
        _relay(part.internal_port) as (relay_port, relay_pid),
    ):
        for mbps in (6, 50):
            for size in (128, 4096):
                frames = _second(mbps, size)
                relay_s = _cost(relay_pid, relay_port, "fuzzrelay", size, frames, seconds)
                gate_s = _cost(part.pid, part.port, "fuzzgate", size, frames, seconds)
                ratios.append(gate_s / relay_s)
                print(
                    f"{mbps} Mbit/s in chunks of {size}: gate {gate_s / seconds:.2%} of a core, relay {relay_s / seconds:.2%}, "
                    f"ratio {ratios[-1]:.2f} (target {TARGET:g})"
                )
    return max(ratios)


def _second(mbps: int, size: int) -> list[bytes]:
    """The writes of one second: each has a frame and its share of the audio. All timestamps are 0, because nobody plays it."""
    frame = mbps * 1_000_000 // 8 // (FPS + 7)
    writes = []
    for number in range(FPS):
        body = (b"\x17\x01" if number == 0 else b"\x27\x01") + bytes(8 * frame if number == 0 else frame)
        sound = chunks(Sent(4, AUDIO, b"\xaf\x01" + bytes(380), 0, 1), size)
        writes.append(chunks(Sent(6, VIDEO, body, 0, 1), size) + sound)
    return writes


def _cost(pid: int, port: int, name: str, size: int, frames: list[bytes], seconds: int) -> float:
    """CPU seconds of the process while ``seconds`` of the stream pass through it in real time."""
    with Client(port) as client:
        client.publish(name)
        if size != 128:
            client.send(chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", size))))
        before, begun = _cpu_s(pid), time.monotonic()
        for number in range(seconds * FPS):
            time.sleep(max(0.0, begun + number / FPS - time.monotonic()))
            client.send(frames[number % FPS])
        return _cpu_s(pid) - before


def _cpu_s(pid: int) -> float:
    """CPU seconds of the main thread, which does all the work; the kernel's other counters are too coarse."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def _relay(target: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _RELAY, str(port), str(target)])
    try:
        wait_for(lambda: _listens(port), "the relay")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    return listening in Path("/proc/net/tcp").read_text()
