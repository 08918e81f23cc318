"""Which hosts a source may be fetched from if another user names it: by default, hosts on the public internet.

Otherwise, everyone who may name a source to the services could reach what only this machine can: its loopback services, its
network, a cloud's metadata service. Host names are resolved and checked where the connection is made, so a redirect, an address
in a playlist, or a changed DNS record cannot lead elsewhere. ``confine`` makes libavformat open all HTTP and TLS connections
through a proxy in this process (``egress``); for protocols without proxy support, ``reach`` replaces the host name by the
checked address. docs/decisions/0019-edges.md has the alternatives.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit, urlunsplit

from streamwave.errors import SourceError
from streamwave.sources.egress import Egress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Addresses in public ranges that no source uses: a cloud's agent (Azure), a 6to4 relay (RFC 7526).
_NOT_PUBLIC = frozenset(ipaddress.ip_address(one) for one in ("168.63.129.16", "192.88.99.1"))
#: The IPv6 range assigned to internet hosts (RFC 4291, 2.4). All others are local, multicast, or embed an IPv4 address.
_UNICAST = ipaddress.ip_network("2000::/3")
#: IPv6 addresses whose last 32 bits are an IPv4 address (RFC 6052, 2.1).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_DEFAULT_PORTS = {"rtmp": 1935, "rtmps": 443, "http": 80, "https": 443, "srt": 0}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252})")

_allowed: tuple[str, ...] | None = None


def to_hosts(value: object) -> object:
    """Validator: host names, addresses and networks, from text separated by commas."""
    if not isinstance(value, str):
        return value
    found = tuple(part.strip().lower().rstrip(".") for part in value.split(",") if part.strip())
    for one in found:
        if _network(one) is None and not _NAME.fullmatch(one):
            raise ValueError("not a list of host names, addresses and networks")
    return found


def check_host(url: str, allowed: Sequence[str]) -> None:
    """Refuse the resolved ``url`` unless its host is public or ``allowed``. Files always pass.

    Raises:
        SourceError: the host is neither, or cannot be resolved. The message does not reveal which, nor whether it answers.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in _DEFAULT_PORTS or is_listening(url):
        return
    host, _ = _host_and_port(parts)
    addresses(host, allowed)


def addresses(host: str, allowed: Sequence[str]) -> list[str]:
    """The numeric addresses of ``host``, all of which may be connected to.

    Raises:
        SourceError: see ``check_host``.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not numbers or not all(_may_be(host, number, allowed) for number in numbers):
        raise SourceError(
            f"sources from the host {host[:100]!r} are not allowed (it is not public, or cannot be resolved); "
            "STREAMWAVE_SOURCE_HOSTS can allow it"
        )
    return numbers


def confine(allowed: Sequence[str]) -> None:
    """Restrict this process to sources on hosts that are public or ``allowed``. Call it once, before opening any source."""
    global _allowed
    if _allowed == tuple(allowed):
        return
    _allowed = tuple(allowed)
    proxy = Egress(lambda host: addresses(host, allowed)).start()
    # Set only in the C environment that libavformat reads, not in os.environ: Python's own requests (to a store) are exempt.
    os.putenv("http_proxy", proxy)
    os.unsetenv("no_proxy")


def reach(url: str) -> tuple[str, dict[str, str]]:
    """The URL to open for the resolved ``url``, with options for libavformat; unchanged unless this process is confined.

    Raises:
        SourceError: see ``check_host``.
    """
    parts = urlsplit(url)
    if _allowed is None or parts.scheme.lower() not in ("rtmp", "srt") or is_listening(url):
        return url, {}
    host, port = _host_and_port(parts)
    number = addresses(host, _allowed)[0]
    user, at, _ = parts.netloc.rpartition("@")
    there = f"[{number}]" if ":" in number else number
    pinned = urlunsplit(parts._replace(netloc=f"{user}{at}{there}" + (f":{port}" if port else ""), fragment=""))
    if parts.scheme.lower() == "srt":
        return pinned, {}
    # Keep the host name in tcUrl, because the server may use it for virtual hosts.
    named = f"[{host}]" if ":" in host else host
    return pinned, {"rtmp_tcurl": f"rtmp://{named}:{port}/{_application(parts)}"}


def is_listening(url: str) -> bool:
    """Whether the URL makes us listen for the sender (``mode=listener``), judged exactly as FFmpeg parses it."""
    parts = urlsplit(url)
    modes = re.findall(r"(?:^|[&;])\s*mode=([^&;]*)", parts.query)
    return parts.scheme.lower() == "srt" and modes == ["listener"] and parts.query.count("mode") == 1


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme.lower()]
    except ValueError:
        host, port = "", 0
    if not host or (parts.scheme.lower() == "srt" and not port):
        raise SourceError("the source's address has no host or no valid port; write it as scheme://host:port/path")
    return host.rstrip("."), port


def _application(parts: SplitResult) -> str:
    """The part of the path that names an RTMP application, determined as in libavformat's rtmpproto.c."""
    path = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    first, slash, rest = path.partition("/")
    second, more, _ = rest.partition("/")
    return f"{first}/{second}" if slash and more and ":" not in second else first


def _may_be(host: str, number: str, allowed: Sequence[str]) -> bool:
    address = ipaddress.ip_address(number.partition("%")[0])
    if host.lower().rstrip(".") in allowed:
        return True
    networks = [network for one in allowed if (network := _network(one)) is not None]
    meant = [address, *_within(address)]
    if any(one.version == network.version and one in network for one in meant for network in networks):
        return True
    return all(_is_public(one) for one in meant)


def _is_public(address: _Address) -> bool:
    if address.version == 6 and address not in _UNICAST and not (address.ipv4_mapped or address in _NAT64):
        return False
    return address.is_global and not address.is_multicast and address not in _NOT_PUBLIC


def _within(address: _Address) -> list[_Address]:
    """The IPv4 addresses embedded in an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
