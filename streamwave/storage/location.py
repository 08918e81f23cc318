"""Base URLs: addresses of a broadcast's root on other servers or CDNs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamwave.errors import SettingsError


@dataclass(frozen=True)
class BaseUrl:
    """The root of the broadcast on one server, absolute or relative to the manifest; a missing final slash is added.

    ``service_location`` names the server or CDN (ISO/IEC 23009-1, 5.6.4). Clients choose among the base URLs with the lowest
    ``priority`` at random, in proportion to ``weight`` (ETSI TS 103 285, 10.8.2.1).

    Raises:
        SettingsError: the URL contains characters that a manifest cannot hold.
    """

    url: str
    service_location: str = ""
    priority: int = 1
    weight: int = 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!#-;=?-~]+", self.url):
            raise SettingsError(f"base address {self.url!r} contains characters that a URL cannot: percent-encode them")
        if self.priority < 1 or self.weight < 1:
            raise SettingsError(f"base address {self.url}: priority and weight start at 1")
        if not self.url.endswith("/"):
            object.__setattr__(self, "url", self.url + "/")
