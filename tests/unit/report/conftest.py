"""A run folder as a real one looks, made from a formula instead of by training."""

from __future__ import annotations

import inspect
import json
import math
import random
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEACHERS = ["python", "prose", "cpp"]
RUNS = {"single": ("best single teacher", 2.31, 1.86), "uniform": ("uniform weights", 2.17, 1.864),
        "full": ("full scheme", 2.031, 1.625), "oracle": ("oracle domain", 2.028, 1.64)}  # fmt: skip
OFFSETS = {"python": 0.25, "prose": 0.3, "cpp": -0.55}
PROSE = """Assignment statements are used to (re)bind names to values & to modify <mutable> objects:

\t“An assignment statement evaluates the expression list” — naïve, 你好 \ufffd\x00 end.
"""
CPP = """#pragma once
#include <array>

namespace c10 {
template <typename V, typename... T>
inline constexpr auto array_of(T&&... t) -> std::array<V, sizeof...(T)> {
  return {{std::forward<T>(t)...}}; // "x" && y
}
} // namespace c10
"""
TEXTS = {
    "python": ("textwrap.py", inspect.getsource(textwrap)[:2600]),
    "prose": ("ASSIGNMENT", 6 * PROSE),
    "cpp": ("c10/util/Array.h", 6 * CPP),
}

RECIPE = """name: full
teachers: [{name: python, model: a}, {name: prose, model: b}, {name: cpp, model: c}]
scheme:
  token: [{rule: entropy, strength: 0.5}]   # <b>not bold</b>
  task: [{rule: skill}]
  context: [{rule: posterior}]
  budget: {token: 1.0, task: 1.0, context: 4.0}
  floor: 0.02
"""


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    exps = [math.exp(score - top) for score in scores]
    return [value / sum(exps) for value in exps]


def metrics(final: float, seed: int, steps: int, broken: bool) -> list[dict[str, Any]]:
    chance, rows = random.Random(seed), []
    for step in range(5, steps + 1, 5):
        decay = math.exp(-step / 90)
        share = {
            "token": softmax([0.4 + 0.2 * chance.gauss(0, 1), 0.1, -0.1]),
            "task": softmax([0.6 - 0.5 * decay, 0.2, 0.1]),
            "context": softmax([1.1 + 0.3 * chance.gauss(0, 1), 0.5 + 0.3 * chance.gauss(0, 1), 0.3]),
            "all": softmax([1.6 + 0.4 * chance.gauss(0, 1), 0.7, 0.2]),
        }
        rows.append({
            "kind": "step", "step": step, "loss": final * 0.9 + 3 * decay + 0.05 * chance.gauss(0, 1),
            "distillation": final * 0.9 + 3 * decay + 0.05 * chance.gauss(0, 1), "label": 0.0, "learning_rate": 1e-3,
            "share": {scale: dict(zip(TEACHERS, value, strict=True)) for scale, value in share.items()},
            "influence": {"token": 0.93 + 0.05 * chance.random(), "task": 0.8 + 0.1 * (1 - decay),
                          "context": 4.0, "all": 5.2 + 0.5 * chance.random()},
            "axioms": {"W-N": 1e-7 * chance.random(), "W-P": -0.02, "W-B": -0.001 * chance.random(),
                       "W-S": -0.2 - 0.1 * chance.random()},
        })  # fmt: skip
        if step % 50 == 0:
            domains = {d: final + o + 1.4 * decay + 0.01 * chance.gauss(0, 1) for d, o in OFFSETS.items()}
            rows.append({"kind": "eval", "step": step, "bits_per_byte": domains, "mean": sum(domains.values()) / 3})
        if broken and step in (35, 210):
            rows.append({"kind": "violation", "step": step, "axiom": "W-B", "residual": 1.1e-3, "action": "repaired"})
    return rows


def comparison() -> dict[str, Any]:
    rows = []
    for name, (label, student, mixture) in RUNS.items():
        for what, mean in (("mixture", mixture), ("student", student)):
            domains = {domain: mean + offset for domain, offset in OFFSETS.items()}
            rows.append({"name": name, "label": label, "what": what, "bits_per_byte": domains, "mean": mean,
                         "interval": [mean - 0.031, mean + 0.034]})  # fmt: skip
    differences = []
    for what, at in (("mixture", 2), ("student", 1)):
        for other in ("single", "uniform", "oracle"):
            gap = RUNS["full"][at] - RUNS[other][at]
            differences.append({"what": what, "a": "full", "b": other, "difference": gap,
                                "interval": [gap - 0.011, gap + 0.012]})  # fmt: skip
    return {"unit": "bits per byte", "domains": list(OFFSETS), "rows": rows, "differences": differences,
            "note": "Paired bootstrap over 96 documents, 2,000 draws, seed 0."}  # fmt: skip


def result(axiom: str, verdict: str, residual: float | None, **more: Any) -> dict[str, Any]:
    return {"axiom": axiom, "verdict": verdict, "residual": residual, "tolerance": 0.0, "where": "the whole box",
            "derivation": [], "search": "", "witness": None, **more}  # fmt: skip


TOKEN = "softmax(−0.5·entropy | β ≤ 1)"
TASK = "softmax(−1·validation_loss | β ≤ 1)"
CONTEXT = "softmax(prefix_log_prob | β ≤ 4)"
DESCRIPTION = f"""teachers: 0 python, 1 prose, 2 cpp
  token: {TOKEN}
   task: {TASK}
context: {CONTEXT}
w = project({TOKEN} ⊗ {TASK} ⊗ {CONTEXT} | 0.02 ≤ w ≤ 1)"""


def certificate() -> dict[str, Any]:
    parts = ["entropy: β ≤ 1 (declared)", "skill: β ≤ 1 (declared)", "posterior: β ≤ 4 (declared)"]
    steps = [*parts, "product: β ≤ 1 + 1 + 4 = 6 (T3)"]
    witness = {"axiom": "W-S", "note": "cpp outweighs python <here>"}
    return {
        "formula": DESCRIPTION.splitlines()[-1],
        "description": DESCRIPTION,
        "specification": {"num_teachers": 3, "names": TEACHERS},
        "constants": {
            "influence": 6.0,
            "floor": 0.02,
            "cap": 0.96,
            "lipschitz": {"entropy": "Infinity"},
            "total_lipschitz": "Infinity",
        },
        "results": [
            result("W-F", "NOT FALSIFIED", 0.0, search="512 rows, 40 batches, two calls each", where="16 rows"),
            result("W-N", "PROVED", 6e-8, tolerance=1e-6, derivation=["log-softmax normalizes", *steps[3:]]),
            result("W-P", "PROVED", -0.02, derivation=steps),
            result("W-B", "PROVED", -0.0, derivation=[*steps, "projection into C(0.02, 1) (T6)"]),
            result("W-R", "VERIFIED", -0.41, tolerance=1e-6, where="entropy in [0, 12]³, 1,840 boxes"),
            result("W-S", "VIOLATED", 0.213, where="entropy = (0, 0, 12)", witness=witness),
        ],
    }


def sample() -> dict[str, Any]:
    chance, documents = random.Random(3), []
    for index, (domain, (name, text)) in enumerate(TEXTS.items()):
        tokens = re.findall(r"\n+ *| ?\w{1,5}|\w+|[^\w\n]", text)
        weights: dict[str, list[list[float]]] = {"all": [], "token": [], "task": [], "context": []}
        for position in range(len(tokens)):
            own = [(1.0 if k == index else 0.0) for k in range(3)]
            token = [chance.gauss(0, 0.8) for _ in range(3)]
            context = [min(4.0, 0.12 * position) * value for value in own]
            task = [0.5 * value for value in own]
            for scale, score in (("token", token), ("task", task), ("context", context)):
                weights[scale].append(softmax(score))
            weights["all"].append(softmax([a + b + c for a, b, c in zip(token, task, context, strict=True)]))
        documents.append({"domain": domain, "name": name, "tokens": tokens, "weights": weights})
    return {"teachers": TEACHERS, "documents": documents}


def write_run(folder: Path, steps: int = 400, broken: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (_, final, _)) in enumerate(RUNS.items()):
        lines = "".join(json.dumps(row) + "\n" for row in metrics(final, seed, steps, broken and name == "full"))
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if name == "full":
            (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    for name, content in (("comparison", comparison()), ("certificate", certificate()), ("sample", sample())):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five megabytes of plotly.js a page are written where a test asks for them, and nowhere else."""
    if "real_plotly" not in request.fixturenames:
        monkeypatch.setattr("trivium.report.write._plotly", lambda: "/* plotly.js */")


@pytest.fixture
def real_plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: write_run(tmp_path / "demo", **options)


@pytest.fixture(scope="session")
def _written_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("written") / "demo")


@pytest.fixture
def run(_written_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_written_once, tmp_path / "demo"))
