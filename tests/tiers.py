"""Which cases of a bank run in `make test`, and which in `make test-deep` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import pytest

Case = TypeVar("Case")


def some(cases: Iterable[Case], every: int, kind: Callable[[Case], Hashable] = lambda case: None) -> list[Case]:
    """Of each kind the first case and every ``every``-th after it, for what is asked of all the others elsewhere."""
    seen: Counter[Hashable] = Counter()
    kept = []
    for case in cases:
        if seen[kind(case)] % every == 0:
            kept.append(case)
        seen[kind(case)] += 1
    return kept


def spread(
    cases: Iterable[Case],
    every: int,
    name: Callable[[Case], str],
    kind: Callable[[Case], Hashable] = lambda case: None,
) -> list[object]:
    """Parameters: :func:`some` of the cases run always, the others are ``deep``."""
    cases = list(cases)
    always = {name(case) for case in some(cases, every, kind)}
    return [
        pytest.param(case, id=name(case), marks=[] if name(case) in always else [pytest.mark.deep]) for case in cases
    ]


def first(rows: Iterable[object], keep: int = 1) -> list[object]:
    """Parameters: the first ``keep`` rows run always, the others are ``deep``. A tuple is a row of several values."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=[pytest.mark.deep] if n >= keep else [])
        for n, row in enumerate(rows)
    ]
