"""What the two nginx servers, for HTTP and for RTMP, share: rendering configuration, finding nginx, reading its errors."""

from __future__ import annotations

import grp
import os
import pwd
import string
from collections.abc import Mapping
from pathlib import Path

from streamwave.errors import SettingsError, StreamWaveError
from streamwave.util.trust import program

#: Capabilities that nginx keeps if root starts it: listening on ports below 1024, changing users, reading every output.
CAPABILITIES = ("net_bind_service", "setgid", "setuid", "dac_override", "dac_read_search")


class _ConfigTemplate(string.Template):
    """Placeholders are ``@{name}``, because nginx uses ``$name``. A placeholder without a value is a KeyError."""

    delimiter = "@"


def quoted(value: str | os.PathLike[str], suffix: str = "", prefix: str = "") -> str:
    """``value`` as one word of nginx's configuration, between ``prefix`` and ``suffix``, which may contain nginx variables.

    Raises:
        SettingsError: ``value`` contains a dollar sign, which nginx cannot escape, or a control character.
    """
    text = os.fspath(value)
    if "$" in text or not text.isprintable():
        raise SettingsError(f"nginx cannot be given {text!r}: use a name without '$' and control characters")
    return f'"{prefix}' + text.replace("\\", "\\\\").replace('"', '\\"') + f'{suffix}"'


def listen_address(host: str, port: int) -> str:
    """The argument of nginx's ``listen``: ``host:port``, with brackets around an IPv6 address."""
    if not 0 < port < 65536:
        raise SettingsError(f"{port} is not a port: use a number from 1 to 65535")
    return quoted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def render(template: Path, values: Mapping[str, str]) -> str:
    """The ``template`` with its placeholders replaced."""
    return _ConfigTemplate(template.read_text(encoding="utf-8")).substitute(values)


def user_directive() -> str:
    """A ``user`` directive that keeps nginx root if root starts it: the default user "nobody" cannot read our files."""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};" if os.geteuid() == 0 else ""


def find_nginx() -> str:
    """The path of the nginx binary.

    Raises:
        SettingsError: nginx is not installed.
    """
    # Debian installs it in /usr/sbin, which is not in the PATH of every user.
    binary = program("nginx", "/usr/sbin", "/usr/local/sbin")
    if binary is None:
        raise SettingsError("nginx is not installed: apt install nginx-light libnginx-mod-rtmp")
    return binary


def explain(line: str) -> StreamWaveError:
    """The error for an ``[emerg]`` line of nginx's log."""
    message = line.partition("[emerg]")[2].partition(": ")[2] or line
    if "bind()" not in message:
        return StreamWaveError(f"nginx refuses its configuration: {message}")
    where = message.removeprefix("bind() to ").partition(" failed")[0]
    if "Address already in use" in message:
        return SettingsError(f"{where} is taken by another program: stop that one or choose another port")
    if "Permission denied" in message:
        return SettingsError(f"{where} needs root privileges: choose a port above 1023")
    return SettingsError(f"cannot listen on {where}: {message.partition('failed ')[2]}; choose another address")
