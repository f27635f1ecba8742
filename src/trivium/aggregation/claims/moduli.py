r"""The moduli of continuity that A-C, A-C(0) and F-C attack: upper bounds of TV(q, q′) in what moved.

Written for a move in two steps, first the weights w → v at the old teachers, then the teachers p → p′ at the weights v.
With TV ≤ tanh(d_H/4) (T4), Δ = the change of all log p_k(i), D = the largest spread max_{j,k} log p_j(i)/p_k(i):

* **linear** TV(w, v)·max TV(p_j, p_k) + Σ v_k TV(p_k, p′_k) (T8), zeros allowed.
* **log**, p > 0: d_H(q, q′) ≤ TV(w, v)·max d_H(p_j, p_k) + Σ v_k d_H(p_k, p′_k): log q is linear in w and in log p.
* **power**, p > 0: d_H(q, q′) ≤ min(2·TV(w, v)·expm1(|ρ|D), d_H(w, v))/|ρ| + max Δ − min Δ. The mean m is monotone
  and homogeneous of degree one in p, which gives the last term. Along the segment from w to v, log m(i) changes by
  (1/ρ)·Σ Δw_k p_k^ρ/Σ w p^ρ, and two of these p^ρ differ by at most expm1(|ρ|D) times their mean; or, all at once,
  by (1/ρ) log of a mean of the ratios v_k/w_k.
* **power, ρ > 0**, zeros allowed. TV(q, q′) ≤ ‖m − m′‖₁/max(Z, Z′). For ρ ≥ 1, m is a norm of (p_k(i))_k, at least
  the arithmetic mean, so Z ≥ 1 and ‖m − m′‖₁ ≤ Σ |w_k − v_k|^{1/ρ} + 2 Σ v_k^{1/ρ} TV_k. For ρ < 1, m = A^{1/ρ} with
  A ≤ 1, so |m − m′| ≤ |A − A′|/ρ and ‖m − m′‖₁ ≤ V^{1−ρ}/ρ·(2·TV(w, v) + Σ v_k (2 TV_k)^ρ), with
  Z ≥ max(max w, max v)^{1/ρ}.
* **entrywise**: TV(q, q′) ≤ Σ_i Σ_k (|w_k(i) − v_k(i)| p_k(i) + v_k(i)|p_k(i) − p′_k(i)|)/max(Z, Z′).
* **temperature**, p > 0, T > 0: d_H ≤ |1/T − 1/T′|·d_H(p, uniform) + d_H(p, p′)/T′.
* **mixing with u**: |ε − ε′|·TV(p, u) + (1 − ε′)·TV(p, p′).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.aggregation.entrywise import EntrywiseLinearPool
from trivium.axioms.aggregation.pooling import Modulus
from trivium.axioms.softening.softening import SofteningModulus
from trivium.simplex.geometry import hilbert, influence, total_variation, tv_of_hilbert


def linear(log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor) -> Tensor:
    """TV(w, v)·max TV(p_j, p_k) + Σ v_k TV(p_k, p′_k)."""
    widest = torch.stack([total_variation(one, other) for one in log_p for other in log_p]).amax(dim=0)
    moved = torch.stack([total_variation(a, b) for a, b in zip(log_p, moved_log_p, strict=True)], dim=-1)
    return total_variation(log_w, moved_log_w) * widest + (moved_log_w.exp() * moved).sum(dim=-1)


def logarithmic(log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor) -> Tensor:
    """tanh of a quarter of TV(w, v)·max d_H(p_j, p_k) + Σ v_k d_H(p_k, p′_k)."""
    widest = torch.stack([hilbert(one, other) for one in log_p for other in log_p]).amax(dim=0)
    moved = torch.stack([hilbert(a, b) for a, b in zip(log_p, moved_log_p, strict=True)], dim=-1)
    by_weights = _product(total_variation(log_w, moved_log_w), widest)
    return tv_of_hilbert(by_weights + _product(moved_log_w.exp(), moved).sum(dim=-1))


def power(exponent: float) -> Modulus:
    """Return the modulus of the power pool of that exponent for positive teachers."""
    size = abs(exponent)

    def modulus(log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor) -> Tensor:
        teachers = torch.stack(list(log_p))
        spread = (teachers.amax(dim=0) - teachers.amin(dim=0)).amax(dim=-1)
        near = 2 * _product(total_variation(log_w, moved_log_w), torch.expm1(size * spread))
        by_weights = torch.minimum(near, hilbert(log_w, moved_log_w)) / size
        change = torch.stack(list(moved_log_p)) - teachers
        return tv_of_hilbert(by_weights + change.amax(dim=(0, -1)) - change.amin(dim=(0, -1)))

    return modulus


def power_with_zeros(exponent: float) -> Modulus:
    """Return the modulus of the power pool of that exponent > 0 on the closed simplices."""

    def modulus(log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor) -> Tensor:
        w, v = log_w.exp(), moved_log_w.exp()
        moved = 2 * torch.stack([total_variation(a, b) for a, b in zip(log_p, moved_log_p, strict=True)], dim=-1)
        if exponent >= 1:
            return ((w - v).abs() ** (1 / exponent) + v ** (1 / exponent) * moved).sum(dim=-1)
        apart = (w - v).abs().sum(dim=-1) + (v * moved**exponent).sum(dim=-1)
        mass = torch.maximum(w.amax(dim=-1), v.amax(dim=-1)) ** (1 / exponent)
        width: float = log_p[0].shape[-1] ** (1 - exponent) / exponent
        return torch.where(apart == 0, 0.0, width * apart / mass)

    return modulus


def entrywise_masses(
    log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor
) -> Tensor:
    """Σ_i Σ_k (|Δw_k(i)| p_k(i) + v_k(i)|Δp_k(i)|): how far the entrywise pool moves before it is normalized."""
    p, moved = (torch.stack(list(rows), dim=-1).exp() for rows in (log_p, moved_log_p))
    w, v = log_w.exp(), moved_log_w.exp()
    return ((w - v).abs() * p + v * (p - moved).abs()).sum(dim=(-2, -1))


def entrywise(log_p: Sequence[Tensor], log_w: Tensor, moved_log_p: Sequence[Tensor], moved_log_w: Tensor) -> Tensor:
    """Return the same over max(Z, Z′)."""
    mass = EntrywiseLinearPool().log_mass
    largest = torch.maximum(mass(log_p, log_w), mass(moved_log_p, moved_log_w)).exp()
    return entrywise_masses(log_p, log_w, moved_log_p, moved_log_w) / largest


def temperature(log_p: Tensor, parameter: float, moved_log_p: Tensor, moved_parameter: float) -> Tensor:
    """tanh of a quarter of |1/T − 1/T′|·d_H(p, uniform) + d_H(p, p′)/T′."""
    cooler = abs(1 / parameter - 1 / moved_parameter)
    return tv_of_hilbert(cooler * influence(log_p) + hilbert(log_p, moved_log_p) / moved_parameter)


def mixing(prior: Sequence[float] | None = None) -> SofteningModulus:
    """|ε − ε′|·TV(p, u) + (1 − ε′)·TV(p, p′) for a prior u, by default the uniform one."""

    def modulus(log_p: Tensor, parameter: float, moved_log_p: Tensor, moved_parameter: float) -> Tensor:
        entries = log_p.shape[-1]
        towards = torch.tensor(prior or [1 / entries] * entries, dtype=log_p.dtype).log()
        by_share = abs(parameter - moved_parameter) * total_variation(log_p, towards)
        return by_share + (1 - moved_parameter) * total_variation(log_p, moved_log_p)

    return modulus


def _product(small: Tensor, large: Tensor) -> Tensor:
    """small·large with 0·∞ = 0."""
    return torch.where(small == 0, 0.0, small * large)
