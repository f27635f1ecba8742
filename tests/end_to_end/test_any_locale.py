"""A run whose names are not ASCII, on a machine whose default encoding is.

What this catches that no other test does: a file opened without its encoding by Trivium or on its behalf, and a sign
that the terminal lacks, anywhere between recipe and report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny_world import World

pytestmark = pytest.mark.deep

TRIVIUM = Path(sys.executable).parent / "trivium"
ASCII_ALONE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
NAMES = ["Бухгалтер", "märchen–erzähler"]


def run(world: World, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **ASCII_ALONE, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [str(TRIVIUM), *arguments]
    return subprocess.run(command, cwd=world.folder, env=environment, capture_output=True, timeout=400, check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("locale"))
    plain = world.content()
    teachers = [dict(teacher, name=name) for teacher, name in zip(plain["teachers"], NAMES, strict=True)]
    domains = [
        dict(domain, name=name, task="зада́ча") for domain, name in zip(plain["data"]["domains"], NAMES, strict=True)
    ]
    scheme: dict[str, Any] = {"order": f"{NAMES[0]} > {NAMES[1]}"}
    train = {"steps": 4, "save_every": 4, "evaluate_every": 4, "tracker": "tensorboard"}
    world.write("recipe.yaml", teachers=teachers, data={"domains": domains}, scheme=scheme, train=train)
    return world


def test_names_beyond_ascii_survive_an_ascii_machine(world: World) -> None:
    done = run(world, "distill", "recipe.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(byte < 128 for byte in done.stdout + done.stderr)
    folder = world.folder / "run"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert set(next(row for row in rows if row["kind"] == "step")["share"]["all"]) == set(NAMES)
    for name in ("report.html", "recipe.yaml", "certificate.json", "sample.json"):
        assert "märchen" in (folder / name).read_text(encoding="utf-8"), name
    for arguments in (("verify", "run/certificate.json"), ("certify", "recipe.yaml", "--seconds", "0", "--run", "run")):
        again = run(world, *arguments)
        assert (again.returncode, again.stderr) == (0, b""), again.stderr
    resumed = run(world, "distill", "recipe.yaml", "--out", "run")
    assert resumed.returncode == 2
    assert b"a run must not overwrite another" in resumed.stderr


def test_a_path_that_the_locale_cannot_write_is_told(world: World) -> None:
    """What a locale makes of file names is the system's; the line says what to set."""
    for path in ("märchen.yaml", "mär/rule.py:rule"):
        refused = run(world, "certify", path, "--teachers", "2")
        assert refused.returncode == 2
        assert refused.stderr.count(b"\n") == 1
        assert refused.stderr.startswith(b"trivium: ")
    world.write("elsewhere.yaml", student={"tokenizer": "zeichen–leser"})
    refused = run(world, "distill", "elsewhere.yaml", "--out", "elsewhere")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(b"trivium: ")
    assert b"Traceback (most" not in refused.stderr
