"""The arrays of ``language_id``: hashed n-grams, script and length of each string, and what the detectors say."""

from __future__ import annotations

import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np

from benchmarks.study.arrays import log_probabilities
from benchmarks.study.builders import detectors

SIZES = {"train": 5_000, "validation": 600, "test": 3_000}
SCRIPTS = ("Latin", "Cyrillic", "other")
BUCKETS, GRAMS = 4096, 160


def build(work: Path) -> dict[str, np.ndarray]:
    """All arrays; the detectors take a minute."""
    texts, labels = detectors.strings()
    scores: list[np.ndarray] = []
    named = detectors.detectors()
    for name, detector in named.items():
        print(f"{name} reads {len(texts)} strings", flush=True)
        scores.append(np.stack([detectors.row(detector(text)) for text in texts]))
    arrays = {"languages": np.array(detectors.LOCALES), "teachers": np.array(list(named))}
    stacked, label = np.stack(scores), np.array(labels)
    order, start = np.random.default_rng(3).permutation(len(texts)), 0
    for name, size in SIZES.items():
        index = order[start : start + size]
        start += size
        arrays |= {
            f"x_{name}": np.stack([grams(texts[i]) for i in index]),
            f"y_{name}": label[index].astype(np.int64),
            f"task_{name}": np.array([SCRIPTS.index(script(texts[i])) for i in index]),
            f"domain_{name}": np.array([int(len(texts[i]) > 25) + int(len(texts[i]) > 60) for i in index]),
            f"logits_{name}": np.stack([log_probabilities(s, 1e-2) for s in stacked[:, index]]),
        }
    return arrays


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


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **build(Path(sys.argv[2])))
