"""The front page fits its size, does what it tells a stranger to type, and quotes what the benchmarks wrote."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from by_path import load

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_RULE = (ROOT / "docs" / "own_rule.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/results.md")
TRIVIUM = Path(sys.executable).parent / "trivium"
LEFT = ("report.html", "certificate.json", "metrics.jsonl", "recipe.yaml", "student/model.safetensors")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line.startswith("trivium ")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.replace("trivium ", f"{TRIVIUM} ", 1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(words, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def shortened(recipe: str) -> str:
    """The same recipe with so few rows and steps that the test stays short."""
    few = recipe.replace("train_rows: 64", "train_rows: 8\n  evaluation_rows: 2\n  test_rows: 4")
    return few.replace("steps: 60", "steps: 4")


def test_the_front_page_is_read_at_one_sitting() -> None:
    assert len(README.encode()) <= 8192, "move what is long into docs/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files that the page about an own rule has a reader save, and the same ones as examples."""
    folder = tmp_path_factory.mktemp("stranger")
    for place in (folder, folder / "examples" / "own_rule"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "my_rule.py").write_text(blocks(OWN_RULE, "python")[0], encoding="utf-8")
        (place / "recipe.yaml").write_text(shortened(blocks(OWN_RULE, "yaml")[0]), encoding="utf-8")
    return folder


def test_own_rule_is_certified_refuted_and_trained(folder: Path) -> None:
    """The front page's two commands, then those of the page about an own rule, which name the same in another place."""
    certify, distill = commands(README)
    certify_again, replay, certify_floor, certify_recipe, distill_again = commands(OWN_RULE)
    assert [command.replace("examples/own_rule/", "") for command in (certify, distill)] == [
        certify_again,
        distill_again,
    ]

    refuted = run(certify, folder)
    assert refuted.returncode == 1, refuted.stderr
    assert re.search(r"W-B .*floor 0.01 +NOT FALSIFIED", refuted.stdout)
    assert re.search(r"W-S .*VIOLATED", refuted.stdout)

    replayed = run(replay, folder)
    assert replayed.returncode == 0, replayed.stderr
    assert "reproduced" in replayed.stdout

    verified = run(certify_floor, folder)
    assert verified.returncode == 0, verified.stderr
    assert re.search(r"W-B .*floor 0.01 +VERIFIED", verified.stdout)

    certified = run(certify_recipe, folder)
    assert certified.returncode == 0, certified.stderr
    assert re.search(r"W-B .*floor 0.001 +PROVED", certified.stdout)

    trained = run(distill, folder)
    assert trained.returncode == 0, trained.stderr
    assert [name for name in LEFT if not (folder / "runs/mine" / name).exists()] == []

    again = run(distill_again, folder)
    assert again.returncode == 2, "a run must not be overwritten"
    assert len(again.stderr.strip().splitlines()) == 1, again.stderr


MODELS = "from small_models import code, cpp, loader, prose, student\n"
PROGRAMS = {"front": MODELS + blocks(README, "python")[0], "own": blocks(OWN_RULE, "python")[1]}
SAID = {
    "front": ["W-B PROVED"],
    "own": [r"w = project\(", "W-B PROVED", r"^\d\.\d+ \{'python': 0\.[5-9]"],
}


@pytest.mark.parametrize("page", PROGRAMS)
def test_python_example_runs(page: str, tmp_path: Path) -> None:
    """The front page's with the models of the examples, which it leaves to its reader."""
    assert sum(bool(line) for line in blocks(README, "python")[0].splitlines()) <= 15
    (tmp_path / "program.py").write_text(PROGRAMS[page], encoding="utf-8")
    (tmp_path / "my_rule.py").write_text(blocks(OWN_RULE, "python")[0], encoding="utf-8")
    path = os.pathsep.join([str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert all(re.search(said, done.stdout, re.MULTILINE) for said in SAID[page]), done.stdout


@pytest.mark.parametrize("page", [*PAGES, "docs/guide.md", "docs/own_rule.md", "CONTRIBUTING.md"])
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_example_is_that_of_the_page() -> None:
    example = ROOT / "examples" / "own_rule"
    assert (example / "my_rule.py").read_text(encoding="utf-8") == blocks(OWN_RULE, "python")[0]
    assert (example / "recipe.yaml").read_text(encoding="utf-8") == blocks(OWN_RULE, "yaml")[0]


@pytest.mark.parametrize("page", PAGES)
def test_tables_come_from_the_benchmark_files(page: str) -> None:
    tables = load("scripts/quoted_tables.py")
    assert page in tables.PAGES
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- begin " in text
    assert tables.filled(text) == text, "run `make index`"


def test_the_picture_is_the_one_that_the_study_drew() -> None:
    tables = load("scripts/quoted_tables.py")
    assert tables.PICTURE.read_bytes() == (tables.RESULTS / tables.PICTURE.name).read_bytes(), "run `make index`"


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_linked_files_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)|<img src=\"([^\"]+)\"", text):
        name = "".join(target)
        assert (ROOT / name).exists(), name
