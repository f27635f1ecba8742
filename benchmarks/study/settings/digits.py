"""Ten digits, plain or noisy; four classifiers, each trained on what the others lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.study.setting import SPLITS, Perceptron, Setting, cached, log_probabilities, one_label, seeded
from benchmarks.study.settings import images

SIZES = {"pool": 12_000, "train": 4_000, "validation": 500, "test": 2_500}
#: Share of wrong labels when a teacher is retrained for the corrupted condition.
BAD = 0.8


def load(work: Path) -> Setting:
    arrays = cached(work / "data" / "digits.npz", _build)
    splits = {
        name: one_label(
            torch.from_numpy(arrays[f"x_{name}"]).float() / 255,
            torch.from_numpy(arrays[f"y_{name}"]),
            arrays[f"logits_{name}"],
            torch.zeros(len(arrays[f"y_{name}"]), dtype=torch.long),
            torch.from_numpy(arrays[f"domain_{name}"]),
            torch.from_numpy(arrays[f"y_{name}"] + 10 * arrays[f"domain_{name}"]),
        )
        for name in SPLITS
    }
    return Setting(
        name="digits",
        title="digits, four classifiers trained on different parts",
        metric="error",
        teachers=tuple(arrays["teachers"].tolist()),
        tasks=("digit",),
        domains=images.CONDITIONS,
        groups=tuple(f"{digit}, {condition}" for condition in images.CONDITIONS for digit in range(10)),
        splits=splits,
        student=seeded(lambda: Perceptron(784, 64, 10)),
        steps=400,
        batch_size=64,
        learning_rate=2e-3,
        corruption="retrained",
        noisy={
            name: tuple(torch.from_numpy(z).float().unsqueeze(1) for z in arrays[f"noisy_{name}"]) for name in SPLITS
        },
    )


def _build() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    x, y = images.mnist()
    x, y = x[:35_000], y[:35_000]
    chosen = dict(images.parts(len(x), SIZES, draw))
    seen, condition = images.conditioned(x, draw)
    found: dict[str, np.ndarray] = {}
    for name in SPLITS:
        index = chosen[name]
        found[f"x_{name}"] = np.round(seen[index] * 255).astype(np.uint8)
        found[f"y_{name}"], found[f"domain_{name}"] = y[index], condition[index]
    teachers = list(images.models(0))
    quarters = np.array_split(chosen["pool"], len(teachers))
    kept = {
        "logistic": images.scarce(y[quarters[0]], np.arange(5), 0.04, draw),
        "neighbours": images.scarce(y[quarters[1]], np.arange(5, 10), 0.04, draw),
        "forest": condition[quarters[2]] == 0,
        "perceptron": condition[quarters[3]] == 1,
    }
    found["teachers"] = np.array(teachers)
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
