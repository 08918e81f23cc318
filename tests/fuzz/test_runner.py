"""The runner finds, saves and reports planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import __main__ as runner
from tests.fuzz import suites
from tests.fuzz.media_cases import run as media_case
from tests.fuzz.report import Findings, Row
from tests.fuzz.suite_media import sample
from tests.fuzz.suite_parsers import fuzz
from tests.fuzz.suites import Budget


@pytest.mark.parametrize(
    ("name", "kind"), [("raises", "crash"), ("hangs", "hang"), ("dies", "death"), ("grows", "crash")]
)
def test_a_parser_that_fails_is_found(tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.suite_parsers.HANG_CPU_S", 0.5)
    monkeypatch.setattr("tests.fuzz.suite_parsers._MOST_DEATHS", 1)
    row = fuzz(name, Budget(1, inputs=20), Findings(tmp_path, quiet=True), "tests.fuzz.planted")
    assert row.bad and (row.crashes, row.hangs) == ((0, 1) if kind == "hang" else (1, 0)), row
    kept = [Path(path) for path in row.failures]
    assert [path.name.partition("-")[0] for path in kept] == [kind]
    # The input itself is saved, so that the finding can be reproduced.
    assert kept[0].read_bytes() == b"bad"


def test_the_table_names_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(budget: Budget, findings: Findings) -> Iterator[Row]:
        row = Row("planted", "one")
        for chance in budget.steps():
            row.inputs += 1
            if row.inputs == 3:
                findings.keep(row, "crash", chance.randbytes(4), "why")
        yield row

    monkeypatch.setattr(suites, "_suites", {"planted": planted})
    monkeypatch.setattr(runner, "suites", lambda: {"planted": planted})
    words = ["--inputs", "5", "--seed", "7", "--folder", str(tmp_path)]
    assert runner.main(words) == 1
    first = capsys.readouterr().out
    assert "SEED=7" in first and "planted/one" in first
    path = Path(first.strip().splitlines()[-1].partition(": ")[2])
    data = path.read_bytes()
    assert path.with_name(f"{path.name}.txt").read_text() == "why"
    # The same seed gives the same inputs.
    assert runner.main(words) == 1 and path.read_bytes() == data
    assert runner.main([*words[:-1], str(tmp_path), "--inputs", "2"]) == 0


def test_a_media_file_is_published_or_refused(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.mkv", tmp_path / "half.mkv"
    whole.write_bytes(sample("mkv"))
    half.write_bytes(sample("mkv")[:200])
    assert media_case(whole)["outcome"] == "published"
    found = media_case(half)
    assert found["outcome"] == "refused" and str(half) in found["said"]
