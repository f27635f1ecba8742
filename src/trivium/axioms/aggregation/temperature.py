"""A-T(a): pooling commutes with a common temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Pooling, tempered
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.geometry import total_variation
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class TemperatureCommutation(TransformAxiom):
    """A-T(a), temperature coherence: soften, then pool, or pool, then soften: the same, for every T > 0.

    The axiom is known by name only; this is our reading of it. It matters because a loss at temperature T may pool
    softened teachers or soften the pool, and papers do either.
    """

    id, name = "A-T(a)", "commutes with a common temperature"
    statement = "TV(G(p^{1/T}), G(p)^{1/T}) ≤ 0, each normalized"

    def residual(self, pool: Pooling, log_p: Sequence[Tensor], log_w: Tensor, *, temperature: float) -> Tensor:
        """TV of the two orders [...]."""
        soften_first = pool([tempered(entry, temperature) for entry in log_p], log_w)
        pool_first = tempered(pool(log_p, log_w), temperature)
        return total_variation(soften_first.double(), pool_first.double()).to(soften_first.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4): relative errors of logarithms of size ``scale``, and two normalizers."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)
