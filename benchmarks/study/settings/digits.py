"""Ten digits, plain or noisy; four classifiers, each trained on what the others lack."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.study.arrays import SPLITS, built
from benchmarks.study.setting import Perceptron, Setting, one_label, seeded

CONDITIONS = ("plain", "noisy")


def load(work: Path) -> Setting:
    arrays = built("digits", work)
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
        teacher_names=tuple(arrays["teachers"].tolist()),
        tasks=("digit",),
        domains=CONDITIONS,
        groups=tuple(f"{digit}, {condition}" for condition in CONDITIONS for digit in range(10)),
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
