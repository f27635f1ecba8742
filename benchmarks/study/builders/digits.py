"""The arrays of ``digits``: four kinds of classifier, each trained on what the others lack, well and on bad labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.study.arrays import SPLITS, log_probabilities
from benchmarks.study.builders import images

SIZES = {"pool": 12_000, "train": 4_000, "validation": 500, "test": 2_500}
#: Share of wrong labels when a teacher is retrained for the corrupted condition.
BAD = 0.8


def build(work: Path) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    x, y = images.mnist(work)
    x, y = x[:35_000], y[:35_000]
    chosen = dict(images.parts(len(x), SIZES, draw))
    seen, condition = images.conditioned(x, draw)
    found: dict[str, np.ndarray] = {}
    for name in SPLITS:
        index = chosen[name]
        found[f"x_{name}"] = np.round(seen[index] * 255).astype(np.uint8)
        found[f"y_{name}"], found[f"domain_{name}"] = y[index], condition[index]
    teacher_names = list(images.models(0))
    quarters = np.array_split(chosen["pool"], len(teacher_names))
    kept = {
        "logistic": images.scarce(y[quarters[0]], np.arange(5), 0.04, draw),
        "neighbours": images.scarce(y[quarters[1]], np.arange(5, 10), 0.04, draw),
        "forest": condition[quarters[2]] == 0,
        "perceptron": condition[quarters[3]] == 1,
    }
    found["teachers"] = np.array(teacher_names)
    for what, share in (("logits", 0.0), ("noisy", BAD)):
        rows: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
        for (teacher, model), quarter in zip(images.models(0).items(), quarters, strict=True):
            own = quarter[kept[teacher]]
            images.fit(model, seen[own], images.mislabelled(y[own], share, 10, draw))
            for name in SPLITS:
                p = images.probabilities(model, found[f"x_{name}"].astype(np.float32) / 255, 10)
                rows[name].append(log_probabilities(p))
        found |= {f"{what}_{name}": np.stack(value) for name, value in rows.items()}
    return found


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **build(Path(sys.argv[2])))
