"""Arrays of a setting, made once by a builder and kept in the work folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.study.fetch import ROOT, environment

SPLITS = ("train", "validation", "test")


def built(name: str, work: Path) -> dict[str, np.ndarray]:
    """The arrays of ``builders/NAME.py``; made where there are none, in the study's environment."""
    path = work / "data" / f"{name}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        command = [str(environment(work)), "-m", f"benchmarks.study.builders.{name}", str(part), str(work)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        part.replace(path)  # moved, so never half
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def log_probabilities(p: np.ndarray, least: float = 1e-4) -> np.ndarray:
    """log of probabilities mixed with ``least`` of uniform: hard classifiers give zeros, and a KL needs mass."""
    p = p / p.sum(-1, keepdims=True)
    return np.log((1 - least) * p + least / p.shape[-1]).astype(np.float32)
