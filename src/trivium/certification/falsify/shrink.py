"""The simplest witness: round numbers, edges of the box and equal entries, as long as the breach persists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp

_DECIMALS = (0, 1, 2, 3, 4, 5, 6, 8)


def keeps(residual: float, slack: float) -> float:
    """Return what a simpler witness must still exceed: half of the breach, above rounding."""
    if math.isinf(residual):
        return 1e300
    return slack + 0.5 * (residual - slack) if residual > 0 else slack


def shrink(
    rows: Tensor, box: Box, measure: Callable[[Tensor], float], limit: float, tries: int = 400
) -> tuple[Tensor, float]:
    """Simplify witness rows [R, D] greedily, as long as ``measure`` of them exceeds ``limit``; also the last measure.

    Whole matrices are tried first, then each feature, then entries that all rows share, then single entries; a change
    is kept if it costs fewer digits. Costs at most ``tries`` measures, fewer where the time is up.
    """
    left, last = tries, math.nan
    for _ in range(3):
        before = rows
        for candidate in _candidates(rows, box):
            simpler = box.snap(candidate(rows))
            if _cost(simpler, box) >= _cost(rows, box):
                continue
            if left == 0:
                return rows, last
            left -= 1
            try:
                value = measure(simpler)
            except TimeUp:
                return rows, last
            if value > limit:
                rows, last = simpler, value
        if torch.equal(before, rows):
            break
    return rows, last


def _candidates(rows: Tensor, box: Box) -> Iterator[Callable[[Tensor], Tensor]]:
    everywhere = torch.ones_like(rows, dtype=torch.bool)
    masks = [everywhere]
    for group in box.groups:
        mask = torch.zeros_like(everywhere)
        mask[:, group] = True
        masks.append(mask)
    for coordinate in range(box.dimension):
        mask = torch.zeros_like(everywhere)
        mask[:, coordinate] = True
        if bool((rows[:, coordinate] == rows[0, coordinate]).all()):
            masks.append(mask)
    if len(rows) > 1:
        for row in range(min(len(rows), 8)):
            for coordinate in range(box.dimension):
                mask = torch.zeros_like(everywhere)
                mask[row, coordinate] = True
                masks.append(mask)
    for mask in masks:
        yield lambda rows, mask=mask: torch.where(mask, rows[:1], rows)  # type: ignore[misc]
        yield from _replacements(mask, box)


def _replacements(mask: Tensor, box: Box) -> Iterator[Callable[[Tensor], Tensor]]:
    middle = (box.low + box.high) / 2
    for value in (torch.zeros_like(box.low), box.low, box.high, torch.ones_like(box.low), middle):
        yield lambda rows, value=value: torch.where(mask, value, rows)  # type: ignore[misc]
    yield lambda rows: torch.where(mask, rows[:, :1], rows)
    for decimals in _DECIMALS:
        yield lambda rows, decimals=decimals: torch.where(mask, rows.round(decimals=decimals), rows)  # type: ignore[misc]


def _cost(rows: Tensor, box: Box) -> int:
    """Digits to write the rows down; zero is free, an edge of the box or the value of the first row costs one."""
    cheap = (rows == box.low) | (rows == box.high)
    cheap[1:] |= rows[1:] == rows[0]
    return sum(
        0 if value == 0 else 1 if at_edge else 1 + len(repr(value))
        for value, at_edge in zip(rows.flatten().tolist(), cheap.flatten().tolist(), strict=True)
    )
