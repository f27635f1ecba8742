"""Two tasks on digits, odd or even and five or more, with a head each; teachers strong at one task or the other."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.study.arrays import SPLITS, built
from benchmarks.study.setting import Perceptron, Setting, one_label, seeded

TASKS = ("parity", "size")
CONDITIONS = ("plain", "noisy")


def load(work: Path) -> Setting:
    arrays = built("multitask", work)
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
        teacher_names=tuple(arrays["teachers"].tolist()),
        tasks=TASKS,
        domains=CONDITIONS,
        groups=tuple(f"{d}, {t}, {c}" for c in CONDITIONS for t in TASKS for d in range(10)),
        splits=splits,
        student=seeded(lambda: Perceptron(784, 64, 2, tasks=2)),
        steps=400,
        batch_size=64,
        learning_rate=2e-3,
        corruption="overconfident",
    )
