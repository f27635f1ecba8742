"""Batches whose mean is a number that the rule's source names: where a rule that looks across its batch may switch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box

#: Numbers tried at most, and rows of a batch.
_MOST, _ROWS = 64, 8
_NEAR = 1e-4


def targets(numbers: Sequence[float], box: Box) -> list[float]:
    """The numbers, a little beside each, and half way between neighbours, inside the box.

    >>> from trivium.weighting.token.margin import Margin
    >>> targets([0.25, 0.75], Box.of(Margin(), 2))
    [0.2499, 0.25, 0.2501, 0.5, 0.7499, 0.75, 0.7501]
    """
    if box.dimension == 0:
        return []
    low, high = float(box.low.min()), float(box.high.max())
    inside = sorted({value for value in numbers if low < value < high})[:_MOST]
    beside = [value + step for value in inside for step in (-_NEAR, 0.0, _NEAR)]
    between = [(a + b) / 2 for a, b in pairwise(inside)]
    return sorted({round(value, 12) for value in (*beside, *between)})


def batches(numbers: Sequence[float], box: Box, rows: Tensor) -> Iterator[Tensor]:
    """For each target a batch [8, D]: a row of ``rows`` and seven equal ones, so that each coordinate has it as mean.

    Coordinates whose range cannot reach the target keep the values of the row.
    """
    for place, target in enumerate(targets(numbers, box)):
        row = rows[place % len(rows)]
        rest = (_ROWS * target - row) / (_ROWS - 1)
        rest = torch.where((rest >= box.low) & (rest <= box.high) & ~box.integer, rest, row)
        yield torch.cat([row[None], rest.expand(_ROWS - 1, -1)])
