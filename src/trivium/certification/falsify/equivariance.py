"""Whether the order in which teachers are listed matters. No axiom asks it; a rule may claim it."""

from __future__ import annotations

import torch

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.points import Points
from trivium.certification.falsify.probe import Probe, quiet
from trivium.weighting.base import Operator


def equivariance(operator: Operator, num_teachers: int, *, rows: int = 1024, seed: int = 0) -> float:
    """max |w(u∘σ) − w(u)∘σ| over points of the feature box and permutations σ of the teachers.

    0 up to rounding for a rule that treats teachers alike, such as a softmax of scores; +inf where only one side is a
    number. A prior, a safety order or a table makes a rule depend on who is who. Cost: K + 2 evaluations of ``rows``
    rows in float64.

    >>> from trivium.weighting.token.entropy import Entropy
    >>> equivariance(Entropy(), 3) < 1e-15
    True
    """
    box = Box.of(operator, num_teachers)
    with quiet(seed):
        points, probe = Points(box, seed), Probe(operator, box)
        pool = torch.cat([points.pool(rows // 2), points.tied(points.uniform(rows // 2))])
        plain, _ = probe(pool)
        worst = 0.0
        shifts = [torch.arange(num_teachers).roll(shift) for shift in range(1, num_teachers)]
        for order in (
            *shifts,
            torch.arange(num_teachers).flip(0),
            torch.randperm(num_teachers, generator=points.generator),
        ):
            moved = pool.clone()
            for group in box.groups:
                if len(group) == num_teachers:
                    moved[:, group] = pool[:, group[order]]
                elif len(group) == num_teachers**2:  # a pairwise feature: rows and columns move together
                    moved[:, group] = pool[:, group.view(num_teachers, num_teachers)[order][:, order].flatten()]
            change = (probe(moved)[0] - plain[:, order]).abs()
            worst = max(worst, float(change.nan_to_num(nan=float("inf"))[plain.isfinite().all(dim=-1)].max()))
    return worst
