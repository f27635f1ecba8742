"""The pooled target of a block of rows, computed one teacher at a time into buffers that are there already."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from trivium.aggregation import PowerPool, make_pool
from trivium.aggregation.power import power_step
from trivium.losses.blocks import probabilities, tempered

# A power step has about ten temporaries; on a tenth of the rows at a time they take one buffer of the block.
_PARTS = 10


class Target(Protocol):
    """A pool that is computed one teacher at a time."""

    @property
    def vetoes(self) -> str:
        """What to call the pool if one teacher with weight can rule an entry out in it; empty if none can."""
        ...

    def pooled(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        """q into ``out``."""
        ...

    def log_pooled(self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor) -> Tensor:
        """log q into ``out``."""
        ...


class LinearTarget:
    """q = Σ_k w_k softmax(z_k / T) of a block; ``logits`` gives its teachers' rows one after the other."""

    vetoes = ""

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

    vetoes = "logarithmic"

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


class PowerTarget:
    """q ∝ (Σ_k w_k softmax(z_k / T)^ρ)^{1/ρ} of a block, as a running power mean of log-probabilities."""

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent
        self.vetoes = "power (of a negative exponent)" if exponent < 0 else ""

    def pooled(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        """q into ``out``; entries below the dtype's range come out as zero."""
        return torch.softmax(self._mean(logits, log_w, temperature, out, scratch), dim=-1, out=out)

    def log_pooled(self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor) -> Tensor:
        """log q into ``out``, also where q is below the dtype's range. Costs another pass; needed by few blocks."""
        self._mean(logits, log_w, temperature, out, torch.empty_like(out))
        return torch.log_softmax(out, dim=-1, out=out)

    def _mean(
        self, logits: Iterable[Tensor], log_w: Tensor, temperature: float, out: Tensor, scratch: Tensor
    ) -> Tensor:
        before = torch.logcumsumexp(log_w, dim=-1).to(out.dtype)
        here = log_w.to(out.dtype)
        size = max(1, -(-out.shape[0] // _PARTS))
        broken = torch.zeros(out.shape[0], 1, dtype=torch.bool, device=out.device)
        for k, entry in enumerate(logits):
            torch.log_softmax(tempered(entry, temperature, scratch), dim=-1, out=scratch if k else out)
            for start in range(0, out.shape[0] if k else 0, size):
                part = slice(start, start + size)
                earlier, own = before[part, k - 1 : k], here[part, k : k + 1]
                out[part] = power_step(out[part], scratch[part], earlier, own, self.exponent)
            # A row that is no distribution is NaN throughout, and is reported also where it has no weight.
            broken |= (scratch if k else out)[:, :1].isnan()
        return out.masked_fill_(broken, math.nan)


_TARGETS: dict[str, Target] = {"linear": LinearTarget(), "log": LogarithmicTarget()}


def target_of(pool: str, exponent: float | None) -> Target:
    """Return the streaming form of :func:`trivium.aggregation.make_pool`'s answer."""
    made = make_pool(pool, exponent)
    return PowerTarget(made.exponent) if isinstance(made, PowerPool) else _TARGETS[made.name]
