"""What the derived constants say of each axiom that is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trivium.certification.specification import Specification
from trivium.scheme.derivation import Derived
from trivium.scheme.words import least, most

#: Derived and asked bounds are float64 numbers a few roundings apart; relative.
COMPARISON = 1e-12


@dataclass(frozen=True)
class Decision:
    """What the calculus says of one axiom: proved or not, the bound on the residual, and the argument."""

    proved: bool
    residual: float | None
    lines: tuple[str, ...]


def decide(derived: Derived, specification: Specification) -> dict[str, Decision]:
    """Return one :class:`Decision` an axiom that ``question`` asks. Not proved is not refuted: a bound may be loose."""
    rules = {
        "W-F": _function,
        "W-N": _normal,
        "W-P": _positive,
        "W-B": _within,
        "W-R": _regular,
        "W-S": _ordered,
        "W-C": _pareto,
    }
    return {axiom: rules[axiom](derived, specification) for axiom in specification.axioms}


def _function(derived: Derived, specification: Specification) -> Decision:
    if derived.pure:
        line = "W-F: every leaf is a function of its own row, and every step acts on the teacher axis alone"
        return Decision(True, 0.0, (line,))
    return Decision(False, None, (f"W-F: not known of {', '.join(derived.culprits)}",))


def _normal(derived: Derived, specification: Specification) -> Decision:
    if derived.normalized:
        return Decision(True, 0.0, (f"W-N: the last operation of [{len(derived.steps)}] normalizes",))
    return Decision(False, None, ("W-N: no step normalizes a row that is known to be finite",))


def _positive(derived: Derived, specification: Specification) -> Decision:
    if not derived.positive:
        return Decision(False, None, ("W-P: no bound on log(max w/min w) is known",))
    constants = derived.constants
    line = f"W-P: Σ w = 1 and β ≤ {most(constants.influence)} nats give w ≥ {least(constants.floor)}"
    if constants.floor == 0.0:
        lowest = constants.influence + math.log(derived.constants.num_teachers)
        line = f"W-P: log w ≥ −{most(lowest)} nats, which a float holds as a logarithm only"
    return Decision(True, -constants.floor, (line,))


def _within(derived: Derived, specification: Specification) -> Decision:
    constants = derived.constants
    checks = [
        ("floor", specification.floor, constants.floor, -1),
        ("cap", specification.cap, constants.cap, 1),
        ("influence", specification.influence, constants.influence, 1),
    ]
    residuals, lines, proved = [], [], derived.normalized
    for name, asked, known, sign in checks:
        if asked is None:
            continue
        holds = sign * (known - asked) <= COMPARISON * max(1.0, abs(asked))
        proved &= holds
        residuals.append(sign * (known - asked))
        relation = {(-1, True): "≥", (-1, False): "<", (1, True): "≤", (1, False): ">"}[sign, holds]
        text = least(known) if sign < 0 else most(known)
        lines.append(f"W-B: derived {name} {text} {relation} {asked:.10g} asked")
    if not derived.normalized:
        lines.append("W-B: bounds on ratios bound weights only where they sum to one")
    return Decision(proved, max(residuals), tuple(lines))


def _regular(derived: Derived, specification: Specification) -> Decision:
    known, asked = derived.constants.total_lipschitz, specification.lipschitz or 0.0
    holds = known <= asked + COMPARISON * max(1.0, asked)
    features = " + ".join(f"{most(value)} ({name})" for name, value in derived.constants.lipschitz.items())
    total = f"Σ L_f = {features} = {most(known)}" if features else "weights never move: L = 0"
    line = f"W-R: {total} {'≤' if holds else '>'} {asked:.10g} asked"
    # At u = u′ both sides vanish, so 0 is the least upper bound of the residual.
    return Decision(holds, 0.0 if holds else None, (line,))


def _ordered(derived: Derived, specification: Specification) -> Decision:
    if specification.order is None or not any(True for _ in specification.order.pairs()):
        return Decision(True, None, ("W-S: the order has one tier, so it asks nothing",))
    constants = derived.critical if specification.critical and derived.critical is not None else derived.constants
    known = constants.order_margin(specification.order)
    holds = known >= specification.order_margin - COMPARISON * max(1.0, specification.order_margin)
    text, relation = specification.order.text(specification.names), "≥" if holds else "<"
    line = f"W-S: least gap over the pairs of {text} is {least(known)} {relation} {specification.order_margin:g} asked"
    line += ", on critical inputs" if specification.critical else ""
    return Decision(holds, specification.order_margin - known, (line,))


def _pareto(derived: Derived, specification: Specification) -> Decision:
    if derived.pareto:
        return Decision(True, 0.0, (derived.pareto,))
    if specification.num_teachers == 1 and derived.positive:
        return Decision(True, 0.0, ("W-C: one teacher of weight one: ⟨g, g⟩ ≥ 0",))
    return Decision(False, None, ("W-C: no step is known to follow the teachers' gradients",))
