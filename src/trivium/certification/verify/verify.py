"""VERIFIED: an axiom that holds at every point of the feature box, by bounding the graph that runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping

import torch

from trivium.certification.specification import Result, Specification
from trivium.certification.verify.bounds import Unsupported
from trivium.certification.verify.goals import ROUNDING, Goal, goals
from trivium.certification.verify.interpreter import Reading
from trivium.certification.verify.rounding import FLOATS
from trivium.certification.verify.search import BranchAndBound, Outcome
from trivium.errors import words_of
from trivium.scheme.words import least, most
from trivium.simplex.rounding import log_slack, weight_slack
from trivium.weighting.base import Operator, UserRule
from trivium.weighting.program import Opaque

#: Entries of Jacobians that one core bounds in a second, about.
SPEED = 1.5e7
#: A search that is slower than expected ends after this many times its seconds of processor time.
PATIENCE = 4.0


def verify(
    operator: Operator,
    specification: Specification,
    *,
    seconds: float = 5.0,
    dtype: torch.dtype = torch.float32,
    over: Callable[[], bool] | None = None,
) -> dict[str, Result]:
    """Bound the graph of a user's rule over its whole feature box.

    VERIFIED means: in real-valued arithmetic the residual is ≤ 0 at every point of the box (an asked bound is met to
    1e-12, relative). All bounds were rounded outward. The weights that the graph computes, each of its nodes in its own
    format, may exceed this by the finding's tolerance: the slack of the axiom in ``dtype``, or, where that is more, the
    rounding bound of the graph, which is at most eight times the slack. No intermediate result overflows its format, no
    divisor or argument of a logarithm leaves its normal range, and where rounding may decide a comparison both outcomes
    are within the bounds. Otherwise the word is NOT FALSIFIED, and ``search`` tells the best bound reached, or which
    operation is not bounded. W-F and W-C are not asked here.

    Args:
        operator: a :class:`~trivium.weighting.base.UserRule`; others are refused.
        question: the axioms, their parameters, and K: the answer is for this number of teachers.
        seconds: effort; the number of sub-boxes follows from it and not from the clock, which only ends a search
            that takes four times as long on the processor.
        dtype: of the features, the format of the run that is bounded.
        over: says when to stop early, in a search that has a limit of its own.

    Returns:
        a finding for each axiom asked.

    >>> import torch
    >>> from trivium.weighting.base import rule
    >>> @rule(scale="token", features={"entropy": (0.0, 12.0)})
    ... def mixed(entropy):
    ...     return 0.85 * torch.softmax(-entropy.clamp(max=4.0), dim=-1) + 0.05
    >>> found = verify(mixed, Specification(3, floor=0.05, lipschitz=2.0))
    >>> [found[axiom].verdict for axiom in ("W-N", "W-P", "W-B", "W-R")]
    ['VERIFIED', 'VERIFIED', 'VERIFIED', 'VERIFIED']
    """
    try:
        if type(operator) is not UserRule:
            raise Unsupported("it bounds rules that are one function of features")
        program = read(operator, specification.num_teachers, dtype)
        with torch.no_grad():
            asked = goals(specification, dtype)
            found = _refused(specification, "W-F is a matter of form, W-C one of inner products of gradients")
            searches = sum(len(_by_kind(wanted)) for wanted in asked.values())
            for axiom, wanted in asked.items():
                outcomes = []
                for group in _by_kind(wanted).values():
                    share = seconds / searches
                    search = BranchAndBound(program, dtype, group, share * SPEED, timer(PATIENCE * share, over))
                    outcomes.append((group, search.run()))
                found[axiom] = _result(axiom, program, dtype, outcomes)
    except Unsupported as refusal:
        return _refused(specification, str(refusal))
    except (RuntimeError, IndexError, OverflowError, MemoryError) as error:  # shapes that no operation foresaw
        return _refused(specification, f"{type(error).__name__}: {' '.join(words_of(error).split())}")
    return {axiom: found[axiom] for axiom in specification.axioms}


def read(rule: UserRule, num_teachers: int, dtype: torch.dtype) -> Reading:
    """Return the graph of a rule, ready to be bounded.

    Raises:
        Unsupported: it has none, or one that is not what the rule is; an operation that is not bounded.
    """
    if not plain(rule) or not rule.ranges:
        raise Unsupported("it bounds rules that are one function of features")
    if dtype not in FLOATS:
        raise Unsupported(f"features of {str(dtype).removeprefix('torch.')}")
    if any(interval.pairwise for interval in rule.ranges.values()):
        raise Unsupported("a pairwise feature is not a box")
    program = rule.program(num_teachers, dtype)
    if isinstance(program, Opaque):
        raise Unsupported(str(program))
    if rule.difference(num_teachers, dtype) is not None:
        raise Unsupported("it means something else on a batch than on a row")
    with torch.no_grad():
        reading = Reading(program, rule.ranges, num_teachers)
        weights, _ = reading.run(reading.low[None], reading.high[None])
    if weights.shape != (num_teachers,):
        raise Unsupported(f"it returns weights of shape {list(weights.shape)}")
    return reading


def timer(seconds: float, over: Callable[[], bool] | None = None) -> Callable[[], bool]:
    """Return whether so much processor time has passed since now, or an outer limit is reached."""
    end = time.process_time() + seconds
    return lambda: time.process_time() > end or (over is not None and over())


def plain(rule: UserRule) -> bool:
    """Return whether a rule computes what its function says: no method of its own was put on the object."""
    return not {name for name in vars(rule) if callable(getattr(UserRule, name, None))}


def strengthen(
    operator: Operator,
    specification: Specification,
    found: Mapping[str, Result],
    settled: Iterable[str],
    seconds: float,
    over: Callable[[], bool] | None = None,
) -> dict[str, Result]:
    """Return the findings of a search, with those that bounding settles VERIFIED, and what it reached told in the
    others.

    ``settled``: axioms that are proved already. An operator with a breach of any kind is not bounded: its function is
    then not what its code seems to say.
    """
    merged = dict(found)
    done = {"W-F", *settled}
    rest = [a for a in specification.axioms if a not in done and found[a].verdict == "NOT FALSIFIED"]
    # Gradients that stand beside the features say nothing of the function.
    broken = any(f.verdict == "VIOLATED" for f in found.values() if f.axiom != "W-C")
    if not rest or type(operator) is not UserRule or broken:
        return merged
    bounded = verify(operator, specification, seconds=seconds, over=over)
    for axiom in rest:
        old, new = found[axiom], bounded[axiom]
        told = f"{old.search}; {new.search}" if old.search else new.search
        merged[axiom] = dataclasses.replace(new if new.verdict == "VERIFIED" else old, search=told)
    return merged


def _by_kind(wanted: list[Goal]) -> dict[str, list[Goal]]:
    kinds: dict[str, list[Goal]] = {}
    for goal in wanted:
        kinds.setdefault(goal.kind, []).append(goal)
    return kinds


def _refused(specification: Specification, why: str) -> dict[str, Result]:
    return {axiom: Result(axiom, "NOT FALSIFIED", None, search=f"not bounded: {why}") for axiom in specification.axioms}


def _told(boxes: int) -> str:
    return f"bounded in real arithmetic over {boxes:,} sub-boxes"


def _result(axiom: str, program: Reading, dtype: torch.dtype, outcomes: list[tuple[list[Goal], Outcome]]) -> Result:
    slack = log_slack(dtype) if axiom in ("W-R", "W-S") else weight_slack(dtype, program.num_teachers)
    # Of W-B, whose goals are of both kinds, each was held against its own slack.
    more = max((min(outcome.rounding, ROUNDING) for _, outcome in outcomes), default=1.0)
    tolerance = 0.0 if axiom == "W-P" else slack * max(1.0, more)
    boxes = sum(outcome.boxes for _, outcome in outcomes)
    told = _told(boxes)
    if not outcomes:
        return Result(axiom, "VERIFIED", None, tolerance, "the whole box", (f"{axiom}: nothing is asked",), told)
    lines, residuals = [], []
    for group, outcome in outcomes:
        for name in dict.fromkeys(goal.name for goal in group):
            places = [place for place, goal in enumerate(group) if goal.name == name]
            worst = float(outcome.worst[places].max())
            residuals.append(worst if axiom == "W-P" else worst - group[places[0]].limit)
            lines.append(f"{axiom}: {_phrase(group[places[0]], worst)}")
    proved = all(outcome.proved for _, outcome in outcomes)
    if proved:
        lines.append(f"{axiom}: in real arithmetic, over every point of the box, with bounds rounded outward")
        # At u = u' both sides of W-R vanish, so 0 is the least upper bound of its residual.
        residual = 0.0 if axiom == "W-R" else max(residuals)
        return Result(axiom, "VERIFIED", residual, tolerance, "the whole box", tuple(lines), told)
    open_ = next(outcome for _, outcome in outcomes if not outcome.proved)
    reached = "; ".join(line.removeprefix(f"{axiom}: ") for line in lines)
    why = f", {open_.reason}" if open_.reason else ""
    told = f"{told}, not settled at {program.describe(*open_.where)}{why}: reached {reached}"
    return Result(axiom, "NOT FALSIFIED", None, tolerance, "the whole box", search=told)


def _phrase(goal: Goal, worst: float) -> str:
    asked = f"{abs(goal.limit):.10g} asked"
    if goal.name == "floor":
        return f"w ≥ {least(-worst)}, {asked}"
    if goal.name == "cap":
        return f"w ≤ {most(worst)}, {asked}"
    if goal.name == "influence":
        return f"β ≤ {most(worst)} nats, {asked}"
    if goal.name == "L":
        return f"Σ_i |∂(log w_j − log w_k)/∂u_i| ≤ {most(worst)}, {asked}"
    if goal.name == "order":
        return f"the safer of two leads by at least {least(-worst)} nats, {asked}"
    return f"w ≥ {-worst:.3g} > 0" if goal.axiom == "W-P" else f"|Σ w − 1| ≤ {worst:.3g}"
