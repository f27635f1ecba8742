"""Do three scales beat uniform weights and the best single teacher on real text?

Fourteen ways to weigh the demo's three teachers, five paired seeds each: equal data, steps, distillation mass and
initial weights. Reports bits per byte of the student and of the weighted mixture itself, with bootstrap intervals
over documents and seeds, and what each scale and the influence budget add. It resumes where it was stopped.

    python benchmarks/first_light.py            # writes benchmarks/results/first_light.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import torch

from trivium.cli.progress import shown
from trivium.errors import require
from trivium.jsontext import write_json
from trivium.training.arms import baselines, parts, with_scheme
from trivium.training.build import build_scheme
from trivium.training.checkpoints import require_same
from trivium.training.compare import bootstrap
from trivium.training.fitting import fit_recipe
from trivium.training.identity import run_identity
from trivium.training.recipe import Recipe, RuleSection, load_recipe
from trivium.training.run import PreparedRun, distill, prepare

HERE = Path(__file__).resolve().parent
DEMO = Path(str(files("trivium"))) / "assets" / "first_light" / "recipe.yaml"
PAIRS = [
    ("fitted+label", "fitted"),
    ("fitted", "full"),
    ("fitted", "uniform"),
    ("fitted", "oracle"),
    ("full", "uniform"),
    ("full", "single"),
    ("full", "oracle"),
    ("full", "context"),
    ("full", "token+task"),
    ("full", "token+context"),
    ("full", "task+context"),
    ("full", "unbounded"),
    ("token", "uniform"),
    ("task", "uniform"),
    ("context", "uniform"),
    ("token+context", "context"),
    ("task+context", "context"),
]

_prepared_run: PreparedRun | None = None


def _start(recipe: Recipe, folder: Path) -> None:
    """Once a process: one thread, everything read, logits taken from the cache."""
    global _prepared_run
    torch.set_num_threads(1)
    _prepared_run = prepare(recipe, Path(), folder / "cache")


def seeded(recipe: Recipe, seed: int) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})


def finished(recipe: Recipe, prepared_run: PreparedRun, folder: Path) -> bool:
    """Whether ``folder`` holds the result of this run; raises InputError where it is that of another one."""
    if not ((folder / "nats.json").exists() and (folder / "identity.json").exists()):
        return False
    scheme, student = build_scheme(recipe, prepared_run.base), prepared_run.task.student(recipe, prepared_run.base)
    identity = run_identity(recipe, prepared_run.base, prepared_run.teachers, prepared_run.tables, student, scheme)
    moved = require_same(folder, identity)
    require(moved is None, f"the result in {folder} must be of these releases", moved, "Remove it, to run it anew.")
    return True


def with_label(fitted: Recipe) -> Recipe:
    """The fitted scheme with w_k ∝ p_k(label) at the token scale, under the budget that the prefix has in the full one.

    Its strength, 1, was chosen: on the mixture a fit would take all of it, since it sees what is to be predicted.
    """
    label = RuleSection(rule="scores", options={"strengths": {"label_log_prob": 1.0}, "budget": 4.0})
    scheme = fitted.scheme.model_copy(update={"token": [*fitted.scheme.token, label]})
    return with_scheme(fitted, "fitted+label", scheme)


def _run(recipe: Recipe, seed: int, folder: Path) -> tuple[str, int, float]:
    assert _prepared_run is not None
    start = time.process_time()
    recipe = seeded(recipe, seed)
    distill(recipe, _prepared_run, folder, resume=(folder / "identity.json").exists())
    return recipe.name, seed, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps a run; default: the recipe's 400; README: 1,200")
    parser.add_argument("--arms", help="only these, a,b,c: what a run is later completed from")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of one thread each")
    parser.add_argument("--folder", type=Path, default=HERE / ".cache" / "first_light")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "first_light.json")
    options = parser.parse_args()
    full = load_recipe(DEMO)
    changed = {"threads": 1} | ({"steps": options.steps} if options.steps else {})
    full = full.model_copy(update={"train": full.train.model_copy(update=changed)})
    torch.set_num_threads(1)
    with shown() as progress:
        prepared_run = prepare(full, Path(), options.folder / "cache", progress)
    fitted = fit_recipe(full, prepared_run).recipe.model_copy(update={"name": "fitted"})
    arms = {"full": full, "fitted": fitted, "fitted+label": with_label(fitted)}
    base = baselines(full, prepared_run.validation_loss)
    arms |= base | parts(full)
    chosen = options.arms.split(",") if options.arms else list(arms)
    require(set(chosen) <= set(arms), "--arms must name arms", sorted(set(chosen) - set(arms)), f"{list(arms)}.")
    arms = {name: arms[name] for name in chosen}
    todo = [(name, seed) for seed in range(options.seeds) for name in arms]
    place = {(name, seed): options.folder / f"{name}-{seed}" for name, seed in todo}
    waiting = [key for key in todo if not finished(seeded(arms[key[0]], key[1]), prepared_run, place[key])]
    print(f"{len(todo)} runs, {len(todo) - len(waiting)} already done")
    # A fresh interpreter a worker: torch's thread pool does not survive a fork.
    with ProcessPoolExecutor(options.workers, get_context("spawn"), _start, (full, options.folder)) as pool:
        jobs = [pool.submit(_run, arms[name], seed, place[name, seed]) for name, seed in waiting]
        for count, job in enumerate(as_completed(jobs), start=1):
            name, seed, seconds = job.result()
            print(f"[{count}/{len(waiting)}] {name}, seed {seed}: {seconds:.0f} CPU-seconds", flush=True)
    rows, _ = prepared_run.held_out
    nll = {
        what: {
            name: torch.tensor([_read(place[name, seed])[what] for seed in range(options.seeds)], dtype=torch.float64)
            for name in arms
            if what == "student" or name != "fitted+label"  # which sees the label: its mixture predicts nothing
        }
        for what in ("student", "mixture")
    }
    # The mixture has no seed: all runs of an arm have the same.
    nll["mixture"] = {name: value[:1] for name, value in nll["mixture"].items()}
    teacher_nll = torch.tensor(_read(place[chosen[0], 0])["teachers"], dtype=torch.float64)
    nll["teacher"] = {name: teacher_nll[None, :, k] for k, name in enumerate(full.teacher_names)}
    result = {
        "claim": "the full scheme beats uniform weights and the student of the best single teacher",
        "unit": "held-out bits per byte, mean of domains",
        "setting": {
            "steps": full.train.steps,
            "seeds": options.seeds,
            "tokens_a_step": full.train.batch_size * full.data.window,
            "scheme": full.scheme.model_dump(exclude_defaults=True),
            "test_rows": len(rows),
            "test_documents": {
                domain: len({d for d, k in zip(rows.document, rows.domain.tolist(), strict=True) if k == number})
                for number, domain in enumerate(rows.domains)
            },
            "validation_loss": dict(zip(rows.tasks, prepared_run.validation_loss.tolist(), strict=True)),
            "teachers": full.teacher_names,
            "single": base["single"].scheme.context[0].options["map"],
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "threads": 1,
            "interval": "95 % percentile bootstrap over documents and seeds, paired, 4000 draws",
        },
    }
    for what, runs in nll.items():
        replicates = bootstrap(runs, rows)
        result[what] = {
            name: {
                "mean": replicates.estimates[name],
                "interval": replicates.interval(name),
                "domains": replicates.domains[name],
                "seeds": [bootstrap({name: one}, rows, draws=1).estimates[name] for one in value],
            }
            for name, value in runs.items()
        }
        if what != "teacher":
            pairs = [(a, b) for a, b in PAIRS if a in runs and b in runs]
            result[f"{what}_differences"] = [replicates.difference(a, b) for a, b in pairs]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, _short(result))
    for row in result["student_differences"]:
        low, high = row["interval"]
        print(f"student {row['a']:>14} − {row['b']:<14} {row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]")
    print(f"written to {options.output}")


def _read(folder: Path) -> dict:
    return json.loads((folder / "nats.json").read_text(encoding="utf-8"))


def _short(value: object) -> object:
    """Six significant digits are more than the intervals bear."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
