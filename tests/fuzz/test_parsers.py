"""Short fuzzing of the parsers: the corpus, and reproducible mutations of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate, mutate_words
from tests.fuzz.parsers import CORPUS, MAX_BYTES, parsers

_FEW = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", parsers())
def test_the_corpus_raises_nothing_else(name: str) -> None:
    parser = parsers()[name]
    assert parser.seeds(), "python -m tests.fuzz.seeds makes them"
    for data in parser.seeds():
        parser(data)


@pytest.mark.parametrize("name", parsers())
def test_damaged_inputs_raise_nothing_else(name: str) -> None:
    parser = parsers()[name]
    whole = st.sampled_from(parser.seeds())

    def damaged(data: bytes, seed: int) -> bytes:
        chance = random.Random(seed)
        return (mutate_words if parser.text and chance.randrange(2) else mutate)(data, chance)[:MAX_BYTES]

    @_FEW
    @given(st.one_of(st.builds(damaged, whole, st.integers(0, 1 << 40)), st.binary(max_size=200)))
    def check(data: bytes) -> None:
        parser(data)

    check()


def test_whole_inputs_are_taken() -> None:
    """Valid inputs of the corpus must be accepted; otherwise, code after the first check would never be reached."""
    refused = []
    for name, parser in parsers().items():
        good = False
        for data in parser.seeds():
            try:
                parser.check(data)
                good = True
            except parser.errors:
                pass
        refused += [] if good else [name]
    assert refused == []


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000
    assert {path.name for path in CORPUS.iterdir()} == set(parsers())
