"""Validate addresses of stores as users write them, and shorten them for messages."""

from __future__ import annotations

import difflib
import re

#: A valid endpoint. Keys belong in the environment, and S3 endpoints have no query.
ENDPOINT = r"^https?://[^/\s@?#]+(/[^\s@?#]*)?$"


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_address(place: str) -> bool:
    """Whether ``place`` is the address of a store rather than a local folder."""
    return _ADDRESS.match(place) is not None and not place.startswith(("file://", "local://"))


def check_address(url: str) -> None:
    """Refuse an address that is invalid or would lead elsewhere than it appears to.

    Raises:
        ValueError: what is wrong with it. The message never includes what could be a key.
    """
    import fsspec  # a tenth of a second, which most processes need not spend: they write to a folder

    scheme, _, path = url.partition("://")
    if scheme.partition("::")[0] not in fsspec.available_protocols():
        near = difflib.get_close_matches(scheme.lower(), fsspec.available_protocols(), n=1)
        raise ValueError(
            f"unknown kind of store {scheme!r}; " + (f"did you mean {near[0]}://?" if near else "for example s3://")
        )
    s3 = scheme in ("s3", "s3a")
    user, separator, _ = path.partition("/")[0].rpartition("@")
    if separator and (s3 or ":" in user):
        # It would be visible wherever the address is: in the status, in Prefect, in logs.
        raise ValueError(
            "it contains a user or a password; write s3://BUCKET/FOLDER, and provide keys the AWS way (AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or a profile)"
            if s3
            else f"it contains a password; give it to fsspec in the environment, as FSSPEC_{scheme.upper()}_PASSWORD"
        )
    if s3 and not path.partition("/")[0]:
        raise ValueError(f"{url!r} names no bucket; write s3://BUCKET or s3://BUCKET/FOLDER")
    if not path.strip("/") and scheme != "memory":
        raise ValueError(f"{url!r} names no place; write what comes after {scheme}://")
    if "://" in path.partition("::")[0]:
        raise ValueError(f"{shown_address(url)!r} contains a second address; separate outputs by commas")
    if "::" in path:
        # fsspec would treat the rest as another file system, and write all broadcasts to the same place.
        raise ValueError(f"{url!r} contains '::'; choose a folder without it")
    folders = path.split("/")
    for steps in {".", ".."} & {*folders}:  # browsers remove them from URLs and then find nothing
        raise ValueError(f"{url!r} contains {steps!r}; write the path without it")
    if s3 and len(folders) > 2 and not folders[1]:
        raise ValueError(f"{url!r} has '//' after the bucket; write one '/'")


def shown_address(text: str) -> str:
    """One or more addresses for a message: shortened, without credentials. A JSON list is not shown at all."""
    if text.lstrip().startswith("["):
        return "a JSON list"
    return re.sub(r"//[^/@\s,]*@", "//…@", text)[:200]
