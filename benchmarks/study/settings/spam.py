"""Spam or not: four filters as a package ships them, one of them wrong more often than not; hashed words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.study.arrays import SPLITS, built
from benchmarks.study.setting import Bag, Setting, one_label, seeded

BUCKETS = 4096
FORMS = ("plain", "html")


def load(work: Path) -> Setting:
    arrays = built("spam", work)
    splits = {}
    for name in SPLITS:
        domain, label = torch.from_numpy(arrays[f"domain_{name}"]), torch.from_numpy(arrays[f"y_{name}"])
        splits[name] = one_label(
            torch.from_numpy(arrays[f"x_{name}"].astype(np.int16)),
            label,
            arrays[f"logits_{name}"],
            torch.zeros(len(label), dtype=torch.long),
            domain,
            label + 2 * domain,
        )
    return Setting(
        name="spam",
        title="spam, four filters of a package",
        metric="error",
        teacher_names=tuple(arrays["teachers"].tolist()),
        tasks=("spam",),
        domains=FORMS,
        groups=tuple(f"{label}, {form}" for form in FORMS for label in ("ham", "spam")),
        splits=splits,
        student=seeded(lambda: Bag(BUCKETS, 32, 2)),
        steps=400,
        batch_size=64,
        learning_rate=1e-2,
        corruption="misplaced",
    )
