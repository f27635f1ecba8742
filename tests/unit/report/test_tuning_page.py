"""The page of a search: dismissed trials show with their reasons, a broken file costs its section, text stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trivium.errors import InputError
from trivium.report.console import trials_table
from trivium.report.tuning import write_tuning

SCHEME = {"token": [{"rule": "<b>mine", "strength": 0.5, "options": {"tau": 0.25, "map": {"x": "y"}, "budget": 4.0}}],
          "task": [], "context": [], "budget": {"token": 1.5}}  # fmt: skip


def trial(number: int, outcome: str, value: float | None, name: str = "", reason: str = "") -> dict[str, Any]:
    return {"number": number, "name": name, "outcome": outcome, "value": value, "influence": 1.5, "reason": reason,
            "seconds": 0.1, "params": {}, "validations": {}, "scheme": SCHEME}  # fmt: skip


TRIALS = [
    trial(0, "complete", 1.9, "recipe"),
    trial(1, "complete", 2.0, "uniform"),
    trial(2, "not proved", None, reason="W-B: derived influence 6 > 4 asked"),
    trial(3, "stopped", 2.5, reason="behind the median of earlier trials at step 10"),
    trial(4, "complete", 1.8),
]


def measured(low: float, high: float) -> dict[str, Any]:
    row = {"what": "student", "bits_per_byte": {"x": 1.8}, "mean": 1.8, "interval": [1.7, 1.9]}
    rows = [{**row, "name": name, "label": name} for name in ("best", "recipe", "uniform")]
    differences = [{"what": "student", "a": "best", "b": other, "difference": (low + high) / 2, "interval": [low, high]}
                   for other in ("uniform", "recipe")]  # fmt: skip
    return {"unit": "bits per byte", "domains": ["x"], "rows": rows, "differences": differences, "note": "A note."}


def found(**changes: Any) -> dict[str, Any]:
    return {
        "objective": "student", "unit": "bits per byte of the student",
        "settings": {"budget": 4.0}, "warning": "It includes zero.", "left_out": ["gap is left out: <why>."],
        "counts": {"trials": 5, "complete": 3, "stopped": 1, "not proved": 1, "failed": 0},
        "reasons": {"W-B: derived influence 6 > 4 asked": 1},
        "best": {"number": 4, "name": "", "value": 1.8, "influence": 1.5},
        "chosen": {"token": "<b>mine", "task": "off", "context": "off"},
        "validation": measured(-0.2, -0.1), "test": measured(-0.1, 0.1),
        "scales": [{"scale": "token", "difference": 0.1, "interval": [0.05, 0.2]}],
        "options": [{"scale": "token", "option": "<b>mine", "trials": 3, "best": 1.8, "median": 1.9}],
        "importances": {"shares": {"token": 0.75, "token.share": 0.25}, "rare": ["task"], "trials": 10, "good": 5,
                        "needed": 10},
        **changes,
    }  # fmt: skip


def write(folder: Path, **changes: Any) -> str:
    (folder / "tune.json").write_text(json.dumps(found(**changes)), encoding="utf-8")
    (folder / "trials.jsonl").write_text("".join(json.dumps(t) + "\n" for t in TRIALS), encoding="utf-8")
    (folder / "best.yaml").write_text("name: best\n", encoding="utf-8")
    return write_tuning(folder).read_text(encoding="utf-8")


def charts(page: str) -> dict[str, Any]:
    content = re.search(r'id="charts-data">(.*?)</script>', page, re.DOTALL)
    assert content is not None
    parsed: dict[str, Any] = json.loads(content[1])
    return parsed


def test_every_trial_is_there_and_what_was_dismissed_says_why(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "not proved: W-B: derived influence 6 &gt; 4 asked" in page
    assert "stopped: behind the median of earlier trials at step 10" in page
    assert "5 trials: 3 complete, 1 stopped, 1 not proved." in page
    drawn = charts(page)
    assert drawn["history"]["data"][0]["x"] == [0, 1, 4]
    assert drawn["history"]["data"][1]["y"] == [1.9, 1.9, 1.8]
    assert drawn["history"]["data"][2]["y"] == [2.5]
    assert drawn["scales"]["data"][0]["error_x"]["array"] == pytest.approx([0.1])
    assert drawn["scales"]["data"][0]["error_x"]["arrayminus"] == pytest.approx([0.05])
    assert drawn["importances"]["data"][0]["x"] == [0.75, 0.25]


def test_names_are_text_and_options_are_read_out(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine^0.5 (tau 0.25, map x y) | β ≤ 1.500" in page
    assert "gap is left out: &lt;why&gt;." in page


def test_an_interval_with_zero_reads_as_no_difference(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "On test data the student of the best scheme is not shown to differ" in page
    assert "On validation data the student of the best scheme needs 0.150 bits per byte less" in page
    assert "It includes zero." in page


def test_without_test_text_the_section_says_so(tmp_path: Path) -> None:
    page = write(tmp_path, test=None, warning="The recipe has no test data.")
    assert '<p class="missing">The recipe has no test data.</p>' in page


def test_uniform_as_the_best_has_no_scales(tmp_path: Path) -> None:
    assert "uniform weights did best" in write(tmp_path, scales=[])


def test_a_file_of_another_shape_costs_its_section_alone(tmp_path: Path) -> None:
    page = write(tmp_path, scales=[{"scale": "token"}])
    assert "tune.json is not of the shape that this version reads (KeyError: &#39;difference&#39;" in page
    assert "What mattered" in page


def test_a_folder_without_a_finished_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a search's page needs its files"):
        write_tuning(tmp_path)


def test_the_table_of_the_terminal_shows_the_best_and_the_starts() -> None:
    table = trials_table(TRIALS, "bits per byte", 1)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["4", "0", "1"]
    assert columns[-1] == ["best", "recipe", "uniform"]
