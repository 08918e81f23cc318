"""What our two nginx, the one for HTTP and the one for RTMP, have in common: how they are configured, found and understood."""

from __future__ import annotations

import grp
import os
import pwd
import string
from collections.abc import Mapping
from pathlib import Path

from streamwave.errors import SettingsError, StreamWaveError
from streamwave.util.trust import program

#: What nginx may still do where it was started by root: listen on ports below 1024, become root, read every output.
CAPABILITIES = ("net_bind_service", "setgid", "setuid", "dac_override", "dac_read_search")


class _ConfigTemplate(string.Template):
    """``@{name}``, because ``$name`` belongs to nginx. A name without a value is a KeyError, never an empty string."""

    delimiter = "@"


def quoted(value: str | os.PathLike[str], suffix: str = "", prefix: str = "") -> str:
    """``value`` as one word of nginx's configuration, with ``prefix`` and ``suffix``, which may hold variables.

    nginx has no way to write a dollar sign, hence SettingsError for it and for control characters.
    """
    text = os.fspath(value)
    if "$" in text or not text.isprintable():
        raise SettingsError(f"nginx cannot be given {text!r}: use a name without '$' and control characters")
    return f'"{prefix}' + text.replace("\\", "\\\\").replace('"', '\\"') + f'{suffix}"'


def listen_address(host: str, port: int) -> str:
    """``host:port`` as nginx's ``listen`` takes it; an IPv6 address in brackets."""
    if not 0 < port < 65536:
        raise SettingsError(f"{port} is not a port: use a number from 1 to 65535")
    return quoted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def render(template: Path, values: Mapping[str, str]) -> str:
    """The ``template`` with its values."""
    return _ConfigTemplate(template.read_text(encoding="utf-8")).substitute(values)


def user_directive() -> str:
    """Whom nginx is to serve as, where it is started by root: else as "nobody", who may not read or own what we write."""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};" if os.geteuid() == 0 else ""


def find_nginx() -> str:
    """The path of nginx's program.

    Raises:
        SettingsError: it is not installed.
    """
    # Debian keeps it in /usr/sbin, which is not in everybody's PATH.
    binary = program("nginx", "/usr/sbin", "/usr/local/sbin")
    if binary is None:
        raise SettingsError("nginx is not installed: apt install nginx-light libnginx-mod-rtmp")
    return binary


def explain(line: str) -> StreamWaveError:
    """The error for a line of nginx's log that says ``[emerg]``."""
    message = line.partition("[emerg]")[2].partition(": ")[2] or line
    if "bind()" not in message:
        return StreamWaveError(f"nginx refuses its configuration: {message}")
    where = message.removeprefix("bind() to ").partition(" failed")[0]
    if "Address already in use" in message:
        return SettingsError(f"{where} is taken by another program: stop that one or choose another port")
    if "Permission denied" in message:
        return SettingsError(f"{where} is reserved for root: choose a port from 1024 on")
    return SettingsError(f"cannot listen on {where}: {message.partition('failed ')[2]}; choose another address")
