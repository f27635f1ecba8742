"""Run the cells of a plan, in as many processes as asked for, skipping what is done and stopping in time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import trivium
from benchmarks.study.arms import arms
from benchmarks.study.corruption import CONDITIONS
from benchmarks.study.loop import run
from benchmarks.study.plan import Shape
from benchmarks.study.setting import Setting, Split
from benchmarks.study.store import Cell, Store
from trivium.store.code import sha256_of
from trivium.store.identity import Identity, of_tensor, versions
from trivium.store.modules import of_module

#: (name, condition, corruption) → setting.
Loader = Callable[[str, str, str], Setting]
Say = Callable[[str], None]
#: Seconds between two lines of progress.
EVERY = 15.0


#: The packages of the library, and the modules of the study, whose code decides what a cell comes to.
LIBRARY = ("simplex", "weighting", "scheme", "aggregation", "losses", "gradients", "training", "catalogue", "fitting")
STUDY = ("arms.py", "corruption.py", "loop.py", "schedule.py", "setting.py", "settings/*.py", "watch.py")


@lru_cache(maxsize=1)
def code() -> dict[str, str]:
    """SHA-256 of each file of the code that a cell runs."""
    library, study = Path(trivium.__file__).parent, Path(__file__).parent
    files = [file for package in LIBRARY for file in (library / package).rglob("*.py")]
    files += [file for pattern in STUDY for file in study.glob(pattern)]
    return {"/".join(file.parts[-3:]): sha256_of(file) for file in sorted(files)}


def identity(setting: Setting) -> Identity:
    """Everything that a cell depends on besides its key: data and teachers of all splits, student, optimizer, code."""

    def tensors(split: Split) -> dict[str, Any]:
        held = {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}
        return {
            name: of_tensor(value) if isinstance(value, torch.Tensor) else [of_tensor(one) for one in value]
            for name, value in held.items()
        }

    return Identity(
        {
            "splits": {name: tensors(split) for name, split in setting.splits.items()},
            "names": [setting.metric, setting.teacher_names, setting.tasks, setting.domains, setting.groups],
            "student": of_module(setting.student(0)),
            "optimizer": [setting.batch_size, setting.learning_rate],
            "hard_labels": setting.hard_labels,
            "code": code(),
            "libraries": versions(),
        }
    )


def fingerprint(setting: Setting) -> str:
    """The digest of :func:`identity`."""
    return identity(setting).digest()


def shape_of(name: str, load: Loader, corruption: str = "", probe: bool = True) -> Shape:
    """What the plan needs: arms in both conditions, and how long a cell takes, from a tenth of one, thrown away."""
    found = {condition: load(name, condition, corruption) for condition in CONDITIONS}
    clean = found["clean"]
    listed = {condition: arms(setting)[0] for condition, setting in found.items()}
    seconds = 0.0
    if probe:
        arm = listed["clean"]["three scales, conforming"]
        steps = max(2, clean.steps // 10)
        run(clean, arm, 1, 2)  # what the first run loads is not a cell's cost
        start = time.perf_counter()
        run(clean, arm, 1, steps)  # not seed 0, whose cells evaluate the mixture too
        seconds = (time.perf_counter() - start) * clean.steps / steps
    return Shape(
        name,
        corruption or clean.corruption,
        clean.steps,
        {condition: fingerprint(setting) for condition, setting in found.items()},
        {c: {a: f"{arm.kind}: {arm.scheme.formula()}" for a, arm in by.items()} for c, by in listed.items()},
        seconds,
    )


def evaluate(cell: Cell, load: Loader) -> dict[str, Any]:
    """One cell; a rule that raises is an outcome, told in ``failed``."""
    setting = load(cell.setting, cell.condition, cell.corruption)
    arm = arms(setting)[0][cell.arm]
    try:
        return run(setting, arm, cell.seed, cell.steps)
    except Exception as error:  # whatever a rule raises is about the rule, and the others go on
        return {"failed": f"{type(error).__name__}: {error}", "seconds": 0.0}


def go(cells: Iterable[Cell], store: Store, load: Loader, jobs: int, deadline: float, say: Say = print) -> int:
    """Run what is not in ``store`` until ``deadline`` (of ``time.monotonic``); returns how many cells were run.

    Args:
        jobs: processes of one thread each; 0 runs in this one. ``load`` must be importable by a fresh interpreter.
    """
    waiting = [cell for cell in cells if cell not in store]
    total, begun, done = len(waiting), time.monotonic(), 0
    spoken = begun
    say(f"{total} cells to run, {len(store.done)} on file")

    def finish(cell: Cell, result: dict[str, Any]) -> None:
        nonlocal done, spoken
        store.add(cell, result)
        done += 1
        now = time.monotonic()
        passed = now - begun
        if now - spoken > EVERY or done == total or "failed" in result:
            spoken = now
            left = min(passed / done * (total - done), max(0.0, deadline - time.monotonic()))
            note = f", {result['failed'][:90]}" if "failed" in result else ""
            where = f"{cell.setting}, {cell.condition}, seed {cell.seed}, {cell.arm}{note}"
            say(f"[{done}/{total}] {where}; {passed / 60:.1f} min gone, {left / 60:.1f} left")

    if jobs == 0:
        for cell in waiting:
            if time.monotonic() >= deadline:
                break
            finish(cell, evaluate(cell, load))
        return done
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start) as pool:
        running: dict[Future[dict[str, Any]], Cell] = {}
        queue = iter(waiting)
        while True:
            while len(running) < jobs + 1 and time.monotonic() < deadline:
                cell = next(queue, None)
                if cell is None:
                    break
                running[pool.submit(evaluate, cell, load)] = cell
            if not running:
                return done
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                finish(running.pop(job), job.result())


def _start() -> None:
    torch.set_num_threads(1)


class Work:
    """The loader of the real settings, sent to processes as the name of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, condition: str, corruption: str) -> Setting:
        from benchmarks.study.catalogue import load

        return load(name, condition, self.folder, corruption or None)
