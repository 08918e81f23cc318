"""Building blocks of the settings: types of values, and the metadata that a field carries."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo

from streamwave.errors import SettingsError
from streamwave.storage.address import ENDPOINT
from streamwave.storage.location import BaseUrl
from streamwave.untrusted import parse_json

PREFIX = "STREAMWAVE_"

Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]  # fmt: skip
Passthrough = Literal["never", "auto"]
LogLevel = Literal["debug", "info", "warning", "error"]


def to_absolute(value: object) -> object:
    """Validator: an absolute path."""
    if isinstance(value, str) and "://" in value:
        raise ValueError("an address, not a folder")
    # Child processes may run in another working directory.
    try:
        return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value
    except RuntimeError:
        raise ValueError("~ names a user without a home folder here: write the full path") from None


def to_place(value: object) -> object:
    """Validator: an absolute path, or the address of one location in a store."""
    if not isinstance(value, str) or "://" not in value:
        return str(to_absolute(value)) if isinstance(value, str | Path) else value
    scheme, _, rest = value.strip().partition("://")
    if scheme in ("file", "local"):
        return str(to_absolute(rest))
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not rest.strip("/") or re.search(r"[,\s\[{]", value):
        raise ValueError("not the address of one location")
    if scheme == "memory":
        raise ValueError("other processes cannot see it")
    return value.strip().rstrip("/")


def to_folders(value: object) -> object:
    """Validator: the folders in a list that is written like PATH."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def to_hosts(value: object) -> object:
    """Validator: host names in lower case, from text separated by commas."""
    if not isinstance(value, str):
        return value
    names = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    if not all(re.fullmatch(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", name) for name in names):
        raise ValueError("not host names")
    return names


def to_base_urls(value: object) -> object:
    """Validator: base URLs, from text separated by commas or a JSON list of URLs and objects."""
    if not isinstance(value, str):
        return value
    try:
        members = parse_json(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",")]
        found = [BaseUrl(url=member) if isinstance(member, str) else BaseUrl(**member) for member in members]
    except (ValueError, TypeError):
        raise ValueError("not a list of addresses") from None
    except SettingsError as error:
        raise ValueError(str(error)) from None
    # They are published in manifests, and names are appended to them, so neither credentials nor queries are allowed.
    if not all(re.match(ENDPOINT, base.url) for base in found):
        raise ValueError("every address must begin with http:// or https://, without a user or a query")
    return tuple(found)


def connectable(address: str) -> str:
    """The address to connect to for a program that listens at ``address``, from the same machine."""
    return re.sub(r"(?<=//)(0\.0\.0\.0|\[::\])(?=[:/]|$)", "127.0.0.1", address)


def is_origin(text: str) -> bool:
    """Whether ``text`` is an origin in lower case, or all origins below a host (``https://*.example.org``)."""
    return re.fullmatch(r"https?://(\*\.)?([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?", text) is not None


def to_origins(value: object) -> object:
    """Validator: origins (RFC 6454), from text separated by commas; ``*`` alone means every origin."""
    if not isinstance(value, str):
        return value
    found = tuple(part.strip().lower().rstrip("/") for part in value.split(",") if part.strip())
    # They become part of an HTTP header and of nginx's configuration.
    if found != ("*",) and not all(map(is_origin, found)):
        raise ValueError("not a list of origins")
    return found


def to_lower(value: object) -> object:
    """Validator: text in lower case."""
    return value.lower() if isinstance(value, str) else value


Folder = Annotated[Path, BeforeValidator(to_absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]


def setting(
    group: str,
    text: str,
    default: Any = None,
    *,
    unit: str = "",
    kind: str = "",
    name: str | None = None,
    derived: tuple[Callable[[dict[str, Any]], Any], str] | None = None,
    **limits: Any,
) -> Any:
    """Declare one setting. ``text`` says what it is and what it affects; ``kind`` what is allowed, if the type does not
    show it.

    ``name`` is the variable's name if it is not the prefix plus the field's name. ``derived`` computes the default from the
    fields declared before it; its second member is how the reference page describes that default.
    """
    extra: dict[str, Any] = {"group": group, "unit": unit, "kind": kind}
    if derived is not None:
        factory, extra["default"] = derived
        return Field(
            default_factory=factory, description=text, validation_alias=name, json_schema_extra=extra, **limits
        )
    return Field(default=default, description=text, validation_alias=name, json_schema_extra=extra, **limits)


def variable_name(name: str, field: FieldInfo) -> str:
    """The environment variable that sets the field ``name``."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def extra(field: FieldInfo, key: str) -> str:
    """Metadata of the field for documentation: its group, unit, kind, or the description of its default."""
    notes = field.json_schema_extra
    return str(notes.get(key, "")) if isinstance(notes, dict) else ""


def is_secret(field: FieldInfo) -> bool:
    """Whether the value must never be shown."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def allowed(field: FieldInfo) -> str:
    """Describe what a field accepts: ``one of a, b``, ``an integer from 0 to 51``, ``a folder``."""
    # For an optional setting, the Literal is one member of a union with None.
    choices = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal]
    if choices:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(choices[0]))
    words = extra(field, "kind") or {bool: "`true` or `false`", int: "an integer"}.get(field.annotation, "text")  # type: ignore[arg-type]
    low = next((m.ge for m in field.metadata if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in field.metadata if getattr(m, "le", None) is not None), None)
    return words + (f" from {low} to {high}" if low is not None and high is not None else "")
