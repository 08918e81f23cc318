"""Addresses of stores as people write them: which cannot be meant, and how one is shown."""

from __future__ import annotations

import difflib
import re

import fsspec

#: What an endpoint may be. Keys belong into the environment, and a query means nothing to S3.
ENDPOINT = r"^https?://[^/\s@?#]+(/[^\s@?#]*)?$"


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_address(place: str) -> bool:
    """Whether ``place`` is the address of a store, and not a local folder."""
    return _ADDRESS.match(place) is not None and not place.startswith(("file://", "local://"))


def check_address(url: str) -> None:
    """Refuse an address that is none, or that would lead elsewhere than it says.

    Raises:
        ValueError: what is wrong with it; never with what may be a key.
    """
    scheme, _, path = url.partition("://")
    if scheme.partition("::")[0] not in fsspec.available_protocols():
        near = difflib.get_close_matches(scheme.lower(), fsspec.available_protocols(), n=1)
        raise ValueError(
            f"no kind of store is called {scheme!r}; "
            + (f"did you mean {near[0]}://?" if near else "for example s3://")
        )
    s3 = scheme in ("s3", "s3a")
    user, separator, _ = path.partition("/")[0].rpartition("@")
    if separator and (s3 or ":" in user):
        # It would be shown wherever the address is: in the status, in Prefect, in logs.
        raise ValueError(
            "it holds a user or a password; write s3://BUCKET/FOLDER, and give keys the AWS way (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or a profile)"
            if s3
            else f"it holds a password; give that to fsspec, in the environment as FSSPEC_{scheme.upper()}_PASSWORD"
        )
    if s3 and not path.partition("/")[0]:
        raise ValueError(f"{url!r} names no bucket; write s3://BUCKET or s3://BUCKET/FOLDER")
    if "://" in path.partition("::")[0]:
        raise ValueError(f"in {shown_address(url)!r} a second address begins; join several by commas")
    if "::" in path:
        # fsspec would take what follows for another file system, and write all broadcasts to one place.
        raise ValueError(f"{url!r} has a '::'; choose a folder without it")
    folders = path.split("/")
    for steps in {".", ".."} & {*folders}:  # browsers take them out of the address, and then find nothing
        raise ValueError(f"{url!r} has a {steps!r}; write the folder itself")
    if s3 and len(folders) > 2 and not folders[1]:
        raise ValueError(f"{url!r} has '//' behind the bucket; write one '/'")


def shown_address(text: str) -> str:
    """One or more addresses for a message: short, without users and passwords. Nothing of a list in JSON."""
    if text.lstrip().startswith("["):
        return "a JSON list"
    return re.sub(r"//[^/@\s,]*@", "//…@", text)[:200]
