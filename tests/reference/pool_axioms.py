"""Residuals of the axioms of aggregators and softening operators, in Python floats and by the words of the axiom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reference.losses import entropy, kl, total_variation
from reference.pools import soften

Row = Sequence[float]
Pool = Callable[[Sequence[Row], Row], list[float]]
Softener = Callable[[Row, float], list[float]]


def distribution(pool: Pool, p: Sequence[Row], w: Row) -> float:
    q = pool(p, w)
    return max(abs(math.fsum(q) - 1), -min(q))


def positivity(pool: Pool, p: Sequence[Row], w: Row) -> float:
    q = pool(p, w)
    return max((-q[i] for i in range(len(q)) if all(row[i] > 0 for row in p)), default=-math.inf)


def monotonicity(pool: Pool, p: Sequence[Row], w: Row, teacher: int, amount: float) -> float:
    """The other weights keep their ratios and share what is left."""
    raised = w[teacher] + amount * (1 - w[teacher])
    others = 1 - w[teacher]
    rescaled = [raised if k == teacher else x * (1 - raised) / others if others else 0.0 for k, x in enumerate(w)]
    return kl(p[teacher], pool(p, rescaled)) - kl(p[teacher], pool(p, w))


def commutation(pool: Pool, p: Sequence[Row], w: Row, temperature: float) -> float:
    return total_variation(pool([soften(row, temperature) for row in p], w), soften(pool(p, w), temperature))


def flattening(pool: Pool, p: Sequence[Row], w: Row, temperature: float) -> float:
    q = pool([soften(row, temperature) for row in p], w)
    widest = max(math.log(max(row) / min(row)) for row in p)
    return total_variation(q, [1 / len(q)] * len(q)) - math.tanh(widest / (2 * temperature))


def rank(softener: Softener, p: Row, parameter: float) -> float:
    q = softener(p, parameter)
    return max(q[j] - q[i] for i in range(len(p)) for j in range(len(p)) if p[i] >= p[j])


def entropy_monotone(softener: Softener, p: Row, parameter: float, higher: float) -> float:
    return entropy(softener(p, parameter)) - entropy(softener(p, higher))


def identity(softener: Softener, p: Row, parameter: float) -> float:
    return total_variation(softener(p, parameter), p)


def soft_end(softener: Softener, p: Row, parameter: float) -> float:
    return total_variation(softener(p, parameter), [1 / len(p)] * len(p))


def sharp_end(softener: Softener, p: Row, parameter: float) -> float:
    top = [1.0 if x == max(p) else 0.0 for x in p]
    return total_variation(softener(p, parameter), [x / sum(top) for x in top])
