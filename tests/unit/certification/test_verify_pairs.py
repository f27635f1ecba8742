"""Any operation after any two others: what one entry tells the next (dtype, layout, sums, jumps) is true as well.

The table's own test gives an operation plain features; random programs know the common operations alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from entries.attack import BOUNDED, breaches
from entries.calls import CALLS, RandomCall

NAMES = sorted(CALLS, key=str)


def resized(call: RandomCall, count: int) -> Any:
    """A call's first result as ``count`` numbers, from features of any width."""

    def made(features: Mapping[str, Tensor]) -> Tensor:
        given = {name: torch.cat([features[name]] * 4)[: call.entries] for name in "xy"}
        out = call.function({**given, "s": features["s"]})
        flat = (out[0] if isinstance(out, tuple | list) else out).reshape(-1)
        return torch.cat([flat] * count)[:count]

    return made


def composed(r: Random) -> RandomCall:
    """An operation of the results of two others, in the run's format or in theirs."""
    last, *before = [r.choice(CALLS[r.choice(NAMES)])(r) for _ in range(3)]
    x, y = (resized(call, last.entries) for call in before)
    as_made = r.random() < 0.25

    def function(f: Mapping[str, Tensor]) -> Any:
        kind = f["x"].dtype
        made = {"x": x(f), "y": y(f)}
        kept = {name: v if as_made and v.dtype is not torch.bool else v.to(kind) for name, v in made.items()}
        return last.function({**kept, "s": f["s"]})

    low, high = max(before[0].low, -1e3), min(before[0].high, 1e3)
    reach = 10.0 ** r.choice([2, 4, 19, 37, 38])
    if r.random() < 0.3:
        low, high = (-reach if low < 0 else low), reach
    exact = not as_made and all(call.exact for call in (last, *before))
    return RandomCall(function, last.entries, low, high, exact)


def attack(seed: int, pairs: int) -> tuple[list[str], int]:
    """Breaches over random compositions, and how many of them were bounded in some format."""
    found, bounded = [], 0
    for number in range(pairs):
        r = Random(f"{seed} {number}")
        lines = list(breaches(composed(r), 1000 * seed + number, 64))
        bounded += BOUNDED in lines
        told = [line for line in lines if line != BOUNDED and "refused" not in line and "not captured" not in line]
        found += [f"{seed}/{number}: {line}" for line in told]
    return found, bounded


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_number_leaves_the_bounds_of_a_composition() -> None:
    found, bounded = attack(1, 12)
    assert found == []
    assert bounded >= 6


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_number_leaves_the_bounds_of_many_compositions(seed: int) -> None:
    found, bounded = attack(seed, 60)
    assert found == []
    assert bounded >= 30
