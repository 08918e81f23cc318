"""Outputs: the one or several places that a broadcast is written to, as a person writes them in ``OUTPUT_DIR``.

One place is a folder or an fsspec URL. Several are joined by commas (``/srv/out, s3://bucket/tv``), or are a JSON list,
whose members may be objects where S3 places differ in more than their address::

    ["/srv/out", {"url": "s3://backup/tv", "endpoint": "https://s3.example.org", "region": "eu-1", "profile": "backup"}]

Credentials never stand here: ``profile`` names those of the AWS configuration. One string carries all of it through
jobs and spools, so that whoever reads it finds either a plain address or a JSON list.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any
from urllib.parse import quote

import fsspec
from pydantic import ConfigDict, ValidationError

from streamwave.errors import OutputError
from streamwave.model import Frozen
from streamwave.storage.address import ENDPOINT, check_address, shown_address
from streamwave.storage.base import Store
from streamwave.storage.store import open_store
from streamwave.untrusted import parse_json

MAX_OUTPUTS = 8


class OutputAddress(Frozen):
    """One place. What is not None wins over the general settings for S3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None

    @property
    def is_s3(self) -> bool:
        """Whether the place is a bucket."""
        return self.url.startswith(("s3://", "s3a://"))

    @property
    def bucket(self) -> str:
        """Name of the bucket; empty for other places."""
        return self.url.partition("://")[2].partition("/")[0] if self.is_s3 else ""

    @property
    def is_local(self) -> bool:
        """Whether the place is a folder of this machine."""
        return "://" not in self.url

    def below(self, path: str) -> OutputAddress:
        """The place of a broadcast in this one."""
        return self.model_copy(update={"url": f"{self.url.rstrip('/')}/{path}"})

    def options(self, s3: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the file system: those for S3 in general (``Settings.s3_options``), changed by our own."""
        if not self.is_s3:
            return {}
        options = dict(s3)
        own = {"endpoint_url": self.endpoint, "region_name": self.region}
        client = dict(options.get("client_kwargs", {})) | {key: value for key, value in own.items() if value}
        if client:
            options["client_kwargs"] = client
        if self.profile:
            options["profile"] = self.profile
        if self.path_style is not None:
            style = {"addressing_style": "path" if self.path_style else "auto"}
            options["config_kwargs"] = {**options.get("config_kwargs", {}), "s3": style}
        return options

    def http_address(self, s3: Mapping[str, Any]) -> str | None:
        """Where the S3 service hands out the place's objects, to those who may read them; None for other places."""
        if not self.is_s3:
            return None
        client = self.options(s3).get("client_kwargs", {})
        region, folder = client.get("region_name"), self.url.partition("://")[2].partition("/")[2].strip("/")
        if client.get("endpoint_url"):
            root = f"{client['endpoint_url'].rstrip('/')}/{self.bucket}"
        elif "." in self.bucket and region:  # no certificate is made out for such a host
            root = f"https://s3.{region}.amazonaws.com/{self.bucket}"
        else:
            root = (
                f"https://{self.bucket}.s3.{region}.amazonaws.com"
                if region
                else f"https://{self.bucket}.s3.amazonaws.com"
            )
        return f"{root}/{quote(folder)}".rstrip("/")

    def open(self, s3: Mapping[str, Any], *, quick: bool = False) -> Store:
        """The store at this place.

        Raises:
            OutputError: the address cannot be one.
        """
        return open_store(self.url, self.options(s3), quick=quick)


def parse_outputs(text: str) -> tuple[OutputAddress, ...]:
    """The places that ``text`` names, at least one, all different.

    Raises:
        ValueError: it names none, one twice, or too many; or it is a list that cannot be read.
    """
    addresses = _listed(text) if text.lstrip().startswith("[") else [OutputAddress(url=part) for part in _joined(text)]
    urls = [address.url.rstrip("/") for address in addresses]
    if not all(urls) or not urls:
        raise ValueError("an address is empty")
    for address in addresses:
        _check_address(address)
    places = list(map(normal_place, addresses))
    if len(set(places)) < len(places):
        raise ValueError(
            "an address stands there twice; places of the same name at different endpoints need different folders"
        )
    for inner, outer in permutations(places, 2):
        if inner.startswith(f"{outer.rstrip('/')}/"):
            raise ValueError(
                f"{inner} lies in {outer}, whose broadcasts it would look like; choose folders side by side"
            )
    if len(urls) > MAX_OUTPUTS:
        raise ValueError(f"at most {MAX_OUTPUTS} addresses")
    return tuple(addresses)


def normal_place(address: OutputAddress) -> str:
    """Where an output is, written in one way only."""
    scheme, separator, path = address.url.rpartition("://")
    if scheme in ("", "file", "local"):
        return os.path.abspath(os.path.expanduser(path))
    return ("s3" if address.is_s3 else scheme) + separator + path.rstrip("/")


def _check_address(address: OutputAddress) -> None:
    if address.is_local:
        if address.url.startswith("~") and os.path.expanduser(address.url) == address.url:
            raise ValueError(
                f"{address.url.partition('/')[0]} is no home of a user here; write the whole path, or ./{address.url} if a "
                "folder here is called so"
            )
        scheme, separator, path = address.url.partition(":")
        if separator and scheme.lower() in fsspec.available_protocols():
            raise ValueError(
                f"{address.url!r} is neither an address nor a folder; write {scheme.lower()}://{path.lstrip('/')}, "
                f"or ./{address.url} if a folder here is called so"
            )
        return
    if address.endpoint and not re.match(ENDPOINT, address.endpoint):
        raise ValueError("an 'endpoint' is no http or https address without user and query, as https://s3.example.org")
    check_address(address.url)


def _joined(text: str) -> list[str]:
    """What commas join. A folder's own name may have some, so that what follows one has to look like a place."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts[1:]:
        if part and not re.match(r"~|\.{0,2}(/|$)|[A-Za-z][A-Za-z0-9+.:-]*:/", part):
            raise ValueError(
                f"commas join outputs, and {part[:80]!r} is neither an address nor begins with / or ./; "
                'a folder with a comma in its name is written ["FOLDER"]'
            )
    return parts


def _listed(text: str) -> list[OutputAddress]:
    try:
        members = parse_json(text)
    except ValueError as error:
        raise ValueError(f"it begins like a JSON list of addresses and is none ({error})") from None
    addresses = []
    for number, member in enumerate(members, 1):
        if isinstance(member, str):
            addresses.append(OutputAddress(url=member))
            continue
        if not isinstance(member, dict):
            raise ValueError(f"output {number} of the list is {json.dumps(member)}; allowed: an address or an object")
        if unknown := sorted(member.keys() - OutputAddress.model_fields.keys()):
            raise ValueError(
                f"output {number} of the list has {', '.join(map(repr, unknown))}; "
                f"allowed: {', '.join(OutputAddress.model_fields)}"
            )
        if "url" not in member:
            raise ValueError(f"output {number} of the list has no 'url'")
        try:
            addresses.append(OutputAddress.model_validate(member))
        except ValidationError as error:
            fault = error.errors()[0]
            raise ValueError(f"{fault['loc'][0]!r} of output {number} of the list: {fault['msg'].lower()}") from None
    return addresses


def format_outputs(addresses: Sequence[OutputAddress]) -> str:
    """What ``parse_outputs`` reads back: the address where it is a single plain one, else a JSON list."""
    plain = [
        address.url if address == OutputAddress(url=address.url) else address.model_dump(exclude_none=True)
        for address in addresses
    ]
    if len(plain) == 1 and isinstance(plain[0], str) and "," not in plain[0] and not plain[0].startswith("["):
        return plain[0]
    return json.dumps(plain)


def outputs(text: str) -> tuple[OutputAddress, ...]:
    """As ``parse_outputs``, for a text that did not come from the settings.

    Raises:
        OutputError: it names no places.
    """
    try:
        return parse_outputs(text)
    except ValueError as error:
        raise OutputError(f"the output {shown_address(text)!r} cannot be used: {error}") from None


def outputs_below(text: str, path: str) -> str:
    """The outputs of a broadcast in the outputs ``text``."""
    return format_outputs([address.below(path) for address in outputs(text)])


def outputs_above(text: str, levels: int) -> str:
    """The outputs that lie ``levels`` folders above the outputs ``text``."""
    above = [address.model_copy(update={"url": address.url.rsplit("/", levels)[0]}) for address in outputs(text)]
    return format_outputs(above)


def check_outputs(text: str, s3: Mapping[str, Any]) -> list[str]:
    """Prove that objects can be written to at least one of the outputs; what is wrong with the others.

    Raises:
        OutputError: to none; the message is that of the first.
    """
    addresses, faults = outputs(text), []
    for address in addresses:
        try:
            address.open(s3, quick=True).check()
        except OutputError as error:
            faults.append(str(error))
    if len(faults) == len(addresses):
        raise OutputError(faults[0])
    return faults
