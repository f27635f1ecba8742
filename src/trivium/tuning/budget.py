"""How much influence a search may give away, and how it is divided."""

from __future__ import annotations

import math

from trivium.certification.calculus import derive
from trivium.errors import require
from trivium.scheme import Conform, OnCritical, Scheme
from trivium.simplex.constants import bounded
from trivium.training.recipe import SchemeSection
from trivium.weighting.features import SCALES, Scale

#: Of the room; a fiftieth of it is as good as no rule.
LEAST_SHARE = 0.02
_DEFAULT_BUDGET = 4.0
_DECIMALS = 6


def default_budget(section: SchemeSection) -> float:
    """What the recipe's scheme may spend in all, in nats, where it says so; else 4.

    >>> default_budget(SchemeSection(budget=3.0)), default_budget(SchemeSection())
    (3.0, 4.0)
    """
    budget = section.budget
    if isinstance(budget, dict):
        present = [scale for scale in SCALES if getattr(section, scale)]
        complete = present and all(scale in budget for scale in present)
        return sum(budget[scale] for scale in present) if complete else _DEFAULT_BUDGET
    return _DEFAULT_BUDGET if budget is None else float(budget)


def room_under(budget: float, bare: Scheme) -> float:
    """The influence that rules may have so that the whole keeps the budget: what the margin of a safety order adds in
    the projection (T6) is taken off.

    Raises:
        InputError: an order whose margin alone uses the budget up.
    """
    projection, teachers = bare.root, len(bare.teachers)
    if not isinstance(projection, Conform | OnCritical):
        return budget
    reached = projection.constants(bounded(teachers, budget, {})).influence
    if reached <= budget:
        return budget
    room = budget - (reached - budget)
    kept = room > 0 and projection.constants(bounded(teachers, room, {})).influence <= budget * (1 + 1e-12)
    require(
        kept,
        "--budget must leave the rules something beside the margin of the safety order",
        f"{budget:g} nats, {reached:.4g} with the margin",
        "Raise it, or lower scheme.margin.",
    )
    return room


def shares_of(scheme: Scheme, room: float) -> dict[Scale, float]:
    """The share of the room that each scale of a scheme may use as written, by its constants."""
    influences = {s: derive(part, len(scheme.teachers)).constants.influence for s, part in scheme.scales.items()}
    return {scale: min(1.0, max(LEAST_SHARE, value / room)) for scale, value in influences.items()}


def down(budget: float) -> float:
    """Six decimals, rounded down, so that budgets rounded one by one do not exceed their sum; 1e−13 forgives the last
    bit of a number that was such a decimal before it was divided."""
    unit = 10.0**_DECIMALS
    return math.floor(budget * unit + 1e-7) / unit
