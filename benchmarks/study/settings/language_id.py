"""Which of 24 languages a short string is in: Django's translations, seven language detectors, hashed n-grams.

What a rule may know of a string is its script (task) and its length (domain); its language is the oracle's alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.study.arrays import SPLITS, built
from benchmarks.study.setting import Bag, Setting, one_label, seeded

SCRIPTS = ("Latin", "Cyrillic", "other")
LENGTHS = ("short", "middle", "long")
BUCKETS = 4096


def load(work: Path) -> Setting:
    arrays = built("language_id", work)
    splits = {
        name: one_label(
            torch.from_numpy(arrays[f"x_{name}"].astype(np.int16)),
            torch.from_numpy(arrays[f"y_{name}"]),
            arrays[f"logits_{name}"],
            torch.from_numpy(arrays[f"task_{name}"]),
            torch.from_numpy(arrays[f"domain_{name}"]),
            torch.from_numpy(arrays[f"y_{name}"]),
        )
        for name in SPLITS
    }
    languages = arrays["languages"].tolist()
    return Setting(
        name="language_id",
        title="24 languages, seven detectors",
        metric="error",
        teacher_names=tuple(arrays["teachers"].tolist()),
        tasks=SCRIPTS,
        domains=LENGTHS,
        groups=tuple(languages),
        splits=splits,
        student=seeded(lambda: Bag(BUCKETS, 48, len(languages))),
        steps=400,
        batch_size=64,
        learning_rate=1e-2,
        corruption="relabelled",
    )
