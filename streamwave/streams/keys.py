"""Stream keys: random, shown once, and kept only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets

#: Lets people and scanners of leaked secrets recognise a key.
PREFIX = "sw_"
_RANDOM_BYTES = 24


def new_key() -> str:
    """A new key of 192 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_key(key: str) -> str:
    """What is stored of ``key``: its SHA-256 in hexadecimal.

    A slow, salted hash protects secrets that can be guessed; among 2^192 equally likely ones nothing can be, so a plain
    hash is sound, and it lets the key alone find its stream.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(one: str, other: str) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
