"""Which of 24 languages a short string is in: Django's translations, seven language detectors, hashed n-grams.

What a rule may know of a string is its script (task) and its length (domain); its language is the oracle's alone.
"""

from __future__ import annotations

import subprocess
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.study.fetch import environment
from benchmarks.study.setting import SPLITS, Bag, Setting, cached, log_probabilities, one_label, seeded

SIZES = {"train": 5_000, "validation": 600, "test": 3_000}
SCRIPTS = ("Latin", "Cyrillic", "other")
LENGTHS = ("short", "middle", "long")
BUCKETS, GRAMS = 4096, 160


def load(work: Path) -> Setting:
    arrays = cached(work / "data" / "language_id.npz", lambda: _build(work))
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
        teachers=tuple(arrays["teachers"].tolist()),
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


def _build(work: Path) -> dict[str, np.ndarray]:
    raw = work / "data" / "detectors.npz"
    if not raw.is_file():
        raw.parent.mkdir(parents=True, exist_ok=True)
        reader = Path(__file__).with_name("detectors.py")
        subprocess.run([str(environment(work)), str(reader), str(raw)], check=True)
    with np.load(raw, allow_pickle=False) as arrays:
        texts, labels, scores = arrays["texts"].tolist(), arrays["labels"], arrays["scores"]
        found = {"languages": arrays["languages"], "teachers": arrays["teachers"]}
    draw = np.random.default_rng(3)
    order, start = draw.permutation(len(texts)), 0
    for name, size in SIZES.items():
        index = order[start : start + size]
        start += size
        found |= {
            f"x_{name}": np.stack([grams(texts[i]) for i in index]),
            f"y_{name}": labels[index].astype(np.int64),
            f"task_{name}": np.array([SCRIPTS.index(script(texts[i])) for i in index]),
            f"domain_{name}": np.array([int(len(texts[i]) > 25) + int(len(texts[i]) > 60) for i in index]),
            f"logits_{name}": np.stack([log_probabilities(s, 1e-2) for s in scores[:, index]]),
        }
    return found


def grams(text: str) -> np.ndarray:
    """Hashed character 1- to 3-grams with marked word ends, at most GRAMS of them; 0 pads."""
    marked = f" {text.lower()} "
    pieces = [marked[i : i + n] for n in (1, 2, 3) for i in range(len(marked) - n + 1)]
    if len(pieces) > GRAMS:
        pieces = pieces[:: -(-len(pieces) // GRAMS)]
    hashed = [zlib.crc32(piece.encode()) % (BUCKETS - 1) + 1 for piece in pieces]
    return np.array(hashed + [0] * (GRAMS - len(hashed)), dtype=np.uint16)


def script(text: str) -> str:
    """The script of most letters."""
    names = [unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()]
    counts = {"Latin": names.count("LATIN"), "Cyrillic": names.count("CYRILLIC")}
    counts["other"] = len(names) - sum(counts.values())
    return max(counts, key=lambda name: counts[name])
