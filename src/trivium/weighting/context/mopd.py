"""MOPD routing: each domain has one teacher, which gets all the weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale, count_teachers


@dataclass(frozen=True)
class MOPD(Rule):
    """w = one-hot at the teacher of the example's domain.

    Args:
        teacher_of: the teacher's index for each domain, in the order of the data's domains.

    Constants: none to declare. All other teachers weigh 0 (W-P), and two domains with different teachers are
    infinitely far apart in d_H (W-R). The conforming form is ``domain_map`` with a budget, whose limit this is.
    Cost O(K). Source: the routing of multi-teacher on-policy distillation, by a key of the row, as in TRL
    (``teacher_id``), verl and AReaL.

    Raises:
        InputError: no domains, a domain without a teacher, or, when evaluated, a teacher that does not exist.

    >>> MOPD((1, 0)).log_weights({"domain": torch.tensor([0.0]), "x": torch.zeros(2)}).exp()
    tensor([0., 1.])
    """

    teacher_of: tuple[int, ...]
    scale: Scale = "context"
    name: ClassVar[str] = "mopd"

    def __post_init__(self) -> None:
        require(len(self.teacher_of) > 0, "routing must map at least one domain", "none", "List the domains.")
        require(
            min(self.teacher_of) >= 0,
            "routing must give every domain its teacher",
            self.teacher_of,
            "Use `domain_map` where a domain has none.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        last = max(1.0, len(self.teacher_of) - 1.0)
        return {"domain": BUILT_IN["domain"]._replace(high=last)}

    def log_weights(self, features: Features) -> Tensor:
        domain = self.admit(features)["domain"].squeeze(-1)
        num_teachers = count_teachers(features)
        self._check(num_teachers)
        index = domain.round().long().clamp_max(len(self.teacher_of) - 1)
        chosen = torch.tensor(self.teacher_of, device=domain.device)[index].unsqueeze(-1)
        dtype = domain.dtype if domain.is_floating_point() else torch.get_default_dtype()
        closed = torch.full((*index.shape, num_teachers), -torch.inf, dtype=dtype, device=domain.device)
        return closed.scatter(-1, chosen, 0.0)

    def constants(self, num_teachers: int) -> None:
        """Nothing, but a teacher that does not exist is refused here, before anything runs."""
        self._check(num_teachers)

    def _check(self, num_teachers: int) -> None:
        require(
            max(self.teacher_of) < num_teachers,
            "routing must name existing teachers",
            f"index {max(self.teacher_of)} with {num_teachers} teachers",
            "Indices count from 0 in the order of the recipe's teachers.",
        )

    def formula(self) -> str:
        return f"route({', '.join(f'{domain}→{teacher}' for domain, teacher in enumerate(self.teacher_of))})"
