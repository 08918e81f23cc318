"""Digests that show whether a stored object still holds the bytes that were published."""

from __future__ import annotations

import hashlib

#: Hexadecimal digits that are kept. They guard against hardware faults, not attackers, so 64 bits are plenty and keep the
#: ledger, which grows with every chunk, small.
DIGITS = 16


def digest_of(data: bytes) -> str:
    """The first ``DIGITS`` hexadecimal digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def fingerprint(*parts: object) -> str:
    """A digest that is equal if two runs do the same job."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
