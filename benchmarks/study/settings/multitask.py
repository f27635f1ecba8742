"""Two tasks on digits, odd or even and five or more, with a head each; teachers strong at one task or the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.study.setting import SPLITS, Perceptron, Setting, cached, log_probabilities, one_label, seeded
from benchmarks.study.settings import images

SIZES = {"pool": 12_000, "train": 6_000, "validation": 600, "test": 3_000}
TASKS = ("parity", "size")
#: Training examples of each teacher a task, and whether it saw noisy images.
STRENGTH = {
    "logistic": ((2500, 150), True),
    "neighbours": ((150, 2500), True),
    "forest": ((2500, 250), False),
    "perceptron": ((400, 2500), False),
}


def load(work: Path) -> Setting:
    arrays = cached(work / "data" / "multitask.npz", _build)
    splits = {}
    for name in SPLITS:
        task, domain = (torch.from_numpy(arrays[f"{what}_{name}"]) for what in ("task", "domain"))
        splits[name] = one_label(
            torch.from_numpy(arrays[f"x_{name}"]).float() / 255,
            torch.from_numpy(arrays[f"y_{name}"]),
            arrays[f"logits_{name}"],
            task,
            domain,
            torch.from_numpy(arrays[f"digit_{name}"]) + 10 * task + 20 * domain,
        )
    return Setting(
        name="multitask",
        title="two label tasks on digits, teachers of different strength at each",
        metric="error",
        teachers=tuple(STRENGTH),
        tasks=TASKS,
        domains=images.CONDITIONS,
        groups=tuple(f"{d}, {t}, {c}" for c in images.CONDITIONS for t in TASKS for d in range(10)),
        splits=splits,
        student=seeded(lambda: Perceptron(784, 64, 2, tasks=2)),
        steps=400,
        batch_size=64,
        learning_rate=2e-3,
        corruption="overconfident",
    )


def _labels(digits: np.ndarray, task: np.ndarray | int) -> np.ndarray:
    return np.where(np.asarray(task) == 0, digits % 2, (digits >= 5).astype(np.int64))


def _build() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(2)
    x, digits = images.mnist()
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
    return found | {f"logits_{name}": np.stack(value) for name, value in rows.items()}
