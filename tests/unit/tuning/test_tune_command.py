"""``trivium tune`` as a user runs it: what it leaves, what it says, and one line for what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tiny_world import World
from trivium.cli import app, tune
from trivium.training.recipe import load_recipe
from trivium.tuning.mixture import MixtureObjective
from trivium.tuning.outcome import ENOUGH, _warning


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["tune", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a second of search for counterexamples, and a page without five megabytes of plotly.js."""
    monkeypatch.setattr(tune, "SECONDS", 0.2)
    monkeypatch.setattr("trivium.report.write._plotly", lambda: "/* plotly.js */")


@pytest.fixture(scope="module")
def tuned(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder and the output of one search over mixtures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "SECONDS", 0.2)
        patch.setattr("trivium.report.write._plotly", lambda: "/* plotly.js */")
        folder = tmp_path_factory.mktemp("tuned-runs") / "mixture"
        return folder, run(world.write("tuned.yaml"), "--out", folder, "--trials", 14, "--budget", 3)


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tune.json").read_text(encoding="utf-8"))
    return found


def trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_leaves_a_recipe_trials_numbers_and_a_page(tuned: tuple[Path, Result]) -> None:
    folder, done = tuned
    assert done.exit_code == 0, done.output
    names = {path.name for path in folder.iterdir()}
    assert names >= {"best.yaml", "trials.jsonl", "tune.json", "tune.html", "certificate.json", "study.journal"}
    found, lines = content(folder), trials(folder)
    assert found["counts"] == {"trials": 14, "complete": 14, "stopped": 0, "not proved": 0, "failed": 0}
    assert [line["name"] for line in lines[:3]] == ["recipe", "uniform", ""]
    assert found["settings"] == {
        "budget": 3.0, "floor": 0.001, "seed": 0, "objective": "mixture", "rules": [], "steps": None
    }  # fmt: skip
    assert all(line["influence"] <= 3.0 + 1e-9 for line in lines)
    best = min(lines, key=lambda line: (line["value"], line["number"]))
    assert found["best"] == {key: best[key] for key in ("number", "name", "value", "influence")}


@pytest.mark.deep
def test_the_best_is_a_recipe_that_is_proved_and_read(world: World, tuned: tuple[Path, Result], tmp_path: Path) -> None:
    folder, _ = tuned
    recipe = load_recipe(folder / "best.yaml")
    best = next(line for line in trials(folder) if line["number"] == content(folder)["best"]["number"])
    assert recipe.scheme.model_dump() == best["scheme"]
    written = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert written["specification"]["influence"] == 3.0
    assert {result["verdict"] for result in written["results"]} == {"PROVED"}
    json_path = tmp_path / "again.json"
    arguments = ["certify", str(folder / "best.yaml"), "--influence", "3", "--seconds", "0.2", "--json", str(json_path)]
    certified = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert certified.exit_code == 0
    results = json.loads(json_path.read_text(encoding="utf-8"))["results"]
    assert {result["axiom"] for result in results} >= {"W-N", "W-P", "W-B"}
    assert {result["verdict"] for result in results} == {"PROVED"}


@pytest.mark.deep
def test_the_best_is_distilled_from_its_own_folder(
    tuned: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = tuned
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["distill", str(folder / "best.yaml")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "tiny-tuned" / "student" / "model.safetensors").is_file()
    # The teachers' logits on held-out text were computed by the search: only the training text is read anew.
    assert not re.search(r"reads the (validation|test) text", done.output)


def test_validation_and_test_are_told_apart(tuned: tuple[Path, Result]) -> None:
    folder, done = tuned
    found = content(folder)
    for split in ("validation", "test"):
        assert [row["name"] for row in found[split]["rows"]] == ["best", "recipe", "uniform"]
        pairs = [(entry["a"], entry["b"]) for entry in found[split]["differences"]]
        assert pairs == [("best", "uniform"), ("best", "recipe")]
        assert f"{split.capitalize()} rows. {found[split]['note']}" in done.output
    # The value that was minimized is the validation number of the table.
    assert found["validation"]["rows"][0]["mean"] == pytest.approx(found["best"]["value"], rel=1e-6)
    assert found["validation"]["rows"][0]["mean"] != found["test"]["rows"][0]["mean"]
    uniform = trials(folder)[1]["value"]
    assert found["validation"]["rows"][2]["mean"] == pytest.approx(uniform, rel=1e-6)


def test_an_interval_that_includes_zero_is_warned_about(tuned: tuple[Path, Result]) -> None:
    folder, done = tuned
    found = content(folder)
    low, high = next(e["interval"] for e in found["test"]["differences"] if e["b"] == "uniform")
    assert ("includes zero" in found["warning"]) == (low <= 0 <= high)
    assert found["warning"] in done.output


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ([-0.2, -0.1], ""),
        ([-0.2, 0.0], "includes zero"),
        ([-0.1, 0.1], "[-0.100, +0.100] bits per byte, includes zero"),
        ([0.0, 0.0], "includes zero"),
        ([0.1, 0.2], "does worse than uniform weights"),
    ],
)
def test_the_warning_goes_by_the_interval_on_test_text(interval: list[float], said: str) -> None:
    differences = [
        {"a": "best", "b": "recipe", "interval": [1, 2]},
        {"a": "best", "b": "uniform", "interval": interval},
    ]
    found = _warning({"differences": differences, "unit": "bits per byte"}, has_test=True)
    assert (said in found) if said else found == ""


@pytest.mark.deep
def test_a_recipe_above_the_budget_is_told(world: World, tmp_path: Path) -> None:
    done = run(world.write("wide.yaml"), "--out", tmp_path / "wide", "--budget", 2, "--trials", 2)
    assert done.exit_code == 0, done.output
    said = "The recipe as written is not proved to keep what was asked (W-B: derived influence 5 > 2 asked); "
    assert said + "trial 0 is that scheme held to the budget." in done.output
    # Two trials: the starts alone, so one of them is the best.
    assert "No trial was better than" in done.output


@pytest.mark.deep
def test_ctrl_c_keeps_what_was_judged(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proper, calls = MixtureObjective.value, []

    def interrupted(self: MixtureObjective, *arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return proper(self, *arguments)

    monkeypatch.setattr(MixtureObjective, "value", interrupted)
    path = world.write("interrupted.yaml")
    done = run(path, "--out", tmp_path / "i", "--trials", 6)
    assert done.exit_code == 130
    assert "Go on with --resume" in done.output
    assert len(trials(tmp_path / "i")) == 3
    assert run(path, "--out", tmp_path / "i", "--trials", 6, "--resume").exit_code == 0
    assert len(trials(tmp_path / "i")) == 6


def test_each_scale_is_taken_out_of_the_best(tuned: tuple[Path, Result]) -> None:
    folder, _ = tuned
    found = content(folder)
    scheme = load_recipe(folder / "best.yaml").scheme
    present = [scale for scale in ("token", "task", "context") if getattr(scheme, scale)]
    assert [entry["scale"] for entry in found["scales"]] == present
    for entry in found["scales"]:
        assert entry["interval"][0] <= entry["difference"] <= entry["interval"][1]
    counted = {scale: sum(row["trials"] for row in found["options"] if row["scale"] == scale) for scale in present}
    assert set(counted.values()) == {14}


def test_importances_are_shares_of_one(tuned: tuple[Path, Result]) -> None:
    found = content(tuned[0])["importances"]
    assert found["trials"] == 14 >= ENOUGH
    assert found["good"] == 5
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    assert {"token", "task", "context"} <= set(found["shares"])
    assert not set(found["shares"]) & set(found["rare"])


def test_the_page_shows_what_the_numbers_say(tuned: tuple[Path, Result]) -> None:
    folder, _ = tuned
    page, found = (folder / "tune.html").read_text(encoding="utf-8"), content(folder)
    for title in ("Verdict", "Axioms", "On validation data", "On test data", "Effect of each scale", "What mattered",
                  "History", "Trials", "The best scheme as a recipe"):  # fmt: skip
        assert f"{title}</" in page or f">{title}<" in page or title == "Verdict"
    assert "PED-ANOVA" in page
    assert "A share is no effect in bits per byte" in page
    assert "is not of the shape" not in page
    charts = json.loads(re.search(r'id="charts-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    values = charts["history"]["data"][0]["y"]
    assert len(values) == 14
    assert charts["history"]["data"][1]["y"][-1] == min(values) == found["best"]["value"]
    assert charts["scales"]["data"][0]["x"] == [entry["difference"] for entry in found["scales"]]


@pytest.mark.deep
def test_it_goes_on_and_refuses_to_overwrite(world: World, tmp_path: Path) -> None:
    path = world.write("resumed.yaml")
    assert run(path, "--out", tmp_path / "a", "--trials", 12).exit_code == 0
    assert run(path, "--out", tmp_path / "b", "--trials", 4).exit_code == 0
    refused = run(path, "--out", tmp_path / "b", "--trials", 12)
    assert refused.exit_code == 2
    assert "must not overwrite another" in refused.output
    assert run(path, "--out", tmp_path / "b", "--trials", 12, "--resume").exit_code == 0

    def timeless(folder: Path) -> list[dict[str, Any]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in trials(folder)]

    assert timeless(tmp_path / "b") == timeless(tmp_path / "a")
    assert (tmp_path / "b" / "best.yaml").read_text(encoding="utf-8") == (tmp_path / "a" / "best.yaml").read_text(
        encoding="utf-8"
    )
    other = run(path, "--out", tmp_path / "b", "--trials", 13, "--resume", "--budget", 2)
    assert other.exit_code == 2
    assert "another budget (5.0 then)" in other.output


@pytest.mark.deep
def test_students_are_trained_and_compared(world: World, tmp_path: Path) -> None:
    arguments = ("--objective", "student", "--steps", 5, "--trials", 3, "--rules", "entropy", "--out", tmp_path / "s")
    done = run(world.write("students.yaml"), *arguments)
    assert done.exit_code == 0, done.output
    found = content(tmp_path / "s")
    assert found["settings"]["steps"] == 5
    assert {row["what"] for row in found["test"]["rows"]} == {"student"}
    assert [line["outcome"] for line in trials(tmp_path / "s")] == ["complete"] * 3
    assert [*trials(tmp_path / "s")[0]["validations"]] == ["1", "2", "3", "4", "5"]
    assert found["importances"]["shares"] == {}  # three trials tell nothing
    assert "importances of fewer than 10" in (tmp_path / "s" / "tune.html").read_text(encoding="utf-8")


@pytest.mark.deep
def test_without_test_text_it_says_that_the_numbers_flatter(world: World, tmp_path: Path) -> None:
    domains = [{key: value for key, value in domain.items() if key != "test"}
               for domain in world.content()["data"]["domains"]]  # fmt: skip
    done = run(world.write("untested.yaml", data={"domains": domains}), "--trials", 3, "--out", tmp_path / "u")
    assert done.exit_code == 0, done.output
    found = content(tmp_path / "u")
    assert found["test"] is None
    assert "The recipe has no test data" in found["warning"]
    assert found["warning"] in done.output
    assert "The recipe has no test data" in (tmp_path / "u" / "tune.html").read_text(encoding="utf-8")


BAD: list[tuple[list[Any], str]] = [
    (["--objective", "mixtrue"], "'mixtrue'. Did you mean 'mixture'?"),
    (["--budget", "0"], "--budget must be a number of nats > 0; received 0.0"),
    (["--budget", "nan"], "--budget must be a number of nats > 0; received nan"),
    (["--floor", "0.9"], "0.5"),
    (["--floor", "-1"], "--floor"),
    (["--rules", ","], "--rules must name a rule; received ','"),
    (["--rules", "entorpy"], "'entorpy'. Did you mean 'entropy'?"),
    (["--steps", "5"], "--steps belong to --objective student"),
    (["--trials", "1"], "--trials"),
    (["--seed", "-1"], "--seed"),
    (["--minutes", "-1"], "--minutes"),
]


@pytest.mark.parametrize(("options", "line"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_options_cost_one_line(world: World, tmp_path: Path, options: list[str], line: str) -> None:
    done = run(world.write("bad.yaml"), "--out", tmp_path / "bad", *options)
    assert done.exit_code == 2
    assert line in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "bad").exists()


def test_a_missing_recipe_costs_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "none.yaml")
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1


def test_without_optuna_it_names_the_extra(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run(world.write("bare.yaml"))
    assert done.exit_code == 2
    assert "pip install trivium[tune]" in done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.deep
def test_optuna_is_loaded_by_a_search_alone() -> None:
    import subprocess
    import sys

    code = "import sys, trivium.tuning, trivium.cli.tune; print('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
