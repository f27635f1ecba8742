"""Command line of the study: fetch, plan, run, summarize. See the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.study import plots, tables
from benchmarks.study.arms import arms
from benchmarks.study.catalogue import SETTINGS
from benchmarks.study.corruption import KINDS
from benchmarks.study.fetch import NPM, ROOT, WORK, environment, npm
from benchmarks.study.harness import Work, go, shape_of
from benchmarks.study.plan import Plan, Shape, fit
from benchmarks.study.store import Store
from benchmarks.study.summary import summary, table_of
from trivium.jsontext import write_json

RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="packages and teachers' outputs only")
    parser.add_argument("--minutes", type=float, default=60.0, help="wall-clock time for the cells")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes of one thread each; 0: this one"
    )
    parser.add_argument("--seeds", type=int, default=5, help="paired seeds at most")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--keep", action="store_true", help="settings that are not run stay as the output has them")
    parser.add_argument("--corruption", choices=KINDS, help="another than each setting's main one")
    parser.add_argument("--replan", action="store_true", help="forget the steps an earlier call fixed")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--output", type=Path, default=RESULTS / "study.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    if options.fetch:
        fetch(options.work)
        return
    load = Work(options.work)
    shapes = [shape_of(name, load, options.corruption or "") for name in options.settings]
    for shape in shapes:
        print(f"{shape.name}: {len(shape.formulas['clean'])} arms, about {shape.seconds:.1f} s a cell", flush=True)
    store = Store(options.work / "cells.jsonl")
    plan = planned(shapes, store, options)
    deadline = begun + 60 * options.minutes
    cells = list(plan.cells(shapes))
    go(cells, store, load, options.jobs, deadline, lambda line: print(line, flush=True))
    finished = sum(cell in store for cell in cells)
    found = [table for shape in shapes if (table := table_of(shape, plan, store, load)) is not None]
    if not found:
        raise SystemExit("no block is finished yet; run it again to go on")
    seconds = sum(store[cell].get("seconds", 0.0) for cell in cells if cell in store)
    earlier = json.loads(options.output.read_text(encoding="utf-8")) if options.keep else None
    run = about(options, shapes, plan, finished, len(cells), load, seconds)
    result = summary(found, earlier) | {"run": run if earlier is None else beside(earlier["run"], run)}
    write(result, options.output)
    print(tables.claims(result))
    print(f"{finished} of {len(cells)} cells; written to {options.output}")


def fetch(work: Path) -> None:
    for package in NPM:
        print(f"{package}: {npm(package, work).name}", flush=True)
    print(f"detectors: {environment(work)}", flush=True)
    for name in SETTINGS:
        setting = Work(work)(name, "clean", "")
        print(f"{name}: {', '.join(setting.teacher_names)}; {len(setting.splits['test'])} test examples", flush=True)


def planned(shapes: list[Shape], store: Store, options: argparse.Namespace) -> Plan:
    """A plan that fits into the time, with the steps of an earlier call where there was one."""
    path = options.work / "steps.json"
    steps: dict[str, int] = {}
    if path.is_file() and not options.replan:
        steps = json.loads(path.read_text(encoding="utf-8"))
    jobs = max(options.jobs, 1)
    plan = fit(shapes, 60 * options.minutes * jobs, options.seeds, store, steps)
    write_json(path, steps | dict(plan.steps))
    print(f"plan: steps {plan.steps}, seeds {plan.seeds}, about {plan.seconds / 60 / jobs:.0f} minutes", flush=True)
    if not plan.fits:
        print("that is more than there is: what is finished in time is reported", flush=True)
    return plan


def about(
    options: argparse.Namespace,
    shapes: list[Shape],
    plan: Plan,
    finished: int,
    total: int,
    load: Work,
    seconds: float,
) -> dict[str, Any]:
    """How it was run, in words that fit any machine."""
    missing = {shape.name: arms(load(shape.name, "clean", options.corruption or ""))[1] for shape in shapes}
    return {
        "cpu_minutes": seconds / 60,  # of all cells, over all calls that it took
        "machine": f"{max(options.jobs, 1)} processes of one thread",
        "steps": {shape.name: plan.steps[shape.name] for shape in shapes},
        "full_steps": {shape.name: shape.steps for shape in shapes},
        "seeds": {shape.name: plan.seeds[shape.name] for shape in shapes},
        "planned": total,
        "finished": finished,
        "complete": finished == total,
        "missing": missing,
        "interval": "95 % percentile bootstrap over test units within strata and seeds, paired, 2000 draws",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def beside(earlier: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """How the settings of two calls were run, those of the later one in place of their own from before."""
    by_setting = ("steps", "full_steps", "seeds", "missing")
    kept = [name for name in earlier["seeds"] if name not in run["seeds"]]
    return run | {name: earlier[name] | run[name] for name in by_setting} | {"kept": kept}


def write(result: dict[str, Any], path: Path) -> None:
    """JSON, Markdown beside it, and the plots."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = short(result)
    write_json(path, result)
    path.with_suffix(".md").write_text(tables.page(result), encoding="utf-8")
    for metric, parts in result["ranks"].items():
        if parts:
            path.with_name(f"{path.stem}_ranks_{metric}.svg").write_text(
                plots.rank_plot(result, metric), encoding="utf-8"
            )
    path.with_name(f"{path.stem}_damage.svg").write_text(plots.damage_plot(result), encoding="utf-8")


def short(value: Any) -> Any:
    """Five significant digits are more than the intervals bear."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [short(item) for item in value]
    return float(f"{float(value):.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
