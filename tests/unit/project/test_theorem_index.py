"""The table of docs/framework.md is what the sources say, and the script that writes it reads them rightly."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from by_path import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load("scripts/theorem_index.py")


def test_the_page_is_fresh(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0, "run `make index`"


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("by T3 and (T12), W-B; A-T(a).", {"T3", "T12", "W-B", "A-T"}),
        ("T2–T6", {"T2", "T3", "T4", "T5", "T6"}),
        ("S1-S3", {"S1", "S2", "S3"}),
        ("GPT3, T-3, T3x, x.T3, W-BX, T123", set()),
    ],
)
def test_citations_are_told_from_names(script: ModuleType, text: str, cited: set[str]) -> None:
    assert script.numbers(text) == cited


def test_code_does_not_cite(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""T4."""\nT1 = T2 = 0  # T9\nf"T8 {T1} W-N"\n', encoding="utf-8")
    assert script.index(tmp_path) == {"T4": ["a"], "T9": ["a"], "T8": ["a"], "W-N": ["a"]}


def test_a_number_that_the_framework_lacks_is_refused(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# by T17\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="T17"):
        script.index(tmp_path)


@pytest.mark.deep
def test_a_stale_page_is_noticed_and_rewritten(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "framework.md"
    page.write_text(f"before\n{script.BEGIN}\n| T3 | old |\n{script.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    assert script.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text


def test_a_page_without_markers_is_left_alone(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="markers"):
        script.page("no markers here", {})
