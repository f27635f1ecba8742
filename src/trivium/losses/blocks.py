"""A block of rows: its size, its workspace, and the pooled target computed into it, one teacher at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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
    """Rows of a block so that all its buffers together take at most ``WORKSPACE_BYTES`` (one row at the least)."""
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
    """A tensor whose softmax is that of logits / T: ``out`` or, if nothing is to be done, ``logits`` itself.

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


class LinearTarget:
    """q = Σ_k w_k softmax(z_k / T) of a block; ``logits`` gives its teachers' rows one after the other."""

    def pooled(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        """q into ``out``; entries below the dtype's range come out as zero."""
        weights = log_w.exp().to(out.dtype)
        out.zero_()
        for k, entry in enumerate(logits):
            out.addcmul_(probabilities(entry, temperature, scratch), weights[:, k : k + 1])
        return out

    def log_pooled(self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor) -> Tensor:
        """log q into ``out``, also where q is below the dtype's range. Costs another pass; needed by few blocks."""
        scratch = torch.empty_like(out)
        out.fill_(-math.inf)
        for k, entry in enumerate(logits):
            torch.log_softmax(tempered(entry, temperature, scratch), dim=-1, out=scratch)
            torch.logaddexp(out, scratch.add_(log_w[:, k : k + 1].to(out.dtype)), out=out)
        return out


class LogarithmicTarget:
    """q = softmax(Σ_k w_k z_k / T) of a block: no teacher needs its own normalizer."""

    def pooled(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        """q into ``out``; entries below the dtype's range come out as zero."""
        return torch.softmax(self._exponent(logits, log_w, temperature, out, scratch), dim=-1, out=out)

    def log_pooled(self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor) -> Tensor:
        """log q into ``out``, also where q is below the dtype's range. Costs another pass; needed by few blocks."""
        self._exponent(logits, log_w, temperature, out, torch.empty_like(out))
        return torch.log_softmax(out, dim=-1, out=out)

    def _exponent(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        weights = log_w.exp()
        absent = weights == 0
        weights = (weights / temperature).to(out.dtype)
        out.zero_()
        for k, entry in enumerate(logits):
            if entry.dtype != out.dtype:
                entry = scratch.copy_(entry)
            # Centred on its maximum, a teacher's heavy entries add up without the rounding of a common offset.
            torch.sub(entry, entry.amax(dim=-1, keepdim=True), out=scratch)
            if bool(absent[:, k].any()):
                # 0·(−inf) is 0 here, but a NaN must stay one.
                scratch.masked_fill_(absent[:, k : k + 1] & torch.isneginf(scratch), 0.0)
            out.addcmul_(scratch, weights[:, k : k + 1])
        return out


TARGETS: dict[str, LinearTarget | LogarithmicTarget] = {"linear": LinearTarget(), "log": LogarithmicTarget()}
