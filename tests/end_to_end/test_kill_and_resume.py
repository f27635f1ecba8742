"""A run killed with SIGKILL, wherever it is, ends with the weights of one that was never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tiny_world import World, weights_of

pytestmark = pytest.mark.deep

TRIVIUM = Path(sys.executable).parent / "trivium"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("killed"))
    # A checkpoint every other step: the kill has a fair chance to hit the writing of one.
    world.write("recipe.yaml", train={"steps": 60, "save_every": 2, "evaluate_every": 30, "log_every": 1})
    return world


def distill(world: World, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [str(TRIVIUM), "distill", "recipe.yaml", "--out", str(out), *options]
    return subprocess.Popen(command, cwd=world.folder, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)


@pytest.fixture(scope="module")
def uninterrupted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    process = distill(world, out)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return out


def last_step(out: Path) -> int:
    trace = out / "metrics.jsonl"
    return trace.read_text(encoding="utf-8").count('"kind": "step"') if trace.exists() else 0


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_and_resumed_equals_uninterrupted(world: World, uninterrupted: Path, tmp_path: Path, seed: int) -> None:
    draw, out = random.Random(seed), tmp_path / "run"
    process = distill(world, out)
    wanted = draw.randrange(3, 50)
    limit = time.monotonic() + 200
    while last_step(out) < wanted and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    time.sleep(draw.random() * 0.03)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    assert not (out / "student").exists()

    resumed = distill(world, out, "--resume")
    _, errors = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, errors

    expected, found = weights_of(uninterrupted / "student"), weights_of(out / "student")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    for folder in (uninterrupted, out):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["step"] for row in rows if row["kind"] == "step"] == list(range(1, 61))


def test_a_checkpoint_cut_off_while_written_is_passed_over(world: World, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = distill(world, out)
    while last_step(out) < 20 and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=30)
    newest = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "complete").unlink(missing_ok=True)
    (newest / "trainer_state.json").unlink(missing_ok=True)
    resumed = distill(world, out, "--resume")
    _, errors = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, errors
    expected, found = weights_of(uninterrupted / "student"), weights_of(out / "student")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
