r"""Divergences of a block with their gradients, from probabilities q and s, without another pass for the gradient.

With u = z_s/T the gradients in u are, writing λ_i = log(s_i/q_i) and ρ_i = log(s_i/m_i), m = ½(q + s):

    forward KL   s_i − q_i                       (T9)
    reverse KL   s_i (λ_i − Σ_j s_j λ_j)
    JS           ½ s_i (ρ_i − Σ_j s_j ρ_j)

Three habits keep float32 within 1e-5 of float64, also for nearly equal or nearly one-hot rows:

* log(a/b) is ± log1p(abs(a − b)/min(a, b)), exact to the last digits on both sides of 1;
* KL is summed as Σ (a·log(a/b) − a + b), whose terms are all ≥ 0 and blind to first-order errors of a normalizer;
* means of λ and ρ are taken twice; where one entry holds nearly all of s, its s − q is minus the sum of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trivium.losses.blocks import Workspace

LogOf = Callable[[], Tensor]
Kernel = Callable[[Workspace, LogOf, LogOf, bool], tuple[Tensor, Tensor]]

# Above this a row counts as nearly one-hot; below it 1 − max s has lost at most a decimal digit.
_DOMINANT = 0.9

# A row whose KL(s‖m) is above this is nearer to log 2, where q and s share nothing, than to 0.
_SATURATED = 0.5


def forward_kl(work: Workspace, log_s: LogOf, log_q: LogOf, gradient: bool) -> tuple[Tensor, Tensor]:
    """(KL(q‖s), its gradient in u) of the rows of ``work``: [n] and [n, V], the latter a buffer of ``work``."""
    difference = torch.sub(work.target, work.student, out=work.difference)
    _log_ratio(work.target, work.student, difference, log_s, work)
    value = work.ratio.mul_(work.target).sub_(difference).sum(dim=-1)
    if gradient:
        _balance(difference.neg_(), work.student)
    return value, difference


def reverse_kl(work: Workspace, log_s: LogOf, log_q: LogOf, gradient: bool) -> tuple[Tensor, Tensor]:
    """(KL(s‖q), its gradient in u) of the rows of ``work``: [n] and [n, V], the latter a buffer of ``work``."""
    difference = torch.sub(work.student, work.target, out=work.difference)
    ratio = _log_ratio(work.student, work.target, difference, log_q, work)
    value = torch.mul(ratio, work.student, out=work.scratch).sub_(difference).sum(dim=-1)
    if gradient:
        _pull(work, ratio)
    return value, ratio


def jensen_shannon(work: Workspace, log_s: LogOf, log_q: LogOf, gradient: bool) -> tuple[Tensor, Tensor]:
    """(JS(q, s), its gradient in u) of the rows of ``work``: [n] and [n, V], the latter a buffer of ``work``."""
    difference = torch.sub(work.target, work.student, out=work.difference)
    # log(q/m) = −log1p((s − q)/2q), and the same with s and q exchanged.
    ratio = _log_to_middle(work.target, difference.neg_(), out=work.ratio, scratch=work.scratch)
    value = ratio.mul_(work.target).sum(dim=-1)
    ratio = _log_to_middle(work.student, difference.neg_(), out=work.ratio, scratch=work.scratch)
    apart = torch.mul(ratio, work.student, out=work.scratch).sum(dim=-1)
    value += apart
    if gradient:
        rows = (apart > _SATURATED).nonzero().squeeze(-1)
        if len(rows):
            # Near its bound log 2, ρ is blind to small q_i/s_i; ρ − log 2 is not, and _pull ignores a constant.
            student = work.student[rows].clamp_min_(torch.finfo(ratio.dtype).tiny)
            ratio[rows] = work.target[rows].div_(student).log1p_().neg_()
        _pull(work, ratio)
        ratio.mul_(0.5)
    return value.mul_(0.5), ratio


KERNELS: dict[str, Kernel] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "js": jensen_shannon}


def _log_ratio(a: Tensor, b: Tensor, difference: Tensor, log_b: LogOf, work: Workspace) -> Tensor:
    """log(a/b) into ``work.ratio``, from difference = a − b; anything finite where a = 0, +inf where only b = 0."""
    tiny = torch.finfo(a.dtype).tiny
    smaller = torch.minimum(a, b, out=work.scratch).clamp_min_(tiny)
    ratio = torch.div(difference, smaller, out=work.ratio)
    torch.abs(ratio, out=ratio).log1p_().copysign_(difference)
    if bool(b.amin() < tiny):
        lost = (b < tiny) & (a > 0)
        if bool(lost.any()):
            # b is below the dtype's range but its logarithm is not: add what log(tiny) misses of it.
            missing = log_b().neg_().add_(math.log(tiny)).clamp_min_(0.0)
            ratio.add_(missing.masked_fill_(lost.logical_not_(), 0.0))
    return ratio


def _log_to_middle(a: Tensor, difference: Tensor, out: Tensor, scratch: Tensor) -> Tensor:
    """log(a/m) for m = ½(a + b) from difference = b − a; anything finite where a = 0."""
    twice = torch.clamp_min(a, torch.finfo(a.dtype).tiny, out=scratch).mul_(2.0)
    return torch.div(difference, twice, out=out).log1p_().neg_()


def _pull(work: Workspace, ratio: Tensor) -> None:
    """s_i (ratio_i − Σ_j s_j ratio_j) in place."""
    for _ in range(2):  # the second time takes off what the first mean, of a sum with large terms, was rounded by
        ratio.sub_(torch.mul(ratio, work.student, out=work.scratch).sum(dim=-1, keepdim=True))
    ratio.mul_(work.student)


def _balance(gradient: Tensor, student: Tensor) -> None:
    """A row of a gradient in logits sums to zero: put its rounding error where 1 − s_i lost its digits, if anywhere."""
    rows = (student.amax(dim=-1) > _DOMINANT).nonzero().squeeze(-1)
    if len(rows):
        columns = student[rows].argmax(dim=-1)
        gradient[rows, columns] -= gradient.sum(dim=-1)[rows]
