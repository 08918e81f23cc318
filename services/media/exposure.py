"""Limits of the media server towards strangers: requests per address, who may embed the page, and what the page may play."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamwave.config.fields import is_origin
from streamwave.config.settings import Settings


@dataclass(frozen=True)
class Exposure:
    """See the settings of the same names. ``play_from``: origins besides the server's own; ``*`` alone allows all."""

    requests_per_address: int = 1000
    embed_from: tuple[str, ...] = ()
    play_from: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Exposure:
        """The limits that the settings ask for. The page may also play from the public addresses of the outputs."""
        origins = list(settings.play_from)
        if origins != ["*"]:
            addresses = (*(base.url for base in settings.base_urls), settings.public_url)
            origins += [origin for url in addresses if is_origin(origin := _origin(url))]
        return cls(settings.requests_per_address, settings.embed_from, tuple(dict.fromkeys(origins)))

    def values(self) -> dict[str, str]:
        """The values for the template of nginx's configuration."""
        everywhere = self.play_from == ("*",)
        limit = self.requests_per_address
        return {
            "limit_requests": f"limit_conn addresses {limit};" if limit else "",
            "embed_from": "*" if self.embed_from == ("*",) else " ".join(["'self'", *self.embed_from]),
            "play_from": " ".join(["", *(("http:", "https:") if everywhere else self.play_from)]),
            "page": "'" + json.dumps({"origins": self.play_from}) + "'",
        }


#: The limits of a server that is started without settings.
DEFAULT = Exposure()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
