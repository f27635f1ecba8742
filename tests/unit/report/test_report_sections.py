"""Each section by itself: numbers, traces, tables, bounds and the coloured text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trivium.report import comparison_table, difference_table, write_report
from trivium.report.comparison import differences
from trivium.report.curves import bounds, monitor, shares
from trivium.report.folder import read_folder
from trivium.report.numbers import ROUNDING, decimal, interval, reading
from trivium.report.text import strength, text, visible
from trivium.report.traces import read_trace, series


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_decimal_is_never_a_false_zero_and_reads_back(value: float) -> None:
    shown = decimal(value)
    if math.isnan(value):
        assert shown == "–"
    elif math.isinf(value):
        assert shown == ("∞" if value > 0 else "−∞")
    else:
        back = float(shown.replace("−", "-"))
        assert (back == 0) == (value == 0)
        assert back == pytest.approx(value, rel=0.06, abs=5e-4 if abs(value) >= 5e-4 else 0)
        assert "-" not in shown


@pytest.mark.parametrize("bad", [None, [], [1.0], [1.0, math.nan], "ab", 3])
def test_no_interval_from_what_is_none(bad: object) -> None:
    assert interval(bad) == ""
    assert reading(bad) == "no interval"


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_difference_is_shown_only_when_zero_is_outside(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    expected = "lower" if high < -ROUNDING else "higher" if low > ROUNDING else "no difference shown"
    assert reading([a, b]) == reading([b, a]) == expected


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_later_record_of_a_step_counts_and_broken_lines_are_counted(tmp_path: Path) -> None:
    first, second, again = ({"kind": "step", "step": step, "loss": loss} for step, loss in ((2, 1), (1, 5), (2, 3)))
    stepless, unknown = {"kind": "step", "loss": 1}, {"kind": "later"}
    path = write(tmp_path / "m.jsonl", first, second, again, "\n", "[1]\n", stepless, unknown, '{"kind"')
    trace = read_trace(path, "a")
    assert series(trace.steps, "loss") == ([1, 2], [5.0, 3.0])
    assert trace.skipped == 3 + 1
    assert trace.last_step == 2


def test_long_series_are_thinned_but_keep_their_worst() -> None:
    records = [{"step": k, "v": 1.0 if k == 4321 else 0.0} for k in range(10_000)]
    steps, worst = series(records, "v", pick="max")
    assert len(steps) <= 320
    assert max(v for v in worst if v is not None) == 1.0
    assert steps[-1] == 9999
    mean = [v for v in series(records, "v")[1] if v is not None]
    assert max(mean) == pytest.approx(1 / 32)


def test_runs_below_are_overlaid_and_the_top_one_is_not_drawn_twice(run: Path) -> None:
    folder = read_folder(run)
    assert [trace.name for trace in folder.runs] == ["full", "oracle", "single", "uniform"]
    assert folder.main is folder.runs[0]
    (run / "full" / "metrics.jsonl").unlink()
    assert [trace.name for trace in read_folder(run).runs] == ["demo", "oracle", "single", "uniform"]


def test_shares_stack_in_the_order_of_the_teachers(run: Path) -> None:
    charts = {chart.id: chart for chart in shares(read_folder(run)).charts}
    assert list(charts) == ["share-token", "share-task", "share-context", "share-all"]
    areas = charts["share-all"].data
    assert [area["name"] for area in areas] == ["python", "prose", "cpp"]
    assert [area["fillcolor"] for area in areas] == ["var(--t0)/0.82", "var(--t1)/0.82", "var(--t2)/0.82"]
    assert sum(area["y"][7] for area in areas) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("{token: [{rule: a}], task: [{rule: b}], budget: 3}", {"token": 1.5, "task": 1.5, "all": 3.0}),
        (
            "{token: [{rule: a}], task: [{rule: b}], budget: {token: 1, task: 4}}",
            {"token": 1.0, "task": 4.0, "all": 5.0},
        ),
        ("{token: [{rule: a, strength: 0.5, options: {budget: 2}}]}", {"token": 1.0, "all": 1.0}),
        ("{token: [{rule: a}], context: [{rule: b}], budget: {token: 1}}", {"token": 1.0}),
        ("{}", {}),
        ("3", {}),
    ],
)
def test_bounds_of_influence_from_the_recipe(run: Path, scheme: str, expected: dict[str, float]) -> None:
    (run / "recipe.yaml").write_text(f"scheme: {scheme}\n", encoding="utf-8")
    (run / "certificate.json").unlink()
    assert bounds(read_folder(run)) == expected


def test_the_certificate_has_the_last_word_on_influence_in_all(run: Path) -> None:
    certificate = json.loads((run / "certificate.json").read_text(encoding="utf-8"))
    (run / "certificate.json").write_text(
        json.dumps({**certificate, "constants": {"influence": 3.8}}), encoding="utf-8"
    )
    assert bounds(read_folder(run)) == {"token": 1.0, "task": 1.0, "context": 4.0, "all": 3.8}


def test_a_residual_within_tolerance_is_said_to_be_and_breaches_are_marked(run: Path) -> None:
    section = monitor(read_folder(run))
    charts = {chart.id: chart for chart in section.charts}
    assert "within the floating-point tolerance" in charts["monitor-W-N"].note
    assert [trace["x"] for trace in charts["monitor-W-B"].data if trace["name"] == "violation"] == [[35, 210]]
    assert section.data["count"] == 2


def test_differences_share_one_axis_with_zero_in_its_middle(run: Path) -> None:
    folder = read_folder(run)
    assert folder.comparison is not None
    rows = differences(folder, folder.comparison)
    assert {row["words"] for row in rows} == {"full scheme is better", "no difference shown"}
    for row in rows:
        left, right = row["bar"]
        assert 0 <= left <= row["point"] <= right <= 100
        assert (left <= 50 <= right) == (row["reading"] == "no difference shown")


def test_tokens_keep_whitespace_and_show_what_cannot_be_seen(run: Path) -> None:
    tokens = ["a\n\n  b", "\t", " ", "<0x0A>", "\ud83d", "你", "\x00", "e\u0301", "&lt;", "", "\r\n"]
    weights = {"all": [[0.2, 0.3, 0.5]] * len(tokens)}
    sample = {"teachers": ["a", "b", "c"], "documents": [{"domain": "x", "tokens": tokens, "weights": weights}]}
    (run / "sample.json").write_text(json.dumps(sample), encoding="utf-8")
    document = text(read_folder(run)).data["documents"][0]
    assert ["\n".join(token["pieces"]) for token in document["tokens"]] == [visible(token) for token in tokens]
    assert document["tokens"][0]["pieces"] == ["a", "", "  b"]
    assert {token["teacher"] for token in document["tokens"]} == {2}
    html = write_report(run).read_text(encoding="utf-8")
    assert '<i class="k2" style="--o:0.25">a<b></b>\n<b></b>\n  b</i><i class="k2" style="--o:0.25">\t</i>' in html
    assert "&lt;0x0A&gt;" in html
    assert "&amp;lt;" in html
    assert "␀" in html
    assert "␍<b></b>\n</i>" in html


@pytest.mark.parametrize("weights", [{}, {"all": []}, {"all": [[0.1]]}, {"all": ["x"]}, {"token": [[1, 0, 0]]}])
def test_text_without_complete_weights_is_shown_uncoloured(run: Path, weights: dict[str, object]) -> None:
    sample = {"teachers": ["a", "b", "c"], "documents": [{"tokens": ["x", "y"], "weights": weights}]}
    (run / "sample.json").write_text(json.dumps(sample), encoding="utf-8")
    document = text(read_folder(run)).data["documents"][0]
    assert document["tokens"][1] == {"pieces": ["y"], "teacher": -1, "opacity": 0.0}
    assert "<i>y</i>" in write_report(run).read_text(encoding="utf-8")


def test_a_long_document_is_cut_and_says_so(run: Path) -> None:
    sample = {"teachers": ["a"], "documents": [{"tokens": ["x"] * 3001, "weights": {"all": [[1.0]] * 3001}}]}
    (run / "sample.json").write_text(json.dumps(sample), encoding="utf-8")
    document = text(read_folder(run)).data["documents"][0]
    assert len(document["tokens"]) == 3000
    assert document["note"] == "the first 3,000 tokens; 1 more are not shown"
    assert document["tokens"][0]["opacity"] == 1.0


@given(st.integers(1, 9), st.integers(0, 1000))
def test_strength_of_colour_is_a_share(num_teachers: int, weight: int) -> None:
    assert 0.0 <= strength(weight, num_teachers) <= 1.0


def shown(table: object) -> str:
    console = Console(width=160, record=True, file=None, force_terminal=False, quiet=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_console_tables(run: Path) -> None:
    comparison = json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    comparison["rows"].pop()
    comparison["rows"][0]["label"] = "[red]odd[/red]"
    table = shown(comparison_table(comparison))
    assert "2.031" in table
    assert "[2.000, 2.065]" in table
    assert "[red]odd[/red]" in table
    assert table.count("mixture") == 4
    assert table.count("student") == 4
    differences_shown = shown(difference_table(comparison))
    assert "no difference shown" in differences_shown
    assert "a is better" in differences_shown
    assert "−0.139" in differences_shown


def test_console_tables_of_nothing() -> None:
    assert "weights" in shown(comparison_table({}))
    assert "shows" in shown(difference_table({}))


def test_script_of_many_runs_stays_small(make_run: Callable[..., Path]) -> None:
    run = make_run(steps=4000)
    assert len(write_report(run).read_text(encoding="utf-8")) < 600_000


def test_rounding_is_no_difference() -> None:
    assert reading([9.8e-10, 2.0e-9]) == "no difference shown"
    assert reading([-5.8e-10, -2.8e-12]) == "no difference shown"
    assert reading([1e-5, 2e-5]) == "higher"
