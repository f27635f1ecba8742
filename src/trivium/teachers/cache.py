"""Teachers' logits computed once and shared by runs, looked up by row, never by step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.teachers.live import Reader

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LogitCache:
    """Float16 logits of K teachers on a fixed table of rows.

    Float16 keeps a logit of magnitude below 16 to 0.008 nats. Disk: rows · T · V · 2 bytes a teacher.
    """

    names: tuple[str, ...]
    arrays: tuple[np.memmap, ...]

    def logits(self, rows: Tensor) -> list[Tensor]:
        """K tensors [B, T, V] in float16 for row numbers [B]."""
        index = rows.cpu().numpy()
        return [torch.from_numpy(array[index]) for array in self.arrays]


def cached_logits(
    teachers: Sequence[Reader], inputs: Any, folder: Path, batch: int = 16, progress: Progress | None = None
) -> LogitCache:
    """The cache of these teachers on these rows, computed where it is not on disk yet.

    Args:
        teachers: K teachers with a common vocabulary of V entries.
        inputs: token ids [rows, T], or other rows with a length, a shape (rows, T), a ``digest()`` and a tensor's
            indexing and ``to``.
        folder: where the files live. A file's name holds the teacher's fingerprint and a hash of the rows, so a
            changed teacher or text never meets stale logits; an interrupted file is written anew.
        progress: called with (teacher, rows done, rows).

    Raises:
        TeacherError: a teacher whose logits are not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = _digest(inputs)
    arrays = [_one(t, inputs, folder / f"{t.fingerprint}-{rows}", batch, progress) for t in teachers]
    return LogitCache(tuple(t.name for t in teachers), tuple(arrays))


def _digest(inputs: Any) -> str:
    if not isinstance(inputs, Tensor):
        return str(inputs.digest())
    return hashlib.sha256(inputs.contiguous().numpy().tobytes()).hexdigest()[:16]


def _one(teacher: Reader, inputs: Any, stem: Path, batch: int, progress: Progress | None) -> np.memmap:
    shape = (*inputs.shape, teacher.vocabulary_size)
    data, done = stem.with_suffix(".f16"), stem.with_suffix(".json")
    marker = {"teacher": teacher.name, "fingerprint": teacher.fingerprint, "shape": list(shape)}
    if not (data.exists() and _shape_in(done) == marker["shape"]):
        done.unlink(missing_ok=True)  # else an interruption from here on would leave old trust in new data
        array = np.memmap(data, dtype=np.float16, mode="w+", shape=shape)
        for start in range(0, len(inputs), batch):
            logits = teacher.logits(inputs[start : start + batch].to(teacher.device))
            limit = torch.finfo(torch.float16).max
            array[start : start + batch] = logits.float().clamp_max(limit).to(torch.float16).cpu().numpy()
            if progress is not None:
                progress(teacher.name, min(start + batch, len(inputs)), len(inputs))
        array.flush()
        # The marker comes last: without it the data is not trusted.
        done.write_text(json.dumps(marker), encoding="utf-8")
    return np.memmap(data, dtype=np.float16, mode="r", shape=shape)


def _shape_in(marker: Path) -> object:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))["shape"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
