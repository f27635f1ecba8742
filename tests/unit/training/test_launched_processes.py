"""What the launcher's environment says is what the trainer sees, or the run is refused.

What this catches that no other test does: processes that each take themselves for the only one, train alone on the same
rows, and write one folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from tiny_world import World, weights_of
from trivium.cli import app
from trivium.errors import InputError
from trivium.training import processes
from trivium.training.processes import on_cpu, own_device, require_launch, require_precision, require_rows
from trivium.training.run import distill

BIN = Path(sys.executable).parent
NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHERS = {
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"],
    "accelerate": [str(BIN / "accelerate"), "launch", "--cpu", "--num_processes", "2", "--num_machines", "1"],
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int], **said: object) -> None:
    """The environment, and what the trainer's library makes of it: (its place, how many)."""
    for name, value in said.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(processes, "_state", lambda: SimpleNamespace(process_index=seen[0], num_processes=seen[1]))


def test_started_plainly_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(processes, "_state", never)
    assert require_launch() == 1


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ((1, 2), {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1}),
        ((0, 1), {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0}),
        ((3, 4), {"WORLD_SIZE": 4, "RANK": 3, "LOCAL_RANK": 1, "OMPI_COMM_WORLD_SIZE": 4}),
    ],
)
def test_what_agrees_goes_on(monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int], said: dict[str, int]) -> None:
    launched(monkeypatch, seen, **said)
    assert require_launch() == seen[1]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ((0, 1), {"WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}),
        ((0, 1), {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1}),
        ((0, 1), {"OMPI_COMM_WORLD_SIZE": 2}),
        ((0, 1), {"PMI_SIZE": 2}),
        ((0, 1), {"RANK": 1, "LOCAL_RANK": 1}),
        ((0, 2), {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1}),
    ],
)
def test_what_does_not_agree_is_refused(
    monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int], said: dict[str, int]
) -> None:
    launched(monkeypatch, seen, **said)
    name, value = next(iter(said.items()))
    told = f"{name}={value}" if name != "RANK" else "no WORLD_SIZE"
    with pytest.raises(
        InputError, match=rf"must train together; received {told}.*the trainer is {seen[0]} of {seen[1]}"
    ):
        require_launch()


@pytest.mark.parametrize("lacking", ["RANK", "LOCAL_RANK"])
def test_half_an_environment_is_refused_and_does_not_wait_for_others(
    monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """``export WORLD_SIZE=2`` left over in a shell made each process wait half an hour for the other."""
    launched(monkeypatch, (0, 2), WORLD_SIZE=2, RANK=0, LOCAL_RANK=0)
    monkeypatch.delenv(lacking)
    with pytest.raises(InputError, match=f"WORLD_SIZE=2 without {lacking}"):
        require_launch()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["two", "", "-1", "1.5"])
def test_a_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    launched(monkeypatch, (0, 1), WORLD_SIZE=1, RANK=0, LOCAL_RANK=0)
    monkeypatch.setenv(name, value)
    if name == "LOCAL_RANK":
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    with pytest.raises(InputError, match=f"{name} must be a whole number"):
        own_device() if name == "LOCAL_RANK" else require_launch()


def test_processes_that_do_not_find_each_other_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise ValueError("Error initializing torch.distributed\nusing env:// rendezvous")

    launched(monkeypatch, (0, 2), WORLD_SIZE=2, RANK=0, LOCAL_RANK=0)
    monkeypatch.setattr(processes, "_state", lost)
    with pytest.raises(InputError, match=r"must find each other; received ValueError: Error initializing"):
        require_launch()


def test_a_command_refuses_before_it_reads_anything(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, (0, 1), WORLD_SIZE=2, RANK=1, LOCAL_RANK=1)
    path = world.write("launched.yaml")
    done = CliRunner().invoke(app, ["distill", str(path), "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == 2
    assert "must train together" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("value", "cpu"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("", False)])
def test_the_launcher_may_ask_for_the_cpu(monkeypatch: pytest.MonkeyPatch, value: str, cpu: bool) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert on_cpu() == cpu
    assert own_device() == (torch.device("cpu") if cpu else torch.device("cuda", 1))


def test_a_gpu_without_bfloat16_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Old Card")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    with pytest.raises(InputError, match="received Old Card"):
        require_precision("bfloat16")
    for precision in ("auto", "float32"):
        require_precision(precision)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    require_precision("bfloat16")


def test_every_process_needs_a_batch_of_its_own() -> None:
    require_rows(8, 4, 2)
    with pytest.raises(InputError, match=r"batch_size = 4 in each of 2 processes; received 7 rows\. Lower .* to 3"):
        require_rows(7, 4, 2)
    with pytest.raises(InputError, match=r"received 1 row\. Lower train.batch_size to 1"):
        require_rows(1, 2, 1)


TRAIN = {"steps": 4, "evaluate_every": 4, "save_every": 4}


@pytest.mark.deep
@pytest.mark.parametrize(("launcher", "batch_size"), [("torchrun", 2), ("accelerate", 4)])
def test_launched_without_a_gpu_it_is_one_run(world: World, tmp_path: Path, launcher: str, batch_size: int) -> None:
    """Two processes find each other, share the batch, and give the student of one process with twice the batch.
    ``accelerate launch --cpu`` starts one process, whatever number it is asked for, and says no WORLD_SIZE."""
    world.write("launched.yaml", train={"batch_size": batch_size, **TRAIN})
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*LAUNCHERS[launcher], str(BIN / "trivium"), "distill", "launched.yaml", "--out", str(tmp_path / "many")]
    done = subprocess.run(
        command, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("student, certificate and report:") == 1, "one process tells the end"
    recipe = world.recipe(train={"batch_size": 4, **TRAIN})
    distill(recipe, world.prepared_run(recipe), tmp_path / "one")
    expected, found = weights_of(tmp_path / "one" / "student"), weights_of(tmp_path / "many" / "student")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)
