"""Parsers for untrusted text: bounded in cost, and failing only with ValueError.

Python's own parsers raise other errors as well (RecursionError for deep nesting, LookupError for an unknown encoding,
ZeroDivisionError), and ``Fraction("1e999999999")`` computes for hours.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

_FRACTION = re.compile(r"\s*([+-]?[0-9]+)(?:/([0-9]+)|\.([0-9]+))?\s*")


def parse_json(text: str | bytes) -> Any:
    """The value of the JSON document ``text``.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root element of an XML document.

    Raises:
        ValueError: it is not well-formed, or its encoding is unknown.
    """
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from None


def parse_fraction(text: str) -> Fraction:
    """The exact value of a number written as 25, 29.97 or 30000/1001. Exponents are not accepted.

    Raises:
        ValueError: it is not such a number, divides by zero, or has thousands of digits.
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
    """Validator for fields that hold an exact number: converts an integer or text to a Fraction, and returns the rest
    unchanged.

    Raises:
        ValueError: the text is not a number (see ``parse_fraction``).
    """
    if isinstance(value, str):
        return parse_fraction(value)
    return Fraction(value) if isinstance(value, int) else value
