"""The loss of several teachers under entropy and prefix weights, written out position by position in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def dense(
    student: Tensor,
    teachers: Sequence[Tensor],
    labels: Tensor,
    *,
    strength: float,
    budget: float,
    floor: float,
    temperature: float = 1.0,
) -> Tensor:
    """T²·KL(target, student) a predicted token, with gradient in ``student``.

    Weights are softmax(−strength·entropy)·prefix posterior within its budget, each at least ``floor``.

    Args:
        student: [B, T, V]; teachers: K of that shape.
        labels: [B, T], that of a position is the token that stands there.
    """
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(labels)):
        evidence = torch.zeros(len(teachers), dtype=torch.float64)
        for place in range(labels.shape[1] - 1):
            label = int(labels[row, place + 1])
            if label < 0:
                continue
            log_p = [z[row, place].double().log_softmax(-1) for z in teachers]
            entropy = torch.stack([-(one.exp() * one).sum() for one in log_p])
            context = (evidence - evidence.max()).clamp_min(-budget)
            w = floored((-strength * entropy + context).softmax(-1), floor)
            q = sum(w[k] * (z[row, place].double() / temperature).softmax(-1) for k, z in enumerate(teachers))
            log_s = (student[row, place].double() / temperature).log_softmax(-1)
            total = total + temperature**2 * (q * (q.log() - log_s)).sum()
            evidence = evidence + torch.stack([one[label] for one in log_p])
            tokens += 1
    return total / tokens


def floored(w: Tensor, floor: float) -> Tensor:
    """Weights ≥ floor: those below it get it, the others share the rest in proportion."""
    low = w < floor
    while True:
        found = torch.where(low, floor, w * (1 - floor * low.sum()) / w[~low].sum())
        if bool((found >= floor - 1e-12).all()):
            return found
        low = found < floor


def answers(models: Mapping[str, torch.nn.Module], batch: Mapping[str, Tensor]) -> list[Tensor]:
    """The logits of causal models in evaluation mode, without gradients."""
    with torch.no_grad():
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return [model.eval()(**given).logits for model in models.values()]
