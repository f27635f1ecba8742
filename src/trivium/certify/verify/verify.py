"""VERIFIED: an axiom that holds at every point of the feature box, by bounding the rule's own code."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

import torch

from trivium.certify.question import Finding, Question
from trivium.certify.verify.goals import Goal, goals
from trivium.certify.verify.program import Program
from trivium.certify.verify.search import Outcome, Search
from trivium.certify.verify.trace import Unsupported
from trivium.certify.words import least, most
from trivium.simplex.rounding import log_slack, weight_slack
from trivium.weighting.base import Operator, UserRule

#: Entries of Jacobians that one core bounds in a second, about.
SPEED = 1.5e7
#: A search that is slower than expected ends after this many times its seconds of processor time.
PATIENCE = 4.0


def verify(operator: Operator, question: Question, *, seconds: float = 5.0) -> dict[str, Finding]:
    """Bound a rule that is plain PyTorch over its whole feature box.

    VERIFIED means: for real-valued arithmetic the residual is ≤ 0 at every point of the box (an asked bound is met
    to 1e-12, relative). All bounds were rounded outward. Weights computed in float32 may exceed this by the finding's
    tolerance, that of the axiom: no intermediate result overflows float32, no divisor or argument of a logarithm leaves
    its normal range, and the worst case of float32 rounding, to first order, is at most eight times the tolerance
    (:mod:`~trivium.certify.verify.single`). Otherwise the word is NOT FALSIFIED, and ``search`` tells the best bound
    reached, or which operation is not bounded.

    Args:
        operator: a :class:`~trivium.weighting.base.UserRule`; others are refused.
        question: the axioms, their parameters, and K: the answer is for this number of teachers.
        seconds: effort; the number of sub-boxes follows from it and not from the clock, which only ends a search
            that takes four times as long on the processor.

    Returns:
        a finding for each axiom asked.

    >>> import torch
    >>> from trivium.weighting.base import rule
    >>> @rule(scale="token", features={"entropy": (0.0, 12.0)})
    ... def mixed(entropy):
    ...     return 0.85 * torch.softmax(-entropy.clamp(max=4.0), dim=-1) + 0.05
    >>> found = verify(mixed, Question(3, floor=0.05, lipschitz=2.0))
    >>> [found[axiom].verdict for axiom in ("W-F", "W-N", "W-P", "W-B", "W-R")]
    ['VERIFIED', 'VERIFIED', 'VERIFIED', 'VERIFIED', 'VERIFIED']
    """
    if (
        type(operator) is not UserRule
        or {"weights", "log_weights", "admit"} & set(vars(operator))
        or not operator.ranges
    ):
        return _refused(question, "it bounds rules that are one plain function of features")
    if any(interval.pairwise for interval in operator.ranges.values()):
        return _refused(question, "a pairwise feature is not a box")
    program = Program(operator, question.teachers)
    try:
        with torch.no_grad():
            program.accept()
            asked = goals(question)
            found = {**_refused(question, "it does not bound inner products of gradients"), "W-F": _function(program)}
            searches = sum(len(_by_kind(wanted)) for wanted in asked.values())
            for axiom, wanted in asked.items():
                outcomes = []
                for kind, group in _by_kind(wanted).items():
                    share = seconds / searches
                    deadline = time.process_time() + PATIENCE * share
                    search = Search(program, kind, group, share * SPEED, deadline)
                    outcomes.append((group, search.run()))
                found[axiom] = _finding(axiom, program, outcomes)
    except Unsupported as refusal:
        return _refused(question, str(refusal))
    except (RuntimeError, IndexError, OverflowError, MemoryError) as error:  # shapes that no operation foresaw
        return _refused(question, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return {axiom: found[axiom] for axiom in question.axioms}


def plain(rule: UserRule) -> bool:
    """Whether a rule computes what its function says: no method of its own was put on the object."""
    return not {"weights", "log_weights", "admit"} & set(vars(rule))


def strengthen(
    operator: Operator, question: Question, found: Mapping[str, Finding], settled: Iterable[str], seconds: float
) -> dict[str, Finding]:
    """The findings of a search, with those that bounding settles VERIFIED, and what it reached told in the others.

    ``settled``: axioms that are proved already. An operator with a breach of any kind is not bounded: its function is
    then not what its code seems to say.
    """
    merged = dict(found)
    rest = [a for a in question.axioms if a not in set(settled) and found[a].verdict == "NOT FALSIFIED"]
    # Gradients that stand beside the features say nothing of the function.
    broken = any(f.verdict == "VIOLATED" for f in found.values() if f.axiom != "W-C")
    if not rest or type(operator) is not UserRule or broken:
        return merged
    bounded = verify(operator, question, seconds=seconds)
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


def _refused(question: Question, why: str) -> dict[str, Finding]:
    return {axiom: Finding(axiom, "NOT FALSIFIED", None, search=f"not bounded: {why}") for axiom in question.axioms}


def _function(program: Program) -> Finding:
    names = ", ".join(program.names)
    lines = (
        f"W-F: its {program.operations} operations ({names}) act on single entries or along the teacher axis alone",
        "W-F: two runs were equal and left all that the function can reach as it was, so every later run is the same",
    )
    tolerance = weight_slack(torch.float32, program.teachers) + log_slack(torch.float32)
    return Finding("W-F", "VERIFIED", 0.0, tolerance, "the whole box", lines, search=_told(0))


def _told(boxes: int) -> str:
    return f"bounded in real arithmetic over {boxes:,} sub-boxes" if boxes else "bounded by the form of its code"


def _finding(axiom: str, program: Program, outcomes: list[tuple[list[Goal], Outcome]]) -> Finding:
    teachers = program.teachers
    tolerance = log_slack(torch.float32) if axiom in ("W-R", "W-S") else weight_slack(torch.float32, teachers)
    tolerance = 0.0 if axiom == "W-P" else tolerance
    boxes = sum(outcome.boxes for _, outcome in outcomes)
    told = _told(boxes)
    if not outcomes:
        return Finding(axiom, "VERIFIED", None, tolerance, "the whole box", (f"{axiom}: nothing is asked",), told)
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
        return Finding(axiom, "VERIFIED", residual, tolerance, "the whole box", tuple(lines), told)
    open_ = next(outcome for _, outcome in outcomes if not outcome.proved)
    reached = "; ".join(line.removeprefix(f"{axiom}: ") for line in lines)
    why = f", {open_.reason}" if open_.reason else ""
    told = f"{told}, not settled at {program.describe(*open_.where)}{why}: reached {reached}"
    return Finding(axiom, "NOT FALSIFIED", None, tolerance, "the whole box", search=told)


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
