"""The accuracy of a run on examples: read from its file, told once, and absent from a run on text."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from trivium.report.accuracy import accuracy
from trivium.report.comparison import side_by_side
from trivium.report.console import accuracy_table
from trivium.report.curves import learning
from trivium.report.folder import RunFolder, read_folder
from trivium.report.text import text
from trivium.report.write import write_report


def cell(right: float | None, nats: float | None) -> dict[str, Any]:
    return {"accuracy": right, "nats": nats}


def content(domains: list[str], tasks: list[str]) -> dict[str, Any]:
    by = {"domains": {d: cell(0.9, 0.25) for d in domains}, "tasks": {t: cell(0.8, 0.5) for t in tasks}}
    served = {"domains": {domains[0]: cell(1.0, 0.0)}, "tasks": {t: cell(None, None) for t in tasks}}
    return {
        "domains": dict.fromkeys(domains, 10),
        "tasks": {t: ["a", "b"] for t in tasks},
        "rows": [
            {"what": "student", "name": "student", **cell(0.875, 0.3), **by},
            {"what": "teacher", "name": "<b>", **cell(1.0, None), **served},
        ],
    }


def folder(path: Path, found: dict[str, Any] | None, evals: list[dict[str, Any]] | None = None) -> RunFolder:
    if found is not None:
        (path / "accuracy.json").write_text(json.dumps(found), encoding="utf-8")
    lines = [json.dumps({"kind": "eval", "step": step, **values}) for step, values in enumerate(evals or [])]
    (path / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read_folder(path)


def test_it_tells_domains_and_tasks_and_a_dash_for_nothing(tmp_path: Path) -> None:
    section = accuracy(folder(tmp_path, content(["en", "de"], ["mood", "spam"])))
    assert section is not None
    assert section.data["columns"] == ["all examples", "en", "de", "task mood", "task spam"]
    assert section.data["examples"] == 20
    student, teacher = section.data["rows"]
    assert student["cells"][0] == {"accuracy": "87.5 %", "nats": "0.300"}
    assert student["cells"][3] == {"accuracy": "80.0 %", "nats": "0.500"}
    assert teacher["cells"][0] == {"accuracy": "100.0 %", "nats": "–"}
    assert teacher["cells"][2] == teacher["cells"][4] == {"accuracy": "–", "nats": "–"}


@pytest.mark.parametrize("tasks", [["mood"], ["en", "de"]])
def test_numbers_by_task_that_say_nothing_new_are_left_out(tmp_path: Path, tasks: list[str]) -> None:
    section = accuracy(folder(tmp_path, content(["en", "de"], tasks)))
    assert section is not None
    assert section.data["columns"] == ["all examples", "en", "de"]


def test_a_run_on_text_has_no_such_section_and_one_on_examples_no_text(tmp_path: Path) -> None:
    assert accuracy(folder(tmp_path, None)) is None
    assert text(read_folder(tmp_path)) is not None
    assert text(folder(tmp_path, content(["en"], ["mood"]))) is None


def test_the_page_shows_it_and_escapes_names(tmp_path: Path) -> None:
    folder(tmp_path, content(["en", "de"], ["mood"]))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert 'id="accuracy"' in page
    assert "87.5 %" in page
    assert "teacher &lt;b&gt;" in page
    assert 'id="text"' not in page


def test_a_file_of_another_shape_costs_its_section(tmp_path: Path) -> None:
    folder(tmp_path, {"rows": [3], "domains": {"en": 1}, "tasks": {}})
    assert "accuracy.json is not of the shape that this version reads" in write_report(tmp_path).read_text(
        encoding="utf-8"
    )


def test_learning_curves_are_of_nats_and_accuracy(tmp_path: Path) -> None:
    evals = [{"nats": {"en": 0.5}, "accuracy": {"en": 0.7}, "mean": 0.5}]
    charts = {chart.title: chart for chart in learning(folder(tmp_path, None, evals)).charts}
    assert set(charts) == {"Mean of the domains", "en", "en, accuracy"}
    assert charts["en"].layout["yaxis"]["title"]["text"] == "nats an example"
    assert charts["en, accuracy"].data[0]["y"] == [0.7]


def test_a_comparison_of_examples_is_in_nats() -> None:
    row = {"name": "a", "what": "student", "nats": {"en": 0.25}, "mean": 0.25, "interval": [0.2, 0.3]}
    [shown] = side_by_side({"domains": ["en"], "rows": [row]})
    assert shown["cells"] == [{"domains": ["0.250"], "mean": "0.250", "interval": "[0.200, 0.300]"}]


def test_the_terminal_shows_it_too() -> None:
    from rich.console import Console

    def shown(domains: list[str]) -> list[list[str]]:
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(accuracy_table(content(domains, ["mood"])))
        return [line.split("│")[1:-1] for line in console.export_text().splitlines() if "│" in line]

    student, teacher = shown(["en", "de"])
    assert [cell.split() for cell in student] == [
        ["student"],
        *(c.split() for c in ("87.5 % 0.300", *["90.0 % 0.250"] * 2)),
    ]
    assert [cell.split() for cell in teacher] == [
        ["teacher", "<b>"],
        *(c.split() for c in ("100.0 % –", "100.0 % 0.000", "– –")),
    ]
    assert [len(row) for row in shown(["en"])] == [2, 2]
