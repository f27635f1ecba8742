"""What the README tells a stranger to type does what it says; what it quotes is what the benchmarks wrote."""

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
TRIVIUM = Path(sys.executable).parent / "trivium"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.replace(".venv/bin/trivium", f"{TRIVIUM}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(words, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files the README has a reader save; the recipe cut down so that the test stays short."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "my_rule.py").write_text(blocks("python")[0], encoding="utf-8")
    short = blocks("yaml")[0].replace("train_rows: 64", "train_rows: 8\n  evaluation_rows: 2\n  test_rows: 4")
    (folder / "recipe.yaml").write_text(short.replace("steps: 60", "steps: 4"), encoding="utf-8")
    return folder


def test_own_rule_is_certified_refuted_and_trained(folder: Path) -> None:
    certify, replay, certify_recipe, distill = [line for block in blocks("bash") for line in block.splitlines()]

    refuted = run(certify, folder)
    assert refuted.returncode == 1, refuted.stderr
    assert re.search(r"W-B .*floor 0.01 +(NOT FALSIFIED|VERIFIED)", refuted.stdout)
    assert re.search(r"W-S .*VIOLATED", refuted.stdout)

    replayed = run(replay, folder)
    assert replayed.returncode == 0, replayed.stderr
    assert "reproduced" in replayed.stdout

    certified = run(certify_recipe, folder)
    assert certified.returncode == 0, certified.stderr
    assert re.search(r"W-B .*floor 0.001 +PROVED", certified.stdout)

    trained = run(distill, folder)
    assert trained.returncode == 0, trained.stderr
    names = ("report.html", "certificate.json", "metrics.jsonl", "recipe.yaml", "student/model.safetensors")
    assert [name for name in names if not (folder / "runs/mine" / name).exists()] == []

    again = run(distill, folder)
    assert again.returncode == 2, "a run must not be overwritten"
    assert len(again.stderr.strip().splitlines()) == 1, again.stderr


def test_python_example_runs() -> None:
    program = blocks("python")[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "w = project(" in done.stdout


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_example_is_the_readmes() -> None:
    example = ROOT / "examples" / "own_rule"
    assert (example / "my_rule.py").read_text(encoding="utf-8") == blocks("python")[0]
    assert (example / "recipe.yaml").read_text(encoding="utf-8") == blocks("yaml")[0]


def test_tables_come_from_the_benchmark_files() -> None:
    tables = load("scripts/readme_tables.py")
    assert tables.filled(README) == README, "run `make index`"


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
