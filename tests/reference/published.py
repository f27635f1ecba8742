"""Published weighting rules in Python floats, one teacher and one row at a time. Imports nothing of the package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Row = Sequence[float]


def _others(row: Row, k: int) -> list[float]:
    return [value for j, value in enumerate(row) if j != k]


def _shares(values: Row) -> list[float]:
    return [value / math.fsum(values) for value in values]


def ebkd(entropies: Row, smoothing: float = 0.0) -> list[float]:
    """1 − H_k/(ΣH + δ), as published for δ = 0."""
    total = math.fsum(entropies) + smoothing
    return [(smoothing + math.fsum(_others(entropies, k))) / total for k in range(len(entropies))]


def ebkd_normalized(entropies: Row, smoothing: float) -> list[float]:
    """The same over its sum."""
    return _shares(ebkd(entropies, smoothing))


def ca_mkd(losses: Row) -> list[float]:
    """(1 − softmax_k(ℓ))/(K − 1) without the subtraction: the others' share of Σ e^ℓ."""
    total = math.fsum(map(math.exp, losses))
    return [math.fsum(map(math.exp, _others(losses, k))) / (total * (len(losses) - 1)) for k in range(len(losses))]


def min_ce(losses: Row) -> list[float]:
    """1 for the first teacher that no other beats, 0 for the rest."""
    best = 0
    for k, loss in enumerate(losses):
        if loss < losses[best]:
            best = k
    return [float(k == best) for k in range(len(losses))]


def avg_ce(losses: Row) -> list[float]:
    """softmax(exp(−ℓ))."""
    return _shares([math.exp(math.exp(-loss)) for loss in losses])


def nemo_rl(rows: Sequence[Row], alpha: float, sign: float) -> list[float]:
    """softmax(α · mean score), the mean over all rows of the batch."""
    means = [sign * math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return _shares([math.exp(alpha * (mean - max(means))) for mean in means])


def hardness(gaps: Row, strength: float, reference: float) -> list[float]:
    """softmax(strength · tanh(log(h/h₀))), through the logarithm."""
    scores = [-1.0 if gap == 0 else math.tanh(math.log(gap / reference)) for gap in gaps]
    return _shares([math.exp(strength * score) for score in scores])


def scores(features: Mapping[str, Row], weights: Mapping[str, float], budget: float | None) -> list[float]:
    """softmax of Σ_f a_f·u_f, raised to within the budget of the best."""
    num_teachers = len(next(iter(features.values())))
    total = [math.fsum(weight * features[name][k] for name, weight in weights.items()) for k in range(num_teachers)]
    lowest = -math.inf if budget is None else max(total) - budget
    return _shares([math.exp(max(score, lowest) - max(total)) for score in total])


def sequence_loss(log_probs: Sequence[float | None]) -> float:
    """Mean of −log p over the tokens that are predicted, None for the others; between 0 and 30."""
    known = [-value for value in log_probs if value is not None]
    return min(30.0, max(0.0, math.fsum(known) / len(known))) if known else 0.0
