"""Digests by which stored media are known again: whether an object still holds the bytes that were published."""

from __future__ import annotations

import hashlib

#: Hexadecimal digits that are kept. What changes is hardware's doing and nobody's intent, so 64 bits are plenty, and the
#: ledger's part, which is written with every chunk, stays small.
DIGITS = 16


def digest_of(data: bytes) -> str:
    """The first ``DIGITS`` hexadecimal digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def fingerprint(*parts: object) -> str:
    """A digest that tells whether two runs do the same job."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
