"""Finite-sample limits of a mean, each at its stated level whatever the distribution.

Clopper–Pearson where a count was made: it is the exact test of a rate, turned round. The *betting* interval (hedged
capital: Waudby-Smith and Ramdas, 2024) where masses in [0, 1] were measured, one a document or prompt: it makes use of
how small and how alike they are, which a count cannot. Empirical Bernstein (Maurer and Pontil, 2009) has a closed form
and is there to compare with; a test holds it to be the wider of the two. Positions of one document
are not independent, so values are means of a document.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trivium.errors import require

#: Bets stay below this share of what they could lose.
_BOLD = 0.95
_HALVINGS = 50


@dataclass(frozen=True)
class Interval:
    """A mean with its limits.

    Attributes:
        estimate: the mean that was observed.
        low, high: each a limit at ``1 − (1 − level)/2``, so that both hold at ``level``.
        upper: the one-sided upper limit at ``level``, below ``high``: what a promise is held to.
        level: confidence, such as 0.95.
        n: independent observations behind it.
        method: how, in words.
    """

    estimate: float
    low: float
    high: float
    upper: float
    level: float
    n: int
    method: str


def clopper_pearson(count: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a rate after ``count`` of ``n`` independent trials.

    >>> round(clopper_pearson(0, 300).upper, 4)
    0.0099
    """
    _require(n, level)
    require(0 <= count <= n, "a count must lie between 0 and its trials", f"{count} of {n}", "Count anew.")

    def upper(alpha: float) -> float:
        return 1.0 if count == n else float(stats.beta.ppf(1 - alpha, count + 1, n - count))

    def lower(alpha: float) -> float:
        return 0.0 if count == 0 else float(stats.beta.ppf(alpha, count, n - count + 1))

    alpha = 1 - level
    return Interval(count / n, lower(alpha / 2), upper(alpha / 2), upper(alpha), level, n, "Clopper–Pearson")


def betting(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the interval of the mean of independent values in [0, 1], by testing every mean with a bet against it.

    For a candidate mean m a gambler's capital is Π(1 + λ_t·(m − x_t)), with λ_t in [0, 0.95] chosen from values before
    the t-th alone: λ_t² = 2·log(1/α)/(n·σ²_{t−1}). If the mean is m, the capital's expectation is 1, so it exceeds 1/α
    with probability at most α (Markov), and m is rejected there. The capital rises with m, so what is not rejected is
    an interval. Lower limits are upper ones of 1 − x.

    Values are taken in the order given, which must not depend on them.

    >>> round(betting([0.0] * 300).upper, 4)
    0.0108
    """
    x = _values(values, level)
    alpha = 1 - level
    low, high = 1 - _bet(1 - x, alpha / 2), _bet(x, alpha / 2)
    return Interval(float(x.mean()), low, high, _bet(x, alpha), level, len(x), "betting")


def _bet(x: NDArray[np.float64], alpha: float) -> float:
    """Return the largest mean that is not rejected at level α."""
    n = len(x)
    count = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x)) / (count + 1)
    spread = (0.25 + np.cumsum((x - means) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    bets = np.minimum(_BOLD, np.sqrt(2 * math.log(1 / alpha) / (n * before)))
    goal = math.log(1 / alpha)
    good, bad = float(x.mean()), 1.0
    if np.log1p(bets * (1.0 - x)).sum() < goal:
        return 1.0
    if np.log1p(bets * (good - x)).sum() >= goal:  # an order of values that flatters: nothing below is rejected less
        good = 0.0
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        rejected = np.log1p(bets * (middle - x)).sum() >= goal
        good, bad = (good, middle) if rejected else (middle, bad)
    return max(bad, float(x.mean()))


def empirical_bernstein(values: Sequence[float], level: float = 0.95) -> Interval:
    """x̄ ± sqrt(2·s²·log(2/α)/n) + 7·log(2/α)/(3(n − 1)) for each side at α, independent values in [0, 1], n ≥ 2."""
    x = _values(values, level)
    n, alpha = len(x), 1 - level
    require(n >= 2, "a variance must be of two values or more", n, "Audit more documents.")

    def reach(share: float) -> float:
        logs = math.log(2 / share)
        return math.sqrt(2 * float(x.var(ddof=1)) * logs / n) + 7 * logs / (3 * (n - 1))

    mean, wide = float(x.mean()), reach(alpha / 2)
    low, high = max(0.0, mean - wide), min(1.0, mean + wide)
    return Interval(mean, low, high, min(1.0, mean + reach(alpha)), level, n, "empirical Bernstein")


def least_limit(n: int, level: float = 0.95) -> float:
    """1 − α^{1/n}: no distribution-free upper limit from n draws is below this.

    >>> round(least_limit(300), 4)
    0.0099
    """
    _require(n, level)
    return float(-np.expm1(math.log(1 - level) / n))


def draws_needed(limit: float, level: float = 0.95) -> int:
    """Return the fewest draws after which an upper limit can be δ at all: log α / log(1 − δ), rounded up.

    >>> draws_needed(0.0001)
    29956
    """
    require(0 < limit < 1, "a limit must lie between 0 and 1", limit, "For example 0.001.")
    return math.ceil(math.log(1 - level) / math.log1p(-limit))


def _values(values: Sequence[float], level: float) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    _require(len(x), level)
    slack = 1e-9  # of sums of probabilities
    inside = bool(np.isfinite(x).all()) and float(x.min()) >= -slack and float(x.max()) <= 1 + slack
    require(inside, "masses must lie in [0, 1]", "others", "Give means of probabilities.")
    return x.clip(0.0, 1.0)


def _require(n: int, level: float) -> None:
    require(n >= 1, "an interval must be of some observations", n, "Audit at least one.")
    require(0 < level < 1, "a confidence level must lie between 0 and 1", level, "For example 0.95.")
