"""Projections that a general conic solver solved, kept so that T6 is compared without one installed."""

from __future__ import annotations

from typing import NamedTuple

from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order


class SolvedProjection(NamedTuple):
    """A projection with the solution of a general conic solver (Clarabel, tolerances 1e-10), exact to about 1e-5:
    near its minimum KL is flat, so a gap of 1e-10 in the objective leaves that much freedom in the weights.
    """

    w: tuple[float, ...]
    floor: float
    cap: float
    tiers: tuple[tuple[int, ...], ...]
    order_margin: float
    solution: tuple[float, ...]

    @property
    def conforming_set(self) -> ConformingSet:
        """C(a, b, ≽, m) of the case."""
        order = Order(self.tiers) if self.tiers else None
        return ConformingSet(len(self.w), self.floor, self.cap, order, self.order_margin)


CASES: tuple[SolvedProjection, ...] = (
    SolvedProjection((0.98, 0.01, 0.01), 0.1, 0.5, (), 0.0, (0.5, 0.250000911, 0.249999089)),
    SolvedProjection((0.7, 0.2, 0.1), 0.0, 0.4, (), 0.0, (0.4, 0.399997754, 0.200002246)),
    SolvedProjection((0.25, 0.25, 0.3, 0.2), 0.22, 1.0, (), 0.0, (0.243749819, 0.243749819, 0.292500361, 0.22)),
    SolvedProjection((0.1, 0.2, 0.7), 0.0, 1.0, ((0,), (1,), (2,)), 0.0, (0.333333333, 0.333333333, 0.333333333)),
    SolvedProjection((0.1, 0.2, 0.7), 0.05, 0.6, ((0,), (1,), (2,)), 0.5, (0.506480391, 0.307195886, 0.186323723)),
    SolvedProjection(
        (0.01, 0.9, 0.05, 0.04),
        0.1,
        0.5,
        ((3,), (0, 2), (1,)),
        0.2,
        (0.247516573, 0.20264943, 0.247516573, 0.302317425),
    ),
    SolvedProjection(
        (0.999997, 1e-06, 1e-06, 1e-06),
        0.02,
        0.9,
        ((1,), (0,), (2, 3)),
        0.0,
        (0.479999999, 0.479999999, 0.020000001, 0.020000001),
    ),
    SolvedProjection(
        (0.333333333, 0.333333333, 0.333333333),
        0.0,
        1.0,
        ((2,), (1,), (0,)),
        0.3,
        (0.239694479, 0.323553704, 0.436751817),
    ),
    SolvedProjection(
        (0.05, 0.15, 0.2, 0.25, 0.35),
        0.08,
        0.3,
        ((0, 1), (2,), (3, 4)),
        0.1,
        (0.220152838, 0.220152838, 0.199202526, 0.180245899, 0.180245899),
    ),
    SolvedProjection(
        (0.3, 0.02, 0.08, 0.4, 0.15, 0.05),
        0.05,
        0.28,
        ((5,), (1, 2, 3), (0, 4)),
        0.25,
        (0.125217334, 0.16078224, 0.16078224, 0.187388831, 0.125217334, 0.240612021),
    ),
    SolvedProjection((0.6, 0.4), 0.3, 0.55, (), 0.0, (0.55, 0.45)),
    SolvedProjection((0.9, 0.1), 0.0, 1.0, ((1,), (0,)), 1.0, (0.268941421, 0.731058579)),
)
