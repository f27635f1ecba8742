"""What bounding makes of one user's rule: constants that hold over its whole box, for schemes that are built on it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from trivium.certification.specification import Specification
from trivium.certification.verify.bounds import Unsupported
from trivium.certification.verify.goals import Goal, goals
from trivium.certification.verify.interpreter import Reading
from trivium.certification.verify.search import BranchAndBound, Outcome
from trivium.certification.verify.verify import SPEED, read, timer
from trivium.simplex.constants import Constants
from trivium.weighting.base import UserRule

#: Processor seconds for one kind of goal, about. Not the caller's: the constants of a certificate must come out again.
WORK = 0.5
#: The clock only ends a search that takes this many times as long; its bound is then the one of the whole box.
PATIENCE = 4.0
#: A bound is accepted this much above the largest value that was seen.
SLACKS = (0.02, 0.2)


def bounded_leaf(rule: UserRule, num_teachers: int) -> Constants | None:
    """Return gaps and regularity of a plain PyTorch rule, proved by branch and bound over its box; None where it is not
    normalized and positive there, or uses an operation that is not bounded.

    gap[j, k] is a lower bound of log(w_j/w_k). The bound on Σ_i |∂(log w_j − log w_k)/∂u_i|, the sum over all
    coordinates of all features, serves as the constant of each feature. Cost: a second or two of bounding.
    """
    if type(rule) is not UserRule:
        return None
    asked = goals(Specification(num_teachers, influence=0.0, lipschitz=0.0))
    try:
        program = read(rule, num_teachers, torch.float32)
        with torch.no_grad():
            for axiom in ("W-N", "W-P"):
                if not _run(program, asked[axiom]).proved:
                    return None
            ratios, slopes = _least(program, asked["W-B"]), _least(program, asked["W-R"])
    except Unsupported:
        return None
    except (RuntimeError, IndexError, OverflowError, MemoryError):  # shapes that no operation foresaw
        return None
    if ratios is None:
        return None
    log_ratio = torch.zeros(num_teachers, num_teachers, dtype=torch.float64)
    for goal, above in zip(asked["W-B"], ratios.tolist(), strict=True):
        log_ratio[goal.k, goal.j] = -above
    steep = math.inf if slopes is None else float(slopes.clamp(min=0.0).max()) if len(slopes) else 0.0
    return Constants(log_ratio, dict.fromkeys(rule.ranges, steep))


def _least(program: Reading, wanted: list[Goal]) -> Tensor | None:
    """For each goal the least bound that was proved, or None: the whole box at once, then close to what is seen."""
    if not wanted:
        return torch.zeros(0, dtype=torch.float64)
    free = _run(program, [replace(goal, limit=math.inf) for goal in wanted])
    for slack in SLACKS:
        near = free.attained + slack * free.attained.abs().clamp(min=0.05)
        limits = zip(wanted, torch.minimum(near, free.worst).tolist(), strict=True)
        outcome = _run(program, [replace(goal, limit=limit) for goal, limit in limits])
        if outcome.proved:
            return outcome.worst
    return free.worst if free.proved and bool(free.worst.isfinite().all()) else None


def _run(program: Reading, wanted: list[Goal]) -> Outcome:
    return BranchAndBound(program, torch.float32, wanted, WORK * SPEED, timer(PATIENCE * WORK)).run()
