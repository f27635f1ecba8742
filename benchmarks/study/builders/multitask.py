"""The arrays of ``multitask``: a model of its own for each teacher and task, from few examples or many."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.study.arrays import SPLITS, log_probabilities
from benchmarks.study.builders import images

SIZES = {"pool": 12_000, "train": 6_000, "validation": 600, "test": 3_000}
#: Training examples of each teacher a task, and whether it saw noisy images.
STRENGTH = {
    "logistic": ((2500, 150), True),
    "neighbours": ((150, 2500), True),
    "forest": ((2500, 250), False),
    "perceptron": ((400, 2500), False),
}


def _labels(digits: np.ndarray, task: np.ndarray | int) -> np.ndarray:
    return np.where(np.asarray(task) == 0, digits % 2, (digits >= 5).astype(np.int64))


def build(work: Path) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(2)
    x, digits = images.mnist(work)
    x, digits = x[35_000:], digits[35_000:]
    chosen = dict(images.parts(len(x), SIZES, draw))
    seen, condition = images.conditioned(x, draw)
    found: dict[str, np.ndarray] = {}
    for name in SPLITS:
        index = chosen[name]
        task = draw.integers(0, 2, len(index))
        found |= {
            f"x_{name}": np.round(seen[index] * 255).astype(np.uint8),
            f"digit_{name}": digits[index],
            f"task_{name}": task,
            f"domain_{name}": condition[index],
            f"y_{name}": _labels(digits[index], task),
        }
    rows: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    quarters = np.array_split(chosen["pool"], len(STRENGTH))
    for (teacher, (sizes, noisy)), quarter in zip(STRENGTH.items(), quarters, strict=True):
        own = quarter if noisy else quarter[condition[quarter] == 0]
        by_task = []
        for task, size in enumerate(sizes):
            model = images.models(0)[teacher]
            part = own[:size]
            by_task.append(images.fit(model, seen[part], _labels(digits[part], task)))
        for name in SPLITS:
            images_of = found[f"x_{name}"].astype(np.float32) / 255
            p = np.stack([images.probabilities(model, images_of, 2) for model in by_task])
            rows[name].append(log_probabilities(p[found[f"task_{name}"], np.arange(len(images_of))]))
    found["teachers"] = np.array(list(STRENGTH))
    return found | {f"logits_{name}": np.stack(value) for name, value in rows.items()}


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **build(Path(sys.argv[2])))
