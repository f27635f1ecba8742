"""The steps of the calculus: what each kind of composition makes of the constants of its parts (T2–T6, T10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from trivium.certification.calculus import Derived, Step, derive, escape, node, vacuous
from trivium.certification.words import describe, least, most
from trivium.scheme import Conform, FloorMix, Limit, Mix, PerEntry, Power, Product, Scheme, Squash
from trivium.simplex.constants import Constants, limited, power, product, projected
from trivium.simplex.mixing import floor_mixed, mixed_with_uniform, squashed


@node.register
def _power(operator: Power, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    alpha = operator.strength
    if not math.isfinite(part.constants.influence):  # 0 · (−∞) would not be a number
        constants = vacuous(operator, teachers)
        known = _extend(part, f"{{0}}^{alpha:g}: nothing known, since {{0}} may be zero", (), constants, False)
        return replace(known, proper=part.proper and alpha > 0)
    constants = power(part.constants, alpha)
    was, now = part.constants, constants
    lines = [f"T2: strength scales influence: {alpha:g} · {most(was.influence)} = {most(now.influence)} nats"]
    if was.regularity:
        lines.append(f"T2: and regularity: {alpha:g} · {most(was.lipschitz)} = {most(now.lipschitz)}")
    return _extend(part, f"{{0}}^{alpha:g}: {describe(constants)}", lines, constants, True)


@node.register
def _product(operator: Product, teachers: int) -> Derived:
    parts = [derive(part, teachers) for part in operator.parts]
    constants = product([part.constants for part in parts])
    influences = [part.constants.influence for part in parts]
    finite = all(math.isfinite(part.constants.influence) for part in parts)
    lines = [f"T3: influence adds: {_sum(influences, constants.influence)} nats"] if finite else []
    if any(part.constants.regularity for part in parts):
        lipschitz = [part.constants.lipschitz for part in parts]
        lines.append(f"T4: regularity adds: {_sum(lipschitz, constants.lipschitz)}")
    if finite:
        lines.append("T5: gaps log(w_j/w_k) add, pair by pair")
        lines.append("W-N, W-P: it ends in a log-softmax of finite scores")
    steps = tuple(step for part in parts for step in part.steps)
    lengths = [len(part.steps) for part in parts]
    back = tuple(1 + sum(lengths[place + 1 :]) for place in range(len(parts)))
    head = " ⊗ ".join(f"{{{place}}}" for place in range(len(parts))) + f": {describe(constants)}"
    return Derived(
        constants,
        (*steps, Step(head, tuple(lines), back)),
        normalized=finite,
        pure=all(part.pure for part in parts),
        unknown=_union([part.unknown for part in parts]),
        culprits=_union([part.culprits for part in parts]),
        proper=all(part.proper for part in parts) and sum(math.isinf(influence) for influence in influences) <= 1,
    )


@node.register
def _limit(operator: Limit, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    budget = operator.budget
    constants = limited(part.constants, budget)
    before = most(part.constants.influence)
    lines = [
        f"T3: log w ≥ max log w − {budget:g} before normalizing: "
        f"β = min({before}, {budget:g}) = {most(constants.influence)} nats",
        "T6: raising to a moving bound is monotone and shift-invariant: L kept",
    ]
    return _extend(part, f"limit({{0}} | β ≤ {budget:g}): {describe(constants)}", lines, constants, part.proper)


@node.register
def _conform(operator: Conform, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    goal = operator.conforming
    constants = projected(part.constants, goal)
    lines = [f"T6: the range of the projection is the set: floor {goal.floor:g}, cap {goal.cap:g}"]
    if goal.order is not None:
        lines.append(f"T6: so is the order {_tiers(goal.order.tiers)}, by {goal.margin:g} nats")
    lines.append("T6: sorting, shifting and clipping are non-expansive in d_H: L kept")
    return _extend(part, f"project({{0}} | {escape(str(goal))}): {describe(constants)}", lines, constants, part.proper)


@node.register
def _scheme(operator: Scheme, teachers: int) -> Derived:
    return derive(operator.root, teachers)


@node.register
def _mix(operator: Mix, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    constants = mixed_with_uniform(part.constants, operator.share)
    head = f"mix({{0}} | {operator.share:g} uniform): {describe(constants)}"
    return _extend(part, head, _mixture(operator.share, constants, teachers), constants, part.proper)


@node.register
def _floor_mix(operator: FloorMix, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    constants = floor_mixed(part.constants, operator.floor)
    share = min(1.0, teachers * operator.floor)
    head = f"floor({{0}} | w ≥ {operator.floor:g}): {describe(constants)}"
    return _extend(part, head, _mixture(share, constants, teachers), constants, part.proper)


@node.register
def _squash(operator: Squash, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    bound, before = operator.bound, part.constants.influence
    constants = squashed(part.constants, bound)
    lines = [
        f"T3: scores within {bound:g} nats of the leader's, at {bound:g}·tanh(gap/{bound:g}): "
        f"β = {bound:g}·tanh({most(before)}/{bound:g}) = {most(constants.influence)} nats",
        "T4: increasing with slope ≤ 1, measured from the leader: L kept",
    ]
    return _extend(part, f"squash({{0}} | β < {bound:g}): {describe(constants)}", lines, constants, part.proper)


@node.register
def _per_entry(operator: PerEntry, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    constants = part.constants
    low, high = teachers * constants.floor, teachers * constants.cap
    lines = [
        "T10: each vocabulary entry has a row of its own, so its part's constants hold entry by entry",
        f"T10: Σ_k w_k(i)·p_k(i) sums over V to a number in [K·a, K·b] = [{least(low)}, {most(high)}], "
        "so the pool is renormalized; T7, T8 and S1 do not hold",
    ]
    return _extend(part, f"per entry({{0}}): {describe(constants)}", lines, constants, part.normalized)


def _mixture(share: float, constants: Constants, teachers: int) -> list[str]:
    if share == 0.0:
        return ["T2: nothing is mixed in"]
    contraction = teachers * (1 - share) / (teachers * (1 - share) + 2 * share)
    return [
        f"T3: w ≥ {share:.4g}/{teachers} = {least(constants.floor)} by the uniform part",
        f"T4: a positive matrix contracts d_H (Birkhoff): L times at most {most(contraction)}",
    ]


def _extend(part: Derived, head: str, lines: Sequence[str], constants: Constants, normalized: bool) -> Derived:
    step = Step(head, tuple(lines), (1,))
    return replace(part, constants=constants, steps=(*part.steps, step), normalized=normalized, pareto="")


def _union(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _sum(parts: Sequence[float], total: float) -> str:
    added = " + ".join(most(part) for part in parts)
    # The gap matrix keeps which teacher is favoured, so the whole may be less than the sum of the parts.
    relation = "=" if math.isclose(sum(parts), total, rel_tol=1e-9, abs_tol=1e-12) else "≥"
    return f"{added} {relation} {most(total)}"


def _tiers(tiers: tuple[tuple[int, ...], ...]) -> str:
    return " > ".join(" = ".join(str(teacher) for teacher in tier) for tier in tiers)
