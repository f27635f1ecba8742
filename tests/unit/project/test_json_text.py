"""What is not finite is null in every JSON file, and nothing else writes JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.jsontext import finite_or_null, json_text, write_json

ROOT = Path(__file__).resolve().parents[3]


def strict(text: str) -> Any:
    """As a reader of another language reads it."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_whatever_is_written_is_json(value: Any) -> None:
    assert strict(json_text(value)) == finite_or_null(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_wherever_it_stands(number: float) -> None:
    assert strict(json_text({"a": [number, (1.5, number)], "b": {"c": number}})) == {
        "a": [None, [1.5, None]],
        "b": {"c": None},
    }


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"ü": 1.0})
    assert path.read_text(encoding="utf-8") == '{\n "ü": 1.0\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"no JSON": object()})
    assert strict(path.read_text(encoding="utf-8")) == {"ü": 1.0}


def test_json_dumps_is_refused_elsewhere() -> None:
    """Another writer would write NaN again: the linter says so."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--stdin-filename",
        "src/trivium/report/mine.py",
        "-",
    ]
    code = '"""Mine."""\n\nimport json\n\nprint(json.dumps([float("nan")]))\n'
    done = subprocess.run(command, input=code, capture_output=True, text=True, cwd=ROOT, encoding="utf-8")
    assert "`json.dumps` is banned" in done.stdout
