"""Dense line scans: every coordinate from edge to edge through base points, for jumps and spikes no trace can see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box
from trivium.certify.falsify.points import Points
from trivium.certify.falsify.probe import Probe
from trivium.simplex.geometry import hilbert

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
_PER_LINE = 3


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


def scan(start: Tensor, end: Tensor, count: int, evaluate: Evaluate, probe: Probe) -> tuple[Tensor, Tensor]:
    """Evaluate ``count`` points of each line [M, D], half of them evenly spaced and the rest crowding at its ends.

    Returns:
        the intervals between neighbours over which weights move most, and most out of line with the next ones.
    """
    t = _places(count)
    lows, highs = [start[:0]], [end[:0]]
    for a, b in zip(start, end, strict=True):
        if probe.late:
            break
        path = probe.box.snap(torch.lerp(a, b, t[:, None]))
        path[0], path[-1] = a, b
        _, log_w = evaluate(path)
        moved = hilbert(log_w[1:], log_w[:-1]).nan_to_num(nan=0.0, posinf=torch.finfo(torch.float64).max)
        speed = moved / (t[1:] - t[:-1])
        odd = torch.zeros_like(moved)
        odd[1:-1] = moved[1:-1] - torch.maximum(moved[2:], moved[:-2])
        top = torch.cat([x.topk(min(_PER_LINE, len(x))).indices for x in (moved, speed, odd)]).unique()
        lows.append(path[top])
        highs.append(path[top + 1])
    return torch.cat(lows), torch.cat(highs)


def _places(count: int) -> Tensor:
    """Parameters in [0, 1], ascending and distinct: a grid, and log-spaced ones down to 1e-12 from either end."""
    near = 10 ** torch.linspace(-12, -1, max(8, count // 16), dtype=torch.float64)
    return torch.cat([torch.linspace(0, 1, count, dtype=torch.float64), near, 1 - near]).unique()


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
