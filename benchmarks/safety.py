"""Whether what is claimed of safety holds: bounds on random small runs, and intervals over simulated audits.

    python benchmarks/safety.py            # writes benchmarks/results/safety.json

*Runs.* Each draws teachers (linear maps of features), an unsafe set, an order, floor, cap, limit, enforcement and an
attack at random, and trains a linear student by ``tv.Distiller`` on critical and other inputs. Reported are the
largest excess of what was observed over S1 (where the order holds and is kept), S2, S3 and S6 on the positions for
which they were computed, which must not be above rounding; observed/bound in quantiles; how often the upper limit of
an audit of 200 fresh inputs is at least the mean over 20,000 others.

*Audits.* 2,000 for each of several distributions with known mean: how often each interval holds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import trivium as tv
from trivium.jsontext import write_json
from trivium.safety import (
    attacked_mass,
    betting,
    clopper_pearson,
    empirical_bernstein,
    largest_mass,
    order_holds,
    student_mass,
    uniform_mass,
)

RESULTS = Path(__file__).parent / "results" / "safety.json"
ATTACKS = ("none", "poisoned", "flipped", "colluding", "wrong order")
ENFORCED = ("none", "constraint", "target")
WIDTH, CLASSES, STEPS = 6, 10, 40


def small_run(seed: int) -> dict[str, Any]:
    """One random run, and what was seen in it."""
    draw, attack, enforce = np.random.default_rng(seed), ATTACKS[seed % 5], ENFORCED[seed % 3]
    torch.manual_seed(seed)
    count = int(draw.choice([3, 5])) if attack != "none" else int(draw.integers(2, 6))
    unsafe = sorted(draw.choice(CLASSES, int(draw.integers(1, 4)), replace=False).tolist())
    maps = [1.5 * torch.randn(WIDTH, CLASSES) for _ in range(count)]
    offsets = torch.linspace(-3.0, 0.0, count)  # the first is the safest
    adversaries = {"poisoned": [count - 1], "flipped": [count - 1], "colluding": [count - 2, count - 1]}.get(attack, [])
    names = [f"t{k}" for k in range(count)]
    trusted = names[::-1] if attack == "wrong order" else names
    order = " > ".join(trusted) if draw.random() < 0.7 else None
    floor, cap = float(draw.choice([0.0, 0.3, 0.8])) / count, float(draw.choice([1.0, 0.9]))
    cap = max(cap, 1.0 / count + 0.05)
    scheme = tv.compose(
        names, token=[tv.Entropy(budget=float(draw.uniform(0.5, 4)))], floor=floor, cap=cap, critical_order=order
    )
    goal = scheme.trusted or scheme.conforming or tv.ConformingSet(count)
    limit = float(draw.choice([0.3, 0.1, 0.03]))

    def answers(x: Tensor) -> list[Tensor]:
        found = [x @ m for m in maps]
        for k, z in enumerate(found):
            z[:, unsafe] += offsets[k]
            if k in adversaries and attack in ("poisoned", "colluding"):
                z[:, unsafe] += 6.0
            if k in adversaries and attack == "flipped":
                z[: max(1, len(z) // 100)] *= -1.0
        return found

    safety = tv.Safety(tv.UnsafeClasses([unsafe], {n: str(n) for n in range(CLASSES)}), limit, enforce, rate=0.2)  # type: ignore[arg-type]
    distiller = tv.Distiller(scheme, {n: tv.InBatch(f"{n}_logits") for n in names}, safety=safety)
    student = torch.nn.Linear(WIDTH, CLASSES)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    for _ in range(STEPS):
        x = torch.randn(64, WIDTH)
        batch = batch_of(names, answers(x), (torch.arange(64) % 2).float())
        distiller(student(x), batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        distiller.learn(student, 0.1)
    return {"attack": attack, "enforce": enforce, "teachers": count, "limit": limit} | judged(
        distiller, student, scheme, goal, names, answers, unsafe, adversaries, order is not None, limit
    )


def batch_of(names: list[str], logits: list[Tensor], critical: Tensor) -> dict[str, Tensor]:
    """A batch whose labels count for nothing."""
    columns = {f"{name}_logits": z for name, z in zip(names, logits, strict=True)}
    return {"labels": torch.zeros(len(critical), dtype=torch.long), "critical": critical, **columns}


@torch.no_grad()
def judged(
    distiller: Any, student: Any, scheme: Any, goal: Any, names: list[str], answers: Any, unsafe: list[int],
    adversaries: list[int], ordered: bool, limit: float,
) -> dict[str, Any]:  # fmt: skip
    """Bounds against what was observed on 500 critical inputs, and an audit of fresh ones."""
    x = torch.randn(500, WIDTH)
    logits = [z.double() for z in answers(x)]
    u = torch.stack([z.softmax(-1)[:, unsafe].sum(-1) for z in logits], -1)
    found = distiller(student(x), batch_of(names, [z.float() for z in logits], torch.ones(500)))
    w = found.log_weights[:, 0].double().exp()
    q = torch.stack([z.softmax(-1) for z in logits], -1).mul(w.unsqueeze(1)).sum(-1)
    log_s = student(x).double().log_softmax(-1)
    mass, target = log_s[:, unsafe].exp().sum(-1), (w * u).sum(-1)
    kl = (q * (q.log() - log_s)).sum(-1)
    pairs = {"S2": (target, largest_mass(u, goal)), "S3": (mass, student_mass(target, kl))}
    if ordered:
        holds = order_holds(u, goal.order)
        pairs["S1"] = (target[holds], uniform_mass(u)[holds])
    if adversaries:
        pairs["S6"] = (target, attacked_mass(u, goal, adversaries))
    report: dict[str, Any] = {"order_fails": 1 - float(order_holds(u, goal.order).double().mean()) if ordered else None}
    report["excess"] = {name: float((seen - bound).max()) for name, (seen, bound) in pairs.items() if len(seen)}
    report["tightness"] = {name: (seen / bound).tolist()[:50] for name, (seen, bound) in pairs.items()}
    audit = student(torch.randn(200, WIDTH)).double().softmax(-1)[:, unsafe].sum(-1)
    truth = float(student(torch.randn(20_000, WIDTH)).double().softmax(-1)[:, unsafe].sum(-1).mean())
    interval = betting(audit.tolist())
    report |= {
        "student": truth,
        "upper": interval.upper,
        "covered": truth <= interval.upper,
        "met": interval.upper <= limit,
    }
    report["uniform_target"], report["target"] = float(u.mean()), float(target.mean())
    return report


def audits(count: int, n: int = 100, level: float = 0.95) -> dict[str, Any]:
    """The share of audits whose limits hold, by distribution and method."""
    draw = np.random.default_rng(0)
    laws = {
        "rare masses, Beta(.05, 5)": (lambda: draw.beta(0.05, 5, n), 0.05 / 5.05),
        "small masses, Beta(.2, 8)": (lambda: draw.beta(0.2, 8, n), 0.2 / 8.2),
        "events of 2 %": (lambda: (draw.random(n) < 0.02).astype(float), 0.02),
        "two kinds of documents": (lambda: np.where(draw.random(n) < 0.1, 0.5, 0.001), 0.0509),
        "large masses, Beta(2, 2)": (lambda: draw.beta(2, 2, n), 0.5),
    }
    found: dict[str, Any] = {}
    for name, (sample, mean) in laws.items():
        held: dict[str, list[tuple[bool, bool, float]]] = {}
        for _ in range(count):
            x = sample()
            made = {
                "betting": betting(x.tolist(), level),
                "empirical Bernstein": empirical_bernstein(x.tolist(), level),
            }
            if name.startswith("events"):
                made["Clopper–Pearson"] = clopper_pearson(int(x.sum()), n, level)
            for method, i in made.items():
                held.setdefault(method, []).append((mean <= i.upper, i.low <= mean <= i.high, i.upper))
        columns = {method: np.array(rows, dtype=float).mean(0).tolist() for method, rows in held.items()}
        found[name] = {m: dict(zip(("upper", "interval", "mean_upper"), v, strict=True)) for m, v in columns.items()}
        found[name]["mean"] = mean
    return {"audits": count, "documents": n, "level": level, "laws": found}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst excess of each bound, its tightness, coverage, and what each enforcement left under each attack."""
    names = ("S1", "S2", "S3", "S6")
    tight = {n: np.concatenate([r["tightness"][n] for r in runs if r["tightness"].get(n)]) for n in names}
    groups: dict[str, dict[str, Any]] = {}
    for run in runs:
        groups.setdefault(f"{run['attack']}, {run['enforce']}", []).append(run)  # type: ignore[arg-type, union-attr]
    return {
        "runs": len(runs),
        "worst_excess": {n: max(r["excess"][n] for r in runs if n in r["excess"]) for n in names},
        "tightness": {
            n: dict(zip(("5 %", "median", "95 %"), np.quantile(v, (0.05, 0.5, 0.95)).tolist(), strict=True))
            for n, v in tight.items()
        },
        "covered": float(np.mean([r["covered"] for r in runs])),
        "by_group": {
            name: {
                "runs": len(group),
                "student_over_limit": float(np.mean([r["student"] / r["limit"] for r in group])),
                "met": float(np.mean([r["met"] for r in group])),
                "target": float(np.mean([r["target"] for r in group])),
                "uniform_target": float(np.mean([r["uniform_target"] for r in group])),
            }
            for name, group in sorted(groups.items())
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    begun = time.process_time()
    found = {"random_runs": summary([small_run(seed) for seed in range(asked.runs)]), "coverage": audits(asked.audits)}
    write_json(asked.out, {**found, "cpu_seconds": round(time.process_time() - begun, 1)})
    print(found["random_runs"]["worst_excess"], found["random_runs"]["covered"])


if __name__ == "__main__":
    main()
