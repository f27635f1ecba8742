"""Weighting rules and their composition in Python floats, as the formulas read. Imports nothing of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def normalized(scores: Row) -> list[float]:
    """log w with w_k = e^{s_k} / Σ_j e^{s_j}."""
    top = max(scores)
    total = math.fsum(math.exp(score - top) for score in scores)
    return [score - top - math.log(total) for score in scores]


def limited(scores: Row, budget: float | None) -> list[float]:
    """log w of max(s, max s − B); no budget leaves s as it is."""
    lowest = -math.inf if budget is None else max(scores) - budget
    return normalized([max(score, lowest) for score in scores])


def by_score(feature: Row, slope: float, budget: float | None, low: float, high: float) -> list[float]:
    """log w of slope · feature, the feature clipped to its range and the score to its budget."""
    return limited([slope * min(max(value, low), high) for value in feature], budget)


def bayes(tokens: Sequence[Row], prior: Row, tau: float = 1.0) -> list[list[float]]:
    """The posterior over K teachers before each of T tokens, token after token.

    ``tokens[t][k]`` is the probability, not its log, that teacher k gives to the token at position t.
    """
    posterior = [value / math.fsum(prior) for value in prior]
    before = []
    for likelihood in tokens:
        before.append(posterior)
        joint = [belief * probability**tau for belief, probability in zip(posterior, likelihood, strict=True)]
        posterior = [value / math.fsum(joint) for value in joint]
    return before


def multiplied(parts: Sequence[Row]) -> list[float]:
    """w_k = Π_s w_{s,k} / Σ_j Π_s w_{s,j}, in probabilities."""
    products = [math.prod(column) for column in zip(*parts, strict=True)]
    return [value / math.fsum(products) for value in products]


def distance(log_u: Row, log_v: Row) -> float:
    """d_H, in nats: the spread of log u − log v."""
    ratios = [a - b for a, b in zip(log_u, log_v, strict=True)]
    return max(ratios) - min(ratios)
