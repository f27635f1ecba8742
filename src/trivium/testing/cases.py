"""Points at which weighting rules break: ties, near one-hot, extremes of the ranges; weights and gradients likewise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from trivium.errors import require
from trivium.weighting.features import Range, check_ranges

#: Points at most that are combined over features; beyond, one feature varies at a time.
LIMIT = 4096
#: Distances from a tie or an end, as shares of a range.
NEAR = (1e-9, 1e-3)


def points(
    ranges: Mapping[str, Range | tuple[float, ...]], num_teachers: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Return features [N, K] (shared ones [N, 1]) by name, all of them inside their ranges.

    Every feature goes through: all teachers equal (at both ends and the middle), one teacher at an end and the rest at
    the other, the same off by 1e-9 and 1e-3 of the range, two teachers tied or nearly so, ramps in both directions.
    Several features take all combinations, so joint extremes are among them, as far as these are at most 4096; beyond
    that one feature varies while the others are at their low ends, middles or high ends.

    Args:
        ranges: of the features, as a rule declares them (``rule.ranges``).
        num_teachers: K ≥ 1.
        dtype: of the features.

    Raises:
        InputError: a range that is not finite with low < high, or K < 1.

    >>> at = points({"entropy": (0.0, 12.0)}, num_teachers=2)
    >>> at["entropy"].shape[1], at["entropy"].min().item(), at["entropy"].max().item()
    (2, 0.0, 12.0)
    """
    require(num_teachers >= 1, "there must be at least one teacher", num_teachers)
    if not ranges:
        return {}
    box = check_ranges(ranges)
    rows = {name: _levels(interval, num_teachers) for name, interval in box.items()}
    names, chosen = list(rows), list(_combinations([len(r) for r in rows.values()]))
    return {
        name: torch.stack([rows[name][choice[place]] for choice in chosen]).to(dtype)
        for place, name in enumerate(names)
    }


def _levels(interval: Range, num_teachers: int) -> Tensor:
    """Return rows [M, width] of one feature."""
    width = interval.width(num_teachers)
    unit = torch.tensor([[0.0], [1.0], [0.5]], dtype=torch.float64) if interval.shared else _patterns(width)
    values = interval.low + unit * (interval.high - interval.low)
    values = values.round() if interval.integer else values
    rows: Tensor = torch.unique(values.clamp(interval.low, interval.high), dim=0)
    return rows


def _patterns(num_teachers: int) -> Tensor:
    """Return rows [M, K] in [0, 1], the ties at 0, 1 and ½ among them."""
    rows = [torch.full((num_teachers,), level, dtype=torch.float64) for level in (0.0, 1.0, 0.5)]
    for k in range(num_teachers):
        for low, high in ((0.0, 1.0), *((near, 1 - near) for near in NEAR), *((0.5, 0.5 + near) for near in NEAR)):
            one = torch.full((num_teachers,), low, dtype=torch.float64)
            one[k] = high
            rows += [one, 1 - one]
    ramp = torch.linspace(0, 1, num_teachers, dtype=torch.float64)
    return torch.stack([*rows, ramp, 1 - ramp])


def _combinations(counts: list[int]) -> Iterator[tuple[int, ...]]:
    total = 1
    for count in counts:
        total *= count
    if total <= LIMIT:
        yield from itertools.product(*(range(count) for count in counts))
        return
    for rest in (0.0, 0.5, 1.0):
        still = [round(rest * (count - 1)) for count in counts]
        for place, count in enumerate(counts):
            for level in range(count):
                yield (*still[:place], level, *still[place + 1 :])


def log_weights(num_teachers: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log weights [N, K], normalized: ties, near one-hot, zeros (``-inf``), weights from e^-700 to 1.

    >>> bool((log_weights(3).exp().sum(dim=-1) - 1).abs().max() < 1e-12)
    True
    """
    require(num_teachers >= 1, "there must be at least one teacher", num_teachers)
    patterns = _patterns(num_teachers)
    scores = [scale * patterns for scale in (0.0, 1.0, 36.0, 700.0)]
    masked = patterns.clone()
    masked[:, 1::2] = -torch.inf
    rows: Tensor = torch.unique(torch.log_softmax(torch.cat([*scores, masked]), dim=-1), dim=0)
    return rows.to(dtype)


def gradients(num_teachers: int, parameters: int = 4, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return gradients [K, P], one row a teacher, by what they have in common.

    Agreeing, equal, orthogonal, opposed, in conflict at very different lengths, one of them zero, all of them zero, and
    eight random ones.
    """
    require(
        num_teachers >= 1 and parameters >= 2, "gradients need a teacher and two parameters", (num_teachers, parameters)
    )
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn(num_teachers, parameters, generator=generator, dtype=torch.float64)

    base = torch.zeros(num_teachers, parameters, dtype=torch.float64)
    base[:, 0] = 1.0
    sign = (-1.0) ** torch.arange(num_teachers, dtype=torch.float64)[:, None]
    conflict = 4.0 * base
    conflict[1:, 0], conflict[1:, 1] = -1.0, 0.5
    orthogonal = torch.eye(num_teachers, max(num_teachers, parameters), dtype=torch.float64)
    lone = base.clone()
    lone[0] = 0.0
    named = {
        "agreeing": base + 0.1 * draw().abs(),
        "equal": base,
        "orthogonal": orthogonal,
        "opposed": base * sign,
        "in conflict": conflict,
        "in conflict, lengths 1e3 and 1e-3": conflict * 10.0 ** (3 * sign),
        "one of them zero": lone,
        "all of them zero": torch.zeros_like(base),
        **{f"random {place}": draw() for place in range(8)},
    }
    return {name: gradient.to(dtype) for name, gradient in named.items()}
