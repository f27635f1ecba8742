"""The distillation loss written plainly with PyTorch: every teacher at once, autograd for the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Below every log-probability whose exponential is not zero.
_FLOOR = -1e4


def pooled(log_p: Sequence[Tensor], log_w: Tensor, pool: str, exponent: float | None) -> Tensor:
    """log q [N, V] of K log-distributions [N, V] under log-weights [N, K]."""
    p = torch.stack(list(log_p), dim=-1)
    w = log_w.unsqueeze(-2).expand_as(p)
    if pool == "linear":
        return torch.logsumexp(w + p, dim=-1)
    silent = torch.isneginf(w)
    if pool == "log":
        score = (w.exp() * p).masked_fill(silent, 0.0).sum(-1)
    else:
        rho = 0.5 if exponent is None else exponent
        score = torch.logsumexp((w + rho * p).masked_fill(silent, -math.inf), dim=-1) / rho
    return torch.log_softmax(score, dim=-1)


def expectation(log_weight: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """Σ_i e^{log_weight_i} (log a_i − log b_i), with 0·anything = 0 in value and in gradient."""
    absent = torch.isneginf(log_weight)
    # Filled before subtracting: autograd multiplies a masked −inf − (−inf) by zero and gets NaN.
    return (log_weight.exp() * (log_a.masked_fill(absent, 0.0) - log_b.masked_fill(absent, 0.0))).sum(-1)


def divergence_of(name: str, log_q: Tensor, log_s: Tensor) -> Tensor:
    """KL(q‖s), KL(s‖q) or Jensen–Shannon of each row, in nats."""
    if name == "forward_kl":
        return expectation(log_q, log_q, log_s)
    if name == "reverse_kl":
        return expectation(log_s, log_s, log_q)
    log_m = torch.logaddexp(log_q, log_s.clamp_min(_FLOOR)) - math.log(2.0)
    return 0.5 * (expectation(log_q, log_q, log_m) + expectation(log_s, log_s, log_m))


def dense_token_losses(
    student: Tensor,
    teachers: Sequence[Tensor],
    log_weights: Tensor,
    *,
    temperature: float = 1.0,
    pool: str = "linear",
    divergence: str = "forward_kl",
    mask: Tensor | None = None,
    exponent: float | None = None,
) -> Tensor:
    """T²·D of every row [N], in the dtype of what is given; 0 on masked rows."""
    log_s = torch.log_softmax(student / temperature, dim=-1)
    log_p = [torch.log_softmax(z / temperature, dim=-1) for z in teachers]
    log_w = torch.log_softmax(log_weights, dim=-1).expand(len(student), len(log_p))
    losses = divergence_of(divergence, pooled(log_p, log_w, pool, exponent), log_s) * temperature**2
    return losses if mask is None else torch.where(mask, losses, torch.zeros_like(losses))


def dense_distillation_loss(
    student: Tensor,
    teachers: Sequence[Tensor],
    log_weights: Tensor,
    *,
    mask: Tensor | None = None,
    normalizer: float | None = None,
    **options: object,
) -> Tensor:
    """Σ of :func:`dense_token_losses` over rows that count, divided by their number or by ``normalizer``."""
    losses = dense_token_losses(student, teachers, log_weights, mask=mask, **options)  # type: ignore[arg-type]
    rows = len(losses) if mask is None else int(mask.sum())
    return losses.sum() / (max(rows, 1) if normalizer is None else normalizer)
