"""Teachers run anew for every batch: no disk, K forward passes a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from trivium.teachers.huggingface import Teacher


class LogitSource(Protocol):
    """K teachers on a fixed table of rows: cached on disk or live."""

    def logits(self, rows: Tensor) -> list[Tensor]:
        """K tensors [B, T, V] for row numbers [B]."""
        ...


@dataclass(frozen=True)
class LiveLogits:
    """Logits computed on demand, on the teachers' device and in their precision."""

    teachers: Sequence[Teacher]
    input_ids: Tensor

    def logits(self, rows: Tensor) -> list[Tensor]:
        batch = self.input_ids[rows.cpu()]
        return [teacher.logits(batch.to(next(teacher.model.parameters()).device)) for teacher in self.teachers]
