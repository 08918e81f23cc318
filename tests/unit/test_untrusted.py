"""Text from elsewhere: whatever it holds, one kind of error, at once."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import BaseModel, ValidationError

from streamwave.model import Rational
from streamwave.untrusted import parse_fraction, parse_json, parse_xml


class Holder(BaseModel):
    rate: Rational

    model_config = {"arbitrary_types_allowed": True}


def test_exact_numbers() -> None:
    found = [parse_fraction(text) for text in ("25", "-2.50", "30000/1001", " 1 ", "0.001")]
    assert found == [25, Fraction(-5, 2), Fraction(30000, 1001), 1, Fraction(1, 1000)]


@pytest.mark.parametrize(
    "text", ["", "1/0", "1e999999999", "1e-999999999", "nan", "1_000", "1/2/3", "1.5/2", "9" * 5000]
)
def test_what_is_no_number_fails_at_once(text: str) -> None:
    """Python computes the power of ten of the second one for hours, holding the interpreter."""
    with pytest.raises(ValueError):
        parse_fraction(text)
    with pytest.raises(ValidationError):  # a record that holds it is damaged, not the process
        Holder.model_validate_json(f'{{"rate": "{text}"}}')


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "nul", b"\xff", ""])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    "data", [b"", b"<a", b'<?xml version="1.0" encoding="UTN-8"?><a/>', b'<?xml version="1.0" encoding="gbk"?><a/>']
)
def test_what_is_no_xml(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_xml(data)
    assert parse_xml(b"<a b='1'/>").get("b") == "1"
