"""A command that does not end by itself, but is ended: by a user's ``os._exit``, a crash, the system, a signal.

What this catches that no other test does: an exit code 1, "an axiom is violated", that a user's own code gave the
process, and a stop that says nothing and leaves a run behind of which nobody knows whether it goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tiny_world import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are watched on Linux")

TRIVIUM = Path(sys.executable).parent / "trivium"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

#: Commands that are ended, each in a fork of its own; what is printed is the exit code of the process that waits.
ENDED = """
import ctypes, json, os, signal, sys, threading, time
from trivium.cli.ending import ended
from trivium.cli.process import in_own_process
import typer

# A shell without job control starts what is in the background with these ignored, and a command respects that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def leaves(code): raise typer.Exit(code)
def forks():
    if os.fork() == 0:
        sys.exit(7)  # comes back to the command's end, in a process that is not the command's
    os.wait()
def dies(number, twice=False):
    to = os.getppid() if twice else os.getpid()
    signal.signal(signal.SIGUSR1, lambda *_: None)
    if twice:  # to both, as a launcher sends it to a group
        threading.Timer(0.2, lambda: (os.kill(os.getpid(), number), os.kill(to, number))).start()
        time.sleep(20)
    os.kill(to, number)

CASES = {
    "done": lambda: None, "violated": lambda: leaves(1), "os._exit(1)": lambda: os._exit(1),
    "os._exit(0)": lambda: os._exit(0), "sys.exit(1)": lambda: sys.exit(1), "forks": forks,
    "crash": lambda: ctypes.string_at(0), "killed": lambda: dies(signal.SIGKILL),
    "SIGTERM": lambda: dies(signal.SIGTERM, True), "SIGINT": lambda: dies(signal.SIGINT, True),
    "SIGHUP": lambda: dies(signal.SIGHUP, True),
    "reset": lambda: (signal.signal(signal.SIGTERM, signal.SIG_DFL), os.kill(os.getpid(), signal.SIGTERM)),
}
own, found = os.getpid(), {}
for name, case in CASES.items():
    print(name, file=sys.stderr, flush=True)
    try:
        in_own_process(lambda: sys.exit(ended(case)))
    except SystemExit as code:
        if os.getpid() != own:
            raise
        found[name] = code.code
print(json.dumps(found))
"""

CODES = {
    "done": (0, None),
    "violated": (1, None),
    "os._exit(1)": (3, "code that Trivium called ended the process, with exit code 1. Raise an error instead."),
    "os._exit(0)": (3, "code that Trivium called ended the process, with exit code 0. Raise an error instead."),
    "sys.exit(1)": (3, "code that Trivium called ended the program, with exit code 1. Traceback: "),
    "forks": (0, "code that Trivium called ended the program, with exit code 7. Traceback: "),
    "crash": (3, "code that Trivium called crashed the process (SIGSEGV). What a run has written stays: "),
    "killed": (3, "killed, as a system out of memory does. Lower train.batch_size or data.window. "),
    "SIGTERM": (143, "stopped by SIGTERM."),
    "SIGINT": (130, "stopped."),
    "SIGHUP": (129, "stopped by SIGHUP."),
    "reset": (143, "stopped by SIGTERM. What a run has written stays: go on with --resume."),
}


def test_however_it_is_ended_the_code_means_it_and_there_is_one_line(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, env=environment, timeout=120)
    assert json.loads(done.stdout) == {name: code for name, (code, _) in CODES.items()}, done.stderr
    lines = iter(done.stderr.splitlines())
    for name, (_, said) in CODES.items():
        assert next(lines) == name
        if said is not None:
            line = next(lines)
            assert line.startswith(f"trivium: {said}"), line
            if name == "crash":
                kept = Path(line.rpartition("Traceback: ")[2])
                assert "string_at" in kept.read_text(encoding="utf-8"), "the line that crashed is found there"
    assert list(lines) == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("ended"))
    world.write("recipe.yaml", train={"steps": 400, "save_every": 2, "evaluate_every": 200, "log_every": 1})
    return world


def distill(world: World, recipe: str, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [str(TRIVIUM), "distill", recipe, "--out", str(out), *options]
    return subprocess.Popen(command, cwd=world.folder, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)


def test_a_rule_that_leaves_the_process_while_a_run_reads_it_is_no_violation(world: World, tmp_path: Path) -> None:
    """Through the command line as installed: ``certify`` had its children, a run had not."""
    (world.folder / "leaves.py").write_text("import os\nos._exit(1)\n", encoding="utf-8")
    world.write("leaves.yaml", scheme={"token": [{"rule": "leaves.py:any"}]})
    process = distill(world, "leaves.yaml", tmp_path / "run")
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (
        3,
        "trivium: code that Trivium called ended the process, with exit code 1. Raise an error instead.\n",
    )


@pytest.mark.deep
def test_a_run_that_is_asked_to_stop_says_so_and_goes_on(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped = _until_a_checkpoint(distill(world, "recipe.yaml", out), out)
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 143
    assert errors.splitlines()[-1] == f"trivium: stopped by SIGTERM; {out} keeps what was done. Go on with --resume."
    before = _steps(out)
    assert before
    resumed = distill(world, "recipe.yaml", out, "--resume")
    limit = time.monotonic() + 120
    while len(_steps(out)) <= len(before) + 5 and resumed.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    # Nor does it train on without the process that was started, and hold the folder against the next who resumes.
    children = Path(f"/proc/{resumed.pid}/task/{resumed.pid}/children").read_text(encoding="utf-8").split()
    assert len(children) == 1
    resumed.kill()
    resumed.communicate(timeout=60)
    limit = time.monotonic() + 10
    while _alive(children[0]) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not _alive(children[0])
    steps = _steps(out)
    assert steps == list(range(1, len(steps) + 1)), "no step is missing and none is there twice"
    assert len(steps) > len(before)


def _alive(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until_a_checkpoint(process: subprocess.Popen[str], out: Path) -> Any:
    limit = time.monotonic() + 120
    while not list(out.glob("checkpoint-*/complete")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert process.poll() is None, "it must still be at work"
    return process


def _steps(out: Path) -> list[int]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["step"] for row in map(json.loads, lines) if row["kind"] == "step"]
