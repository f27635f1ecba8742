"""The conforming projection: the nearest weights, in KL, that a conforming set allows (T6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.errors import InputError, require
from trivium.simplex.capturing import capturing
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.isotonic import WORK, isotonic_regression

#: Nats below a row's largest log weight at which a weight counts as zero; e^-700 is still a normal float64.
ZERO_DEPTH = 700.0
#: Nats; far above the rounding of numbers below 2·ZERO_DEPTH, far below anything that matters.
_POLISH = 1e-10


@torch.no_grad()
def conforming_projection(log_w: Tensor, conforming_set: ConformingSet) -> Tensor:
    """Π(w): log of the solution, for every row, of

        minimize    KL(y‖w) = Σ_k y_k log(y_k / w_k)
        subject to  Σ_k y_k = 1,
                    a ≤ y_k ≤ b                         for every teacher k,
                    log y_j ≥ log y_k + m               for every teacher j safer than k,

    for weights w > 0 that need not be normalized. Idempotent, the identity on C, order-keeping and non-expansive in
    d_H, so it repairs any operator without spoiling its regularity constant.

    A zero weight makes KL infinite. Weights more than 700 nats below their row's largest, zeros among them, are
    therefore first raised to that depth; this too is monotone and commutes with constants, so the properties above
    stay, save that an element of C (with a < e^-700) holding such a weight is moved by less than e^-700.

    Args:
        log_w: [..., K] natural logs, any floating dtype; ``-inf`` allowed.
        conforming_set: C(a, b, ≽, m) over the same K teachers.

    Returns:
        log y [..., K], computed in float64 and rounded once to the dtype of ``log_w``; without gradient.

    Raises:
        InputError: another number of teachers; a row with NaN or +inf, or with no positive weight.

    Cost: O(K²) a row.

    >>> w = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64).log()
    >>> [round(y, 6) for y in conforming_projection(w, ConformingSet(3, floor=0.1, cap=0.5)).exp().tolist()]
    [0.5, 0.25, 0.25]
    """
    # With z = log y − m·r and ω = e^{m·r} the problem is to minimize Σ ω e^z (z − t), t = log w − m·r, over z that do
    # not fall from a tier to a safer one, in the box log a ≤ z ≤ log b − m(R−1) (the tighter bounds of each tier
    # follow from those by monotonicity), with Σ ω e^z = 1. For the multiplier c of the last constraint it is a
    # separable convex isotonic problem in e^z: its solution is clip(c + isotonic regression of t with weights ω).
    #
    # Clipping is non-expansive although c depends on w: let δ = (c + v) − (c′ + v′). If all δ > 0, then z ≥ z′, and
    # equal sums give z = z′; likewise for all δ < 0. Else 0 lies between min δ and max δ, where z − z′ lies too.
    require(isinstance(log_w, Tensor), "log weights must be a tensor [..., K]", type(log_w).__name__)
    fit = isinstance(conforming_set, ConformingSet)
    require(fit, "what is projected into must be a ConformingSet", type(conforming_set).__name__, "Make one.")
    num_teachers = conforming_set.num_teachers
    require(log_w.shape[-1] == num_teachers, f"weights must be over {num_teachers} teachers", tuple(log_w.shape))
    exact = log_w.double()
    top = exact.amax(dim=-1, keepdim=True)
    if not capturing() and not bool(top.isfinite().all()):
        raise InputError(
            "each row of weights must have a positive weight and no NaN or +inf",
            log_w[~top.isfinite().squeeze(-1)].reshape(-1, num_teachers)[0].tolist(),
            "Check what the weighting rule returned",
        )
    exact = torch.maximum(exact - top, exact.new_tensor(-ZERO_DEPTH))
    order_margin, height = conforming_set.order_margin, max(conforming_set.ranks)
    climb = order_margin * torch.tensor(conforming_set.ranks, dtype=torch.float64, device=log_w.device)
    z = exact - climb
    if height > 0:
        z = _regress(z, climb - order_margin * height, conforming_set)
    box = [math.log(bound) if bound > 0 else -math.inf for bound in (conforming_set.floor, conforming_set.cap)]
    return (_fill(z, climb, box[0], box[1] - order_margin * height) + climb).to(log_w.dtype)


def _regress(t: Tensor, log_omega: Tensor, conforming_set: ConformingSet) -> Tensor:
    """Isotonic regression over the tiers, least safe first; tiers may hold several teachers."""
    # Inside a tier nothing is required and all ω are equal. Let t_i < t_j there with z_i > z_j in the solution:
    # exchanging z_i and z_j meets the same constraints and lowers the objective by 2ω(z_i − z_j)(t_j − t_i) > 0, a
    # contradiction; and if t_i = t_j, z_i = z_j because the solution is unique. So the solution ascends along each tier
    # sorted by t, adding those constraints changes nothing, and with them the partial order is a chain of all teachers.
    tiers = conforming_set.order.tiers[::-1] if conforming_set.order is not None else ()
    blocks = []
    for tier in tiers:
        members = torch.tensor(tier, device=t.device)
        if len(tier) == 1:
            blocks.append(members.expand(*t.shape[:-1], 1))
        else:
            blocks.append(members[t[..., members].argsort(dim=-1, stable=True)])
    places = torch.cat(blocks, dim=-1)
    chain = torch.tensor([teacher for tier in tiers for teacher in tier], device=t.device)
    omega = log_omega[chain].exp().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.zeros_like(t).scatter(-1, places, isotonic_regression(t.gather(-1, places), omega))


def _fill(v: Tensor, log_omega: Tensor, low: float, high: float) -> Tensor:
    """clip(c + v, low, high) with c such that Σ ω·exp(·) = 1, in closed form between two breakpoints of that sum."""
    num_teachers = v.shape[-1]
    pieces = [
        _fill_rows(piece, log_omega, low, high)
        for piece in torch.split(v.reshape(-1, num_teachers), max(1, WORK // (2 * num_teachers**2)))
    ]
    return torch.cat(pieces).reshape(v.shape)


def _fill_rows(v: Tensor, log_omega: Tensor, low: float, high: float) -> Tensor:
    leaves_floor, meets_cap = low - v, high - v  # the c at which each teacher does so
    breaks = meets_cap if low == -torch.inf else torch.cat([leaves_floor, meets_cap], dim=-1)
    mass = ((breaks.unsqueeze(-1) + v.unsqueeze(-2)).clamp(low, high) + log_omega).exp().sum(dim=-1)
    # The last breakpoint whose mass is still ≤ 1, and the one after it.
    start = breaks.masked_fill(mass > 1, -torch.inf).amax(dim=-1, keepdim=True)
    end = breaks.masked_fill(breaks <= start, torch.inf).amin(dim=-1, keepdim=True)
    on_floor, on_cap = leaves_floor > start, meets_cap <= start
    free = ~(on_floor | on_cap)
    held = torch.where(on_floor, v.new_tensor(low), v.new_tensor(high))  # two bare numbers would give float32
    taken = (held + log_omega).exp().masked_fill(free, 0.0).sum(dim=-1, keepdim=True)
    # c is found as a shift from a breakpoint, and once more from there: the second takes out the first one's rounding,
    # which is relative to c and v and so may be a hundred times the last digit of z.
    z = v + torch.where(start.isfinite(), start, end)
    log_rest = (1 - taken).clamp(min=0.0).log()
    shift = log_rest - _log_mass(z + log_omega, free)
    z = z + torch.where(start.isfinite(), shift.clamp(min=0.0), shift)
    polish = log_rest - _log_mass(z + log_omega, free)
    z = z + torch.where(polish.abs() < _POLISH, polish, torch.zeros_like(polish))
    return torch.where(free, z.clamp(low, high), held)


def _log_mass(log_y: Tensor, of: Tensor) -> Tensor:
    return log_y.masked_fill(~of, -torch.inf).logsumexp(dim=-1, keepdim=True)
