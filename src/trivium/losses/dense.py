r"""The divergences between the pooled target q and the student s, written plainly.

This is the form to read and to check against: it holds every teacher's log-probabilities at once and lets
autograd differentiate. Training uses :mod:`trivium.losses.streaming`, which agrees with it.

The Jensen–Shannon family is D_β = β·KL(q‖m) + (1 − β)·KL(s‖m) with m = βq + (1 − β)s; here β = ½, which makes it
symmetric and at most log 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.losses.inputs import check_inputs
from trivium.simplex.typed import typed

_FLOOR = -1e4


def forward_kl(log_q: Tensor, log_s: Tensor) -> Tensor:
    """KL(q‖s) = Σ_i q_i (log q_i − log s_i) over the last axis, in nats; +inf where q has mass and s has none."""
    return _expectation(log_q, log_q, log_s)


def reverse_kl(log_q: Tensor, log_s: Tensor) -> Tensor:
    """KL(s‖q) = Σ_i s_i (log s_i − log q_i) over the last axis, in nats; +inf where s has mass and q has none."""
    return _expectation(log_s, log_s, log_q)


def jensen_shannon(log_q: Tensor, log_s: Tensor) -> Tensor:
    """½ KL(q‖m) + ½ KL(s‖m), m = ½(q + s), over the last axis, in nats; in [0, log 2]."""
    # The floor is below every log-probability whose exponential is not zero; it keeps logaddexp(−inf, −inf), whose
    # derivative is NaN, out of the graph.
    log_m = torch.logaddexp(log_q, log_s.clamp_min(_FLOOR)) - math.log(2.0)
    return 0.5 * (_expectation(log_q, log_q, log_m) + _expectation(log_s, log_s, log_m))


def _expectation(log_weight: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """Σ_i e^{log_weight_i} (log a_i − log b_i), with 0·anything = 0 in value and in gradient."""
    absent = torch.isneginf(log_weight)
    # Filled before subtracting, not after: autograd multiplies a masked −inf − (−inf) by zero and gets NaN.
    difference = log_a.masked_fill(absent, 0.0) - log_b.masked_fill(absent, 0.0)
    return (log_weight.exp() * difference).sum(dim=-1)


DENSE_DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "js": jensen_shannon,
}


@typed()
def dense_token_losses(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    *,
    temperature: float = 1.0,
    pool: str = "linear",
    divergence: str = "forward_kl",
    mask: Tensor | None = None,
    exponent: float | None = None,
) -> Tensor:
    """T²·D of every row, differentiable by autograd.

    Arguments are those of :func:`trivium.losses.distillation_loss`. The factor T² makes the gradient of the forward
    KL in the student's logits T·(s − q) (T9), so its size does not fall with T².

    Returns:
        [N], nats, in the promoted dtype of the logits (pass float64 for a reference); 0 on masked rows.

    Raises:
        InputError: shapes, names or a temperature that cannot be used.

    Cost: O(K·N·V) time and memory.
    """
    check_inputs(student_logits, teacher_logits, log_weights, temperature, pool, divergence, mask, exponent)
    log_s = torch.log_softmax(student_logits / temperature, dim=-1)
    log_p = [torch.log_softmax(logits / temperature, dim=-1) for logits in teacher_logits]
    log_q = make_pool(pool, exponent).pool(log_p, torch.log_softmax(log_weights, dim=-1))
    losses = DENSE_DIVERGENCES[divergence](log_q, log_s) * temperature**2
    return losses if mask is None else torch.where(mask, losses, torch.zeros_like(losses))


@typed()
def dense_distillation_loss(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    *,
    temperature: float = 1.0,
    pool: str = "linear",
    divergence: str = "forward_kl",
    mask: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    exponent: float | None = None,
) -> Tensor:
    """Σ of :func:`dense_token_losses` over unmasked rows, divided by ``normalizer`` (default: their number)."""
    losses = dense_token_losses(
        student_logits,
        teacher_logits,
        log_weights,
        temperature=temperature,
        pool=pool,
        divergence=divergence,
        mask=mask,
        exponent=exponent,
    )
    rows = losses.shape[0] if mask is None else int(mask.sum())
    return losses.sum() / (max(rows, 1) if normalizer is None else normalizer)
