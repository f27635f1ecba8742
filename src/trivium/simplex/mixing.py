"""Constants of the maps that pull weights towards uniform: mixture, floor and squash (T3, T4)."""

from __future__ import annotations

import math

import torch

from trivium.errors import InfeasibleError, require
from trivium.simplex.constants import Constants, uniform
from trivium.simplex.rounding import lower_log, up


def mixed_with_uniform(part: Constants, epsilon: float) -> Constants:
    """(1 − ε)·w + ε/K, 0 ≤ ε ≤ 1.

    *Proof.* The map is the positive matrix (1 − ε)I + (ε/K)11ᵀ, whose projective diameter is Δ = 2·log(1 + K(1 − ε)/ε).
    By Birkhoff's theorem it contracts d_H by tanh(Δ/4) = K(1 − ε)/(K(1 − ε) + 2ε), which multiplies L. With x = w_k,
    w_j ≥ e^g·x and h = (1 − ε)K/ε, the new ratio is at least (1 + h·e^g·x)/(1 + h·x): falling in x for g < 0, so worst
    at teacher k's cap, rising for g > 0, so worst at its floor. Known floors and caps follow the map itself.

    Raises:
        InputError: ε outside [0, 1].
    """
    require(0.0 <= epsilon <= 1.0, "the share of the uniform mixture must lie in [0, 1]", epsilon)
    teachers = part.teachers
    if epsilon == 0.0:
        return part
    if epsilon == 1.0 or teachers == 1:
        return uniform(teachers)
    keep, spread = 1 - epsilon, epsilon / teachers
    x = torch.where(part.gap < 0, part.caps[None, :], part.floors[None, :])
    ratio = (keep * part.gap.exp() * x + spread) / (keep * x + spread)
    gap = torch.where(part.gap == 0, torch.zeros_like(ratio), lower_log(ratio.log()))
    contraction = up(teachers * keep / (teachers * keep + 2 * epsilon), steps=6)
    regularity = {name: up(contraction * constant, steps=1) for name, constant in part.regularity.items()}
    floor, cap = keep * part.floor + spread, up(keep * part.cap + spread)
    return Constants(gap, regularity, floor * (1 - 4 * 2.0**-52), min(1.0, cap))


def floor_mixed(part: Constants, floor: float) -> Constants:
    """a + (1 − K·a)·w, 0 ≤ a ≤ 1/K: :func:`mixed_with_uniform` with ε = K·a, whose floor is a exactly.

    Raises:
        InfeasibleError: K·a above one (T1).
    """
    epsilon = share_of(floor, part.teachers)
    mixed = mixed_with_uniform(part, epsilon)
    return Constants(mixed.gap, mixed.regularity, max(mixed.known_floor, floor), mixed.known_cap)


def share_of(floor: float, teachers: int) -> float:
    """ε = K·a, the share of the uniform mixture that lifts every weight to a.

    Raises:
        InfeasibleError: K·a above one (T1).
    """
    require(math.isfinite(floor) and floor >= 0.0, "a floor must be a number ≥ 0", floor)
    epsilon = teachers * floor
    if epsilon > 1.0 + 4 * 2.0**-52:
        raise InfeasibleError(
            f"a floor must be at most 1/K for K = {teachers} teachers", floor, f"Lower it to {1 / teachers:.4g}."
        )
    return min(1.0, epsilon)


def squashed(part: Constants, bound: float) -> Constants:
    """The constants of :func:`trivium.simplex.squash.squash`: l ↦ B·tanh((l − max l)/B), then normalized.

    *Proof.* x ↦ B·tanh(x/B) is increasing with slope at most 1, and max l is monotone and commutes with adding a
    constant. Let δ = l′ − l and e = δ − (max l′ − max l), whose entries include both signs or zero; each entry of the
    result moves by something between 0 and e_k, so its spread is at most max e⁺ + max e⁻ = d_H(l, l′): L is kept.
    With p = (M − l_j)/B, q = (M − l_k)/B ≥ 0, q − p ≥ g/B, and tanh concave on [0, ∞): for g ≤ 0 the least of
    B·(tanh q − tanh p) is at q = 0, p = −g/B: gap′ = −B·tanh(−g/B), so β′ = B·tanh(β/B). For g > 0 it is at
    q = p + g/B and falls in p, which is at most U_j/B = max_i −gap[j, i]/B. Differences shrink as they are measured
    from the maximum, which keeps known floors and caps (as for :func:`~trivium.simplex.constants.power`).

    Raises:
        InputError: B not positive and finite.
    """
    require(0.0 < bound < math.inf, "the bound of a squash must be a positive number of nats", bound)
    depth = (-part.gap).amax(dim=1, keepdim=True) / bound
    below = lower_log(bound * (part.gap / bound).tanh())
    # tanh(p + g) − tanh(p) = sinh g / (cosh p · cosh(p + g)) without the cancellation; zero where p is unbounded.
    step = part.gap.clamp(min=0.0) / bound
    kept = bound * step.sinh() / (depth.cosh() * (depth + step).cosh())
    above = torch.where(depth + step < 300.0, kept * (1 - 2.0**-46), torch.zeros_like(kept))
    gap = torch.where(part.gap > 0, above.nan_to_num(nan=0.0), torch.where(part.gap == 0, part.gap, below))
    return Constants(gap, part.regularity, part.known_floor, part.known_cap)
