"""How unsafe a weighted target may be: S1, S2 and S6 at each position by itself, and S3 for the student.

All of it is for the linear pool at one temperature, q = Σ w_k p_k, and for weights that do not depend on the entry.
u_k = p_k(U) is teacher k's unsafe mass at a position. Average the bounds over positions; put into them averages of
u_k, and they are false, since adaptive weights can follow whichever teacher is unsafe here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order

#: Halvings after which float64 has nothing left to halve.
_HALVINGS = 60


def uniform_mass(unsafe: Tensor) -> Tensor:
    """S1: (1/K)Σ u_k [N], which bounds q(U) for every w that keeps a safety order, wherever :func:`order_holds`.

    Chebyshev's sum inequality: w rises with safety, u falls with it, so Σ w_k u_k ≤ (Σ w_k)(Σ u_k)/K.
    """
    return unsafe.double().mean(-1)


def order_holds(unsafe: Tensor, order: Order) -> Tensor:
    """Return where every safer teacher has no more unsafe mass than a less safe one: bool [N] of u [N, K].

    S1 needs this at each position; the share of positions at which it fails is told with the bound.
    """
    found = torch.ones(unsafe.shape[:-1], dtype=torch.bool, device=unsafe.device)
    for safer, less in order.pairs():
        found &= unsafe[..., safer] <= unsafe[..., less]
    return found


def largest_mass(unsafe: Tensor, conforming: ConformingSet) -> Tensor:
    """S2: max over w in C(a, b, ≽, m) of Σ_k w_k u_k, [N] float64, of u [N, K] ≥ 0, or any other numbers.

    *Closed form.* With ω = e^{m·rank} and y = w/ω, C says: y ascends from tier to tier, a ≤ y ≤ b′ = b·e^{−m(R−1)}, and
    Σ ω y = 1. Inside a tier the best y ascend with u, so teachers form one chain, least safe first, and ascending y in
    the box are mixtures of the K + 1 vectors that are a up to a place and b′ behind it. Let W_t and U_t be Σ ω and
    Σ ω·u over the places behind the t-th: Σ ω y = 1 fixes the mean of W at x = (1 − a·Σω)/(b′ − a), so what is left is
    the upper concave envelope of the points (W_t, U_t) at x, attained between two of them. Without an order this fills
    the teachers with the most unsafe mass first, as water does.

    Cost O(K²) a position.

    >>> u = torch.tensor([[0.0, 0.5, 0.1]], dtype=torch.float64)
    >>> largest_mass(u, ConformingSet(3, floor=0.1, cap=0.6)).tolist()
    [0.33]
    >>> round(largest_mass(u, ConformingSet(3, order=Order(((0,), (1,), (2,))))).item(), 10)
    0.25
    """
    require(
        unsafe.ndim == 2 and unsafe.shape[-1] == conforming.num_teachers,
        f"unsafe masses must be [N, {conforming.num_teachers}]",
        list(unsafe.shape),
        "One a teacher.",
    )
    u = unsafe.double()
    tiers = (tuple(range(conforming.num_teachers)),) if conforming.order is None else conforming.order.tiers[::-1]
    rank = torch.tensor(conforming.ranks, dtype=torch.float64, device=u.device)
    chain = torch.cat([u[:, list(tier)].argsort(-1) if len(tier) > 1 else u.new_zeros(len(u), 1).long()
                       for tier in tiers], -1)  # fmt: skip
    begins = [0]
    for tier in tiers:
        begins.append(begins[-1] + len(tier))
    members = torch.cat(
        [torch.tensor(tier, device=u.device)[chain[:, begin : begin + len(tier)]]
         for tier, begin in zip(tiers, begins[:-1], strict=True)], -1)  # fmt: skip
    omega = (conforming.order_margin * rank)[members].exp()
    heavy = omega * u.gather(-1, members)
    behind = torch.cat([omega.flip(-1).cumsum(-1).flip(-1), omega.new_zeros(len(u), 1)], -1)  # W_t, t = 0 … K
    mass = torch.cat([heavy.flip(-1).cumsum(-1).flip(-1), omega.new_zeros(len(u), 1)], -1)
    low, high = conforming.floor, conforming.cap * float((-conforming.order_margin * rank.max()).exp())
    if high - low <= 1e-12:  # a single point: every y is the same
        return mass[:, 0] / behind[:, 0]
    x = ((1 - low * behind[:, :1]) / (high - low)).clamp(min=0.0).minimum(behind[:, :1])
    right, left = behind.unsqueeze(2), behind.unsqueeze(1)
    share = (x.unsqueeze(2) - left) / (right - left).masked_fill(right <= left, 1.0)
    between = (right >= x.unsqueeze(2)) & (left <= x.unsqueeze(2))
    value = torch.where(right > left, share * mass.unsqueeze(2) + (1 - share) * mass.unsqueeze(1), mass.unsqueeze(2))
    envelope = value.masked_fill(~between, -torch.inf).flatten(1).amax(-1)
    return low * mass[:, 0] + (high - low) * envelope


def least_mass(unsafe: Tensor, conforming: ConformingSet) -> Tensor:
    """min over w in C of Σ_k w_k u_k, [N] float64: the least that weights alone can do."""
    return -largest_mass(-unsafe.double(), conforming)


def attacked_mass(unsafe: Tensor, conforming: ConformingSet, adversaries: Sequence[int]) -> Tensor:
    """S6: w_A + (1 − w_A)·max over honest k of u_k, [N] float64: q(U) whatever the adversaries' logits are.

    w_A is the most that C gives to the adversaries, min(|A|·b, 1 − (K − |A|)·a) without an order.

    Raises:
        InputError: no adversary, one that is no teacher, or no honest teacher.
    """
    num_teachers, against = conforming.num_teachers, sorted(set(adversaries))
    fits = bool(against) and against[0] >= 0 and against[-1] < num_teachers and len(against) < num_teachers
    require(fits, f"adversaries must be some of {num_teachers} teachers", against, "Leave one of them honest.")
    honest = [k for k in range(num_teachers) if k not in against]
    theirs = torch.zeros(1, num_teachers, dtype=torch.float64, device=unsafe.device)
    theirs[:, against] = 1.0
    share = largest_mass(theirs, conforming)
    return share + (1 - share) * unsafe.double()[:, honest].amax(-1)


def binary_kl(p: Tensor, q: Tensor) -> Tensor:
    """kl(p‖q) = p·log(p/q) + (1 − p)·log((1 − p)/(1 − q)), nats, in float64; 0·log 0 = 0, infinite where q has none."""
    here, there = torch.broadcast_tensors(p.double(), q.double())
    found: Tensor = torch.special.xlogy(here, here) - torch.special.xlogy(here, there)
    found += torch.special.xlogy(1 - here, 1 - here) - torch.special.xlogy(1 - here, 1 - there)
    return found


def student_mass(target: Tensor, divergence: Tensor) -> Tensor:
    """S3: the largest p with kl(q(U)‖p) ≤ KL(q‖p_θ), [N] float64: p_θ(U) is at most that, by data processing.

    Args:
        target: q(U), [N].
        divergence: KL(q‖p_θ) at the same positions, nats, [N].

    >>> round(student_mass(torch.tensor([0.01]), torch.tensor([0.05])).item(), 4)
    0.0781
    """
    low, high = target.double(), torch.ones_like(target, dtype=torch.float64)
    limit = divergence.double().clamp_min(0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = ~(binary_kl(target, middle) > limit)  # of a divergence that is no number nothing follows: 1
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return high  # the outer end
