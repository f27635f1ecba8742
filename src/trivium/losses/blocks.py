"""A block of rows: its size, its workspace, and a model's probabilities computed into it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

WORKSPACE_BYTES = 8 * 2**20

# The five of a Workspace, a copy of rows between masked ones, and for the rare pass in log space two and its masks.
_BUFFERS = 9

Rows = slice | Tensor


@dataclass(frozen=True)
class Workspace:
    """Buffers [rows, V] in the dtype of the computation, reused by every block; ``head(n)`` is their first n rows."""

    student: Tensor
    target: Tensor
    difference: Tensor
    ratio: Tensor
    scratch: Tensor

    @classmethod
    def allocate(cls, rows: int, like: Tensor, dtype: torch.dtype) -> Workspace:
        return cls(*(like.new_empty((rows, like.shape[-1]), dtype=dtype) for _ in range(5)))

    def head(self, rows: int) -> Workspace:
        if rows == self.student.shape[0]:
            return self
        buffers = (self.student, self.target, self.difference, self.ratio, self.scratch)
        return Workspace(*(buffer[:rows] for buffer in buffers))


def block_rows(vocabulary: int, dtype: torch.dtype) -> int:
    """Return rows of a block so that all its buffers together take at most ``WORKSPACE_BYTES`` (one row at the
    least)."""
    return max(1, WORKSPACE_BYTES // (_BUFFERS * max(vocabulary, 1) * dtype.itemsize))


def blocks(rows: int, selected: Tensor | None, size: int) -> Iterator[tuple[Rows, slice]]:
    """Pairs (rows of the input, place among the selected rows). Neighbours are a slice, which copies nothing."""
    if selected is None:
        for start in range(0, rows, size):
            place = slice(start, min(start + size, rows))
            yield place, place
        return
    indices = selected.tolist()
    for start in range(0, len(indices), size):
        place = slice(start, min(start + size, len(indices)))
        first, last = indices[start], indices[place.stop - 1]
        adjacent = last - first + 1 == place.stop - start
        yield (slice(first, last + 1) if adjacent else selected[place]), place


def probabilities(logits: Tensor, temperature: float, out: Tensor) -> Tensor:
    """softmax(logits / T) into ``out``, computed in its dtype."""
    return torch.softmax(tempered(logits, temperature, out), dim=-1, out=out)


def tempered(logits: Tensor, temperature: float, out: Tensor) -> Tensor:
    """Return a tensor whose softmax is that of logits / T: ``out`` or, if nothing is to be done, ``logits`` itself.

    Logits far from zero lose digits when divided, so their row maximum is taken off first, unless T is a power of
    two and the division exact.
    """
    if logits.dtype != out.dtype:
        logits = out.copy_(logits)
    if temperature == 1.0:
        return logits
    if math.frexp(temperature)[0] == 0.5:
        return torch.div(logits, temperature, out=out)
    return torch.sub(logits, logits.amax(dim=-1, keepdim=True), out=out).div_(temperature)
