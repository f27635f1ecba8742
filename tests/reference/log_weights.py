"""Hypothesis strategies for rows of log weights: ties, near one-hot, zeros, wide scales, one teacher."""

from __future__ import annotations

import math

from hypothesis import strategies as st

_TIED = st.sampled_from([0.0, -1.0, -2.0, -math.log(2), -700.0])
_WIDE = st.floats(-600.0, 50.0)
_NEAR = st.floats(-1.0, 1.0)


def scores(num_teachers: int, *, zeros: bool = False) -> st.SearchStrategy[list[float]]:
    """K scores (unnormalized log weights), at least one of them finite; with ``zeros`` some may be -inf."""
    entry = _TIED | _WIDE | _NEAR
    row = st.lists(entry | st.just(-math.inf) if zeros else entry, min_size=num_teachers, max_size=num_teachers)
    return row.filter(lambda values: max(values) > -math.inf)


def orders(num_teachers: int) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """A weak order of K teachers as tiers, safest first: a chain, tiers with ties, or one tier."""
    return st.lists(st.integers(0, num_teachers - 1), min_size=num_teachers, max_size=num_teachers).map(_tiers)


def _tiers(levels: list[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(k for k, level in enumerate(levels) if level == value) for value in sorted(set(levels)))
