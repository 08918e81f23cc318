"""What strangers may do with the media server: how much of it one address gets, whose pages show ours, and what ours plays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamwave.config.fields import is_origin
from streamwave.config.settings import Settings


@dataclass(frozen=True)
class Edges:
    """See the settings of the same names. ``play_from`` are origins besides the server's own; ``*`` alone means all."""

    requests_per_address: int = 1000
    embed_from: tuple[str, ...] = ()
    play_from: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Edges:
        """Those of an installation; the page plays what lies where the settings say that viewers find it."""
        origins = list(settings.play_from)
        if origins != ["*"]:
            addresses = (*(base.url for base in settings.base_urls), settings.public_url)
            origins += [origin for url in addresses if is_origin(origin := _origin(url))]
        return cls(settings.requests_per_address, settings.embed_from, tuple(dict.fromkeys(origins)))

    def values(self) -> dict[str, str]:
        """What the template of nginx's configuration needs to know."""
        everywhere = self.play_from == ("*",)
        limit = self.requests_per_address
        return {
            "limit_requests": f"limit_conn addresses {limit};" if limit else "",
            "embed_from": "*" if self.embed_from == ("*",) else " ".join(["'self'", *self.embed_from]),
            "play_from": " ".join(["", *(("http:", "https:") if everywhere else self.play_from)]),
            "page": "'" + json.dumps({"origins": self.play_from}) + "'",
        }


#: Those of a server that nothing was said to.
DEFAULT = Edges()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
