"""Text from elsewhere, parsed so that whatever it holds costs little and fails in one way: by a ValueError.

Python's own parsers raise other errors besides (RecursionError for brackets in brackets, LookupError for an encoding that is
unknown, ZeroDivisionError), and ``Fraction("1e999999999")`` computes for hours.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

_FRACTION = re.compile(r"\s*([+-]?[0-9]+)(?:/([0-9]+)|\.([0-9]+))?\s*")


def parse_json(text: str | bytes) -> Any:
    """The value that ``text`` stands for in JSON.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root of an XML document.

    Raises:
        ValueError: it is none, or written in an encoding that is not known.
    """
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from None


def parse_fraction(text: str) -> Fraction:
    """The exact number that is written as 25, 29.97 or 30000/1001; never with an exponent.

    Raises:
        ValueError: it is none, divides by zero, or has thousands of digits.
    """
    found = _FRACTION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a number such as 25, 2.5 or 30000/1001")
    whole, divisor, decimals = found.groups()
    if divisor is not None and not int(divisor):
        raise ValueError(f"{text[:40]!r} divides by zero")
    if decimals is not None:
        return Fraction(int(whole + decimals), 10 ** len(decimals))
    return Fraction(int(whole), int(divisor or 1))


def to_fraction(value: object) -> object:
    """For fields that hold an exact number: one of an integer or of text; what is neither stays what it is.

    Raises:
        ValueError: see ``parse_fraction``.
    """
    if isinstance(value, str):
        return parse_fraction(value)
    return Fraction(value) if isinstance(value, int) else value
