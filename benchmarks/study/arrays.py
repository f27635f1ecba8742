"""Arrays of a setting, made once by a builder and kept in the work folder.

Builders import this in the study's environment, which has neither Trivium nor torch: what needs them is imported where
it is called, by whoever has them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.study.fetch import NPM, REQUIREMENTS, ROOT, environment

if TYPE_CHECKING:
    from trivium.store.identity import Identity

SPLITS = ("train", "validation", "test")


def built(name: str, work: Path) -> dict[str, np.ndarray]:
    """The arrays of ``builders/NAME.py``, made in the study's environment where there are none, or where what made
    those that there are has changed since."""
    from trivium.store.files import replace_text
    from trivium.store.identity import canonical

    path = work / "data" / f"{name}.npz"
    wanted = canonical(origin(name).parts)
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file() and note.read_text(encoding="utf-8") == wanted):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        command = [str(environment(work)), "-m", f"benchmarks.study.builders.{name}", str(part), str(work)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        note.unlink(missing_ok=True)
        part.replace(path)  # moved, so never half
        replace_text(note, wanted)
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def origin(name: str) -> Identity:
    """What a setting's arrays depend on: its builder, what builders share, and the pinned packages."""
    from trivium.store.code import sha256_of
    from trivium.store.identity import Identity

    folder, settings = Path(__file__).parent / "builders", Path(__file__).parent / "settings"
    others = {path.stem for path in settings.glob("*.py")} - {name, "__init__"}
    files = [path for path in sorted(folder.glob("*.py")) if path.stem not in others]
    pins = [REQUIREMENTS, ROOT / "constraints.txt", Path(__file__)]
    return Identity({"files": {path.name: sha256_of(path) for path in [*files, *pins]}, "packages": NPM})


def log_probabilities(p: np.ndarray, least: float = 1e-4) -> np.ndarray:
    """log of probabilities mixed with ``least`` of uniform: hard classifiers give zeros, and a KL needs mass."""
    p = p / p.sum(-1, keepdims=True)
    return np.log((1 - least) * p + least / p.shape[-1]).astype(np.float32)
