"""Teachers' distributions computed once and shared by runs, looked up by row, never by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.store.codec import relative
from trivium.store.files import Request, stored
from trivium.store.identity import Identity, of_tensor, versions
from trivium.store.kept import Kept
from trivium.teachers.live import Reader
from trivium.teachers.probes import identified

Progress = Callable[[str, int, int], None]
#: Raised when what is kept of a teacher changes: what was kept before is then computed anew.
_FORMAT = 2


@dataclass(frozen=True)
class LogitCache:
    """The distributions of K teachers on a fixed table of rows, each log p to :data:`trivium.store.codec.ERROR` nats.

    Disk: rows · T · V · 2 bytes a teacher, 4 where an entry is e⁻⁶⁴ of the likeliest, which float16 keeps too badly.
    """

    names: tuple[str, ...]
    arrays: tuple[Kept, ...]

    def logits(self, rows: Tensor) -> list[Tensor]:
        """K tensors [B, T, V], float16 or float32, for row numbers [B]: logits whose largest is 0.

        Raises:
            InputError: a row is not as it was written.
        """
        index = rows.cpu().numpy()
        return [torch.from_numpy(array[index]) for array in self.arrays]

    @property
    def bytes(self) -> int:
        """What they take on disk."""
        return sum(array.nbytes for array in self.arrays)


def cached_logits(
    teachers: Sequence[Reader],
    inputs: Any,
    folder: Path,
    batch: int = 16,
    progress: Progress | None = None,
    limit: float = float("inf"),
    shape: Sequence[int] | None = None,
) -> LogitCache:
    """Return the cache of these teachers on these rows, computed where it is not on disk yet.

    Runs that share a folder take turns: one computes, the others wait and read.

    Args:
        teachers: K teachers with a common vocabulary of V entries.
        inputs: token ids [rows, T], or other rows with a length, a ``digest()`` and a tensor's indexing and ``to``.
        folder: where the files live. A file's name is a hash of all that its numbers depend on, so a changed teacher or
            text never meets stale ones; an interrupted file is gone on with.
        progress: called with (teacher, rows done, rows).
        limit: bytes that all of it may take.
        shape: (rows, T); None: that of ``inputs``.

    Raises:
        TeacherError: a teacher whose logits are not finite. InputError: no room.
    """
    rows = of_tensor(inputs) if isinstance(inputs, Tensor) else str(inputs.digest())
    arrays: list[Kept] = []
    for teacher in teachers:
        left = limit - sum(array.nbytes for array in arrays)
        whole = (*(inputs.shape if shape is None else shape), teacher.vocabulary_size)
        arrays.append(stored(folder, _request(teacher, inputs, rows, whole, batch, progress, left)))
    return LogitCache(tuple(t.name for t in teachers), tuple(arrays))


def _request(
    teacher: Reader,
    inputs: Any,
    rows: str,
    shape: tuple[int, ...],
    batch: int,
    progress: Progress | None,
    limit: float,
) -> Request:
    def compute(start: int, stop: int) -> Tensor:
        return relative(teacher.logits(inputs[start:stop].to(teacher.device)))

    def waiting() -> None:
        if progress is not None:
            progress(f"{teacher.name}, which another run reads now,", 0, len(inputs))

    def told(done: int) -> None:
        if progress is not None:
            progress(teacher.name, done, len(inputs))

    def anew(reason: str) -> None:
        if progress is not None:
            progress(f"{teacher.name}, whose kept file {reason},", 0, len(inputs))

    parts = {
        "format": _FORMAT,
        "teacher": identified(teacher, inputs),
        "rows": rows,
        "shape": list(shape),
        "libraries": versions(),
    }
    return Request(
        Identity(parts), shape, compute, f"what teacher {teacher.name!r} says", batch, limit, told, waiting, anew
    )
