"""A fixed map from the example's domain to a teacher, for data whose domain is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale, count_teachers


@dataclass(frozen=True)
class DomainMap(Rule):
    """log w_k = 0 for the teacher that the map names, −budget for the others, then normalized.

    Args:
        teacher_of: the teacher's index for each domain, in the order of the data's domains; −1 for none (uniform).
        budget: influence of the choice in nats; 16 is a hard choice to float32 (other weights 1.1e-7).

    MOPD's routing is the limit budget → ∞, which breaks W-P; a finite budget keeps it. The domain index is
    discrete, so W-R holds with L = budget·2 in the sup metric (distinct domains lie at least 1 apart).
    Constants: β = budget. Cost O(K).

    >>> DomainMap((1, 0), budget=2.0).log_weights({"domain": torch.tensor([0.]), "x": torch.zeros(2)}).exp()
    tensor([0.1192, 0.8808])
    """

    teacher_of: tuple[int, ...]
    budget: float = 4.0
    scale: Scale = "context"
    name: ClassVar[str] = "domain_map"

    def __post_init__(self) -> None:
        require(len(self.teacher_of) > 0, "a domain map must map at least one domain", "none", "List the domains.")
        require(min(self.teacher_of) >= -1, "a domain map must hold teachers' indices, or -1 for none", self.teacher_of)
        require(
            math.isfinite(self.budget) and self.budget >= 0,
            "an influence budget must be a number of nats ≥ 0",
            self.budget,
            "Use 4 when in doubt.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        last = max(1.0, len(self.teacher_of) - 1.0)
        return {"domain": BUILT_IN["domain"]._replace(high=last)}

    def _rows(self, num_teachers: int) -> Tensor:
        require(
            max(self.teacher_of) < num_teachers,
            "a domain map must name existing teachers",
            f"index {max(self.teacher_of)} with {num_teachers} teachers",
            "Indices count from 0 in the order of the recipe's teachers.",
        )
        rows = torch.full((len(self.teacher_of), num_teachers), -float(self.budget), dtype=torch.float64)
        for row, teacher in zip(rows, self.teacher_of, strict=True):
            row[slice(None) if teacher < 0 else teacher] = 0.0
        return torch.log_softmax(rows, dim=-1)

    def log_weights(self, features: Features) -> Tensor:
        domain = self.admit(features)["domain"].squeeze(-1)
        index = domain.round().long().clamp_max(len(self.teacher_of) - 1)
        num_teachers = count_teachers(features)
        rows = self._rows(num_teachers).to(
            domain if domain.is_floating_point() else domain.to(torch.get_default_dtype())
        )
        return rows.index_select(0, index.flatten()).view(*index.shape, num_teachers)

    def constants(self, num_teachers: int) -> Constants:
        rows = self._rows(num_teachers)
        log_ratio = (rows.unsqueeze(-1) - rows.unsqueeze(-2)).amin(dim=0)
        return Constants(log_ratio, {"domain": 2.0 * self.budget})

    def formula(self) -> str:
        pairs = ", ".join(f"{d}→{'any' if t < 0 else t}" for d, t in enumerate(self.teacher_of))
        return f"map({pairs} | β ≤ {self.budget:g})"
