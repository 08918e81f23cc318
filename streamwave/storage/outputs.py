"""Outputs: the one or several places that a broadcast is written to, in the syntax of ``OUTPUT_DIR``.

A single output is a folder or an fsspec URL. Several are separated by commas (``/srv/out, s3://bucket/tv``), or given as a
JSON list, whose members are objects where S3 outputs differ in more than their address::

    ["/srv/out", {"url": "s3://backup/tv", "endpoint": "https://s3.example.org", "region": "eu-1", "profile": "backup"}]

Credentials are never part of it: ``profile`` names a profile of the AWS configuration. Jobs and spools store all outputs as
one string, which is either a plain address or a JSON list.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any
from urllib.parse import quote

from pydantic import ConfigDict, ValidationError

from streamwave.errors import OutputError, UsageError
from streamwave.model import Frozen
from streamwave.storage.address import ENDPOINT, check_address, shown_address
from streamwave.storage.base import Store
from streamwave.storage.store import open_store
from streamwave.untrusted import parse_json

MAX_OUTPUTS = 8


class OutputAddress(Frozen):
    """One output. Fields that are not None override the general S3 settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None

    @property
    def is_s3(self) -> bool:
        """Whether the output is in an S3 bucket."""
        return self.url.startswith(("s3://", "s3a://"))

    @property
    def bucket(self) -> str:
        """Name of the bucket; empty for other outputs."""
        return self.url.partition("://")[2].partition("/")[0] if self.is_s3 else ""

    @property
    def is_local(self) -> bool:
        """Whether the output is a folder on this machine."""
        return "://" not in self.url

    def below(self, path: str) -> OutputAddress:
        """The address of ``path``, such as a broadcast, in this output."""
        return self.model_copy(update={"url": f"{self.url.rstrip('/')}/{path}"})

    def options(self, s3: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the file system: the general ones for S3 (``Settings.s3_options``) with this output's own applied."""
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
        """The URL at which the S3 service itself serves the objects to those with access; None for other outputs."""
        if not self.is_s3:
            return None
        client = self.options(s3).get("client_kwargs", {})
        region, folder = client.get("region_name"), self.url.partition("://")[2].partition("/")[2].strip("/")
        if client.get("endpoint_url"):
            root = f"{client['endpoint_url'].rstrip('/')}/{self.bucket}"
        elif "." in self.bucket and region:  # a bucket name with dots does not match the service's certificate
            root = f"https://s3.{region}.amazonaws.com/{self.bucket}"
        else:
            root = (
                f"https://{self.bucket}.s3.{region}.amazonaws.com"
                if region
                else f"https://{self.bucket}.s3.amazonaws.com"
            )
        return f"{root}/{quote(folder)}".rstrip("/")

    def open(self, s3: Mapping[str, Any], *, quick: bool = False) -> Store:
        """The store at this output.

        Raises:
            OutputError: the address is invalid.
        """
        return open_store(self.url, self.options(s3), quick=quick)


def parse_outputs(text: str) -> tuple[OutputAddress, ...]:
    """The outputs in ``text``: at least one, all different.

    Raises:
        ValueError: it contains none, too many, or the same one twice, or is a list that cannot be parsed.
    """
    addresses = _listed(text) if text.lstrip().startswith("[") else [OutputAddress(url=part) for part in _joined(text)]
    if not addresses:
        raise ValueError("the list of outputs is empty")
    if not all(address.url.rstrip("/") for address in addresses):
        raise ValueError("an address is empty")
    for address in addresses:
        _check_address(address)
    places = list(map(normal_place, addresses))
    if len(set(places)) < len(places):
        raise ValueError(
            "the same output is listed twice; outputs of the same name at different endpoints need different folders"
        )
    for inner, outer in permutations(places, 2):
        if inner.startswith(f"{outer.rstrip('/')}/"):
            raise ValueError(
                f"{inner} is inside {outer}, and would look like one of its broadcasts; choose separate folders"
            )
    if len(addresses) > MAX_OUTPUTS:
        raise ValueError(f"at most {MAX_OUTPUTS} addresses")
    return tuple(addresses)


def normal_place(address: OutputAddress) -> str:
    """A normalised form of an output's address, in which equal outputs compare equal."""
    scheme, separator, path = address.url.rpartition("://")
    if scheme in ("", "file", "local"):
        return os.path.abspath(os.path.expanduser(path))
    return ("s3" if address.is_s3 else scheme) + separator + path.rstrip("/")


def _check_address(address: OutputAddress) -> None:
    if "\0" in address.url:
        raise ValueError(f"{address.url!r} contains a NUL character, which no folder or object can have")
    if address.is_local:
        if address.url.startswith("~") and os.path.expanduser(address.url) == address.url:
            raise ValueError(
                f"{address.url.partition('/')[0]} is not the home of a user here; write the full path, or ./{address.url} if "
                "a folder has that name"
            )
        scheme, separator, path = address.url.partition(":")
        if not separator:
            return
        import fsspec

        if scheme.lower() in fsspec.available_protocols():
            raise ValueError(
                f"{address.url!r} is neither an address nor a folder; write {scheme.lower()}://{path.lstrip('/')}, "
                f"or ./{address.url} if a folder has that name"
            )
        return
    if address.endpoint and not re.match(ENDPOINT, address.endpoint):
        raise ValueError(
            "'endpoint' must be an http or https address without user and query, as https://s3.example.org"
        )
    check_address(address.url)


def _joined(text: str) -> list[str]:
    """Split at commas. A folder's name may contain commas too, so every part must look like an output."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts[1:]:
        if part and not re.match(r"~|\.{0,2}(/|$)|[A-Za-z][A-Za-z0-9+.:-]*:/", part):
            raise ValueError(
                f"commas separate outputs, and {part[:80]!r} is neither an address nor begins with / or ./; "
                'a folder with a comma in its name is written ["FOLDER"]'
            )
    return parts


def _listed(text: str) -> list[OutputAddress]:
    try:
        members = parse_json(text)
    except ValueError as error:
        raise ValueError(f"it begins like a JSON list, but cannot be parsed ({error})") from None
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
            raise ValueError(f"entry {number} of the list of outputs has no 'url'")
        try:
            addresses.append(OutputAddress.model_validate(member))
        except ValidationError as error:
            fault = error.errors()[0]
            raise ValueError(f"{fault['loc'][0]!r} of output {number} of the list: {fault['msg'].lower()}") from None
    return addresses


def format_outputs(addresses: Sequence[OutputAddress]) -> str:
    """The inverse of ``parse_outputs``: a plain address if possible, else a JSON list."""
    plain = [
        address.url if address == OutputAddress(url=address.url) else address.model_dump(exclude_none=True)
        for address in addresses
    ]
    if len(plain) == 1 and isinstance(plain[0], str) and "," not in plain[0] and not plain[0].startswith("["):
        return plain[0]
    return json.dumps(plain)


def outputs(text: str) -> tuple[OutputAddress, ...]:
    """Like ``parse_outputs``, for text that does not come from the settings.

    Raises:
        UsageError: it contains no valid outputs.
    """
    if not text.strip():
        raise UsageError("the output is empty; name a folder, or leave it out to use OUTPUT_DIR")
    try:
        return parse_outputs(text)
    except ValueError as error:
        raise UsageError(f"the output {shown_address(text)!r} cannot be used: {error}") from None


def outputs_below(text: str, path: str) -> str:
    """The outputs of one broadcast, given the outputs ``text`` and the broadcast's path in them."""
    return format_outputs([address.below(path) for address in outputs(text)])


def outputs_above(text: str, levels: int) -> str:
    """The outputs ``levels`` folders above the outputs ``text``."""
    above = [address.model_copy(update={"url": address.url.rsplit("/", levels)[0]}) for address in outputs(text)]
    return format_outputs(above)


def check_outputs(text: str, s3: Mapping[str, Any]) -> list[str]:
    """Check that objects can be written to at least one output; return what is wrong with the others.

    Raises:
        UsageError: ``text`` contains no valid outputs.
        OutputError: all outputs failed; the message is that of the first.
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
