"""What a stranger on another host finds: the port for publishers and the one for viewers, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hosts import Host, two_hosts
from tests.support.live import Installation, installation

#: Every TCP port of an address, one after the other: a closed one answers at once.
_SCAN = """
import json, socket, sys
found = []
for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((sys.argv[1], port)) == 0:
            found.append(port)
print(json.dumps(found))
"""

#: Sockets that take datagrams from anywhere; connected ones have a remote port.
_DATAGRAMS = r"""
import json, pathlib
rows = [line.split() for name in ("udp", "udp6") for line in pathlib.Path("/proc/net", name).read_text().splitlines()[1:]]
print(json.dumps([row[1] for row in rows if row[2].endswith(":0000")]))
"""


@dataclass(frozen=True)
class _Network:
    installation: Installation
    us: Host
    stranger: Host


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[_Network]:
    """An installation with the default addresses on one host, and a stranger on another."""
    hosts = {"STREAMWAVE_RTMP_HOST": "0.0.0.0", "STREAMWAVE_MEDIA_HOST": "0.0.0.0"}
    with (
        two_hosts() as (us, stranger),
        installation(tmp_path_factory.mktemp("network"), prefect_home, us, **hosts) as running,
    ):
        yield _Network(running, us, stranger)


def test_only_publishers_and_viewers_are_let_in(network: _Network) -> None:
    settings = network.installation.settings
    ports = json.loads(network.stranger.run(sys.executable, "-c", _SCAN, network.us.address, timeout_s=200))
    assert sorted(ports) == sorted([settings.rtmp_port, settings.media_port])
    assert json.loads(network.us.run(sys.executable, "-c", _DATAGRAMS)) == []
