"""Dense line scans: every coordinate from edge to edge through base points, for jumps and spikes no trace can see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.points import Points
from trivium.simplex.geometry import hilbert, influence

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
_PER_LINE = 3
_GOLDEN = 0.6180339887498949


def lines(points: Points, bases: Tensor) -> tuple[Tensor, Tensor]:
    """Ends [M, D] of lines through each base: along each coordinate, along each feature for all teachers at once, and
    with the first half of the teachers going against the second."""
    box = points.box
    starts, ends = [], []
    for base in bases:
        for mask, against in _directions(box):
            low, high = torch.where(against, box.high, box.low), torch.where(against, box.low, box.high)
            starts.append(torch.where(mask, low, base))
            ends.append(torch.where(mask, high, base))
    none = torch.zeros(0, box.dimension, dtype=torch.float64)
    return (torch.stack(starts), torch.stack(ends)) if starts else (none, none)


def scan(start: Tensor, end: Tensor, count: int, evaluate: Evaluate, box: Box, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Evaluate ``count`` points of each line [M, D], evenly spaced, and an eighth as many crowding at its ends.

    Every line has its grid at another offset, so what lies between the points of one is met by another;
    ``skip`` counts lines that came before.

    Returns:
        the intervals between neighbours over which weights move most, and most out of line with the next ones.
    """
    lows, highs = [start[:0]], [end[:0]]
    for number, (a, b) in enumerate(zip(start, end, strict=True)):
        t = _places(count, offset=((number + skip) * _GOLDEN) % 1)
        path = box.snap(torch.lerp(a, b, t[:, None]))
        path[0], path[-1] = a, b
        _, log_w = evaluate(path)
        moved = hilbert(log_w[1:], log_w[:-1]).nan_to_num(nan=0.0, posinf=torch.finfo(torch.float64).max)
        width = (t[1:] - t[:-1])[:, None]
        slope = ((log_w[1:] - log_w[:-1]) / width).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        # A jump against the trend makes the weights move less, so what counts is the departure from both neighbours.
        bend = torch.minimum(influence(slope[1:-1] - slope[:-2]), influence(slope[1:-1] - slope[2:]))
        odd = torch.zeros_like(moved)
        odd[1:-1] = bend * width[1:-1, 0]
        speed = moved / width[:, 0]
        top = torch.cat([x.topk(min(_PER_LINE, len(x))).indices for x in (moved, speed, odd)]).unique()
        lows.append(path[top])
        highs.append(path[top + 1])
    return torch.cat(lows), torch.cat(highs)


def _places(count: int, offset: float) -> Tensor:
    """Parameters in [0, 1], ascending and distinct: a grid, and log-spaced ones down to 1e-12 from either end."""
    grid = ((torch.arange(count, dtype=torch.float64) + offset) / count).clamp(max=1)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    near = 10 ** torch.linspace(-12, -1, max(8, count // 16), dtype=torch.float64)
    places: Tensor = torch.cat([grid, ends, near, 1 - near]).unique()
    return places


def _directions(box: Box) -> list[tuple[Tensor, Tensor]]:
    """(which coordinates move, which of them from high to low)."""
    d, forward = box.dimension, torch.zeros(box.dimension, dtype=torch.bool)
    found = [(torch.arange(d) == coordinate, forward) for coordinate in range(d)]
    for group in box.groups:
        if len(group) > 1:
            together = forward.clone()
            together[group] = True
            against = forward.clone()
            against[group[: len(group) // 2]] = True
            found += [(together, forward), (together, against)]
    return found
