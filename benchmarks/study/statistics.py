"""Paired bootstrap over examples and seeds, and ranks with critical differences."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2, f, rankdata, studentized_range

DRAWS, LEVEL = 2000, 0.95


class Draws(NamedTuple):
    """Which units and seeds each bootstrap replicate holds, and how often: [draws, units] and [draws, seeds]."""

    units: np.ndarray
    seeds: np.ndarray


def draw(stratum: np.ndarray, seeds: int, draws: int = DRAWS, seed: int = 0) -> Draws:
    """Units resampled within their stratum, seeds among themselves; the same for whatever is compared."""
    generator = np.random.default_rng(seed)
    units = np.zeros((draws, len(stratum)), np.float32)
    for part in np.unique(stratum):
        inside = np.flatnonzero(stratum == part)
        units[:, inside] = generator.multinomial(len(inside), np.full(len(inside), 1 / len(inside)), size=draws)
    return Draws(units, generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws).astype(float))


def mean(values: np.ndarray, size: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Mean over strata of Σ values / Σ size, [...] from values [..., units]."""
    parts = [values[..., stratum == s].sum(-1) / size[stratum == s].sum() for s in np.unique(stratum)]
    return np.mean(parts, axis=0)


def replicates(values: np.ndarray, size: np.ndarray, stratum: np.ndarray, drawn: Draws) -> np.ndarray:
    """:func:`mean` of each replicate, averaged over its seeds: values [runs, seeds, units] → [runs, draws]."""
    found = np.zeros((len(values), len(drawn.units)))
    for part in np.unique(stratum):
        inside = stratum == part
        counts = drawn.units[:, inside].astype(np.float64)
        summed = np.einsum("du,rsu->rds", counts, values[..., inside], optimize=True)
        ratio = summed / (counts @ size[inside])[None, :, None]
        found += (ratio * drawn.seeds[None]).sum(-1) / drawn.seeds.sum(-1)
    return found / len(np.unique(stratum))


def interval(values: np.ndarray, level: float = LEVEL) -> list[float]:
    """Percentile interval of replicates [draws]."""
    tail = (1 - level) / 2
    return np.quantile(values, [tail, 1 - tail]).tolist()


class Ranks(NamedTuple):
    """Average ranks (1 is best, ties share), Friedman's test and the difference that Nemenyi's test needs.

    ``statistic`` is Iman and Davenport's F with its p-value; ``chi_square`` Friedman's own, corrected for ties.
    """

    average: list[float]
    chi_square: float
    statistic: float
    p: float
    critical: float
    blocks: int


def friedman(scores: np.ndarray, alpha: float = 0.05) -> Ranks:
    """Ranks of k arms in n blocks from scores [n, k], lower is better.

    χ² = 12n/(k(k+1))·Σ(R̄_j − (k+1)/2)² over the correction for ties, F = (n−1)χ²/(n(k−1) − χ²).
    """
    n, k = scores.shape
    ranks = np.apply_along_axis(rankdata, 1, scores)
    average = ranks.mean(0)
    # Ties within a block: Σ(t³ − t) over its groups of equal scores.
    tied = sum(int((c**3 - c).sum()) for c in (np.unique(row, return_counts=True)[1] for row in scores))
    correction = 1 - tied / (n * (k**3 - k))
    chi = 0.0 if correction <= 0 else 12 * n / (k * (k + 1)) * ((average - (k + 1) / 2) ** 2).sum() / correction
    left = n * (k - 1) - chi
    statistic = math.inf if left <= 0 else (n - 1) * chi / left
    p = float(f.sf(statistic, k - 1, (k - 1) * (n - 1))) if n > 1 else float(chi2.sf(chi, k - 1))
    return Ranks(average.tolist(), float(chi), float(statistic), p, critical_difference(k, n, alpha), n)


def nemenyi(k: int, alpha: float = 0.05) -> float:
    """q_α of Nemenyi's test: the studentized range of k means at infinite degrees of freedom over √2."""
    return float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """q_α·sqrt(k(k+1)/(6n)): average ranks of k arms over n blocks that differ by less are not told apart."""
    return nemenyi(k, alpha) * math.sqrt(k * (k + 1) / (6 * n))
