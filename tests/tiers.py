"""Which cases of a bank run in `make test`, and which in `make test-deep` alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import pytest

Case = TypeVar("Case")


def spread(
    cases: Iterable[Case],
    every: int,
    name: Callable[[Case], str],
    kind: Callable[[Case], Hashable] = lambda case: None,
) -> list[object]:
    """Parameters: of each kind the first case and every ``every``-th after it run always, the others are ``deep``."""
    seen: dict[Hashable, int] = {}
    made = []
    for case in cases:
        number = seen.get(kind(case), 0)
        seen[kind(case)] = number + 1
        made.append(pytest.param(case, id=name(case), marks=[pytest.mark.deep] if number % every else []))
    return made
