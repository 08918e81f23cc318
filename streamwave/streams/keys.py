"""Stream keys: random, shown once, and stored only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets

#: Makes keys recognizable to people and to secret scanners.
PREFIX = "sw_"
_RANDOM_BYTES = 24


def new_key() -> str:
    """A new key of 192 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_key(key: str) -> str:
    """The stored form of ``key``: its SHA-256 in hexadecimal.

    A slow, salted hash protects secrets that can be guessed. A key of 192 random bits cannot, so a plain hash is secure, and
    it allows looking up a stream by its key alone.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(one: str, other: str) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
