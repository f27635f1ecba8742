"""Each wrapper that stands beside a rule in recipes, with values that its key allows: a new one is in by itself."""

from __future__ import annotations

import dataclasses

from trivium.scheme import WRAPPERS
from trivium.scheme.composition import Key, Wrapper
from trivium.weighting import Entropy, Operator

KEYED: tuple[tuple[type[Wrapper], Key], ...] = tuple((kind, kind.key) for kind in WRAPPERS if kind.key is not None)

_VALUES = (-1.0, 0.0, 1e-6, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 40.0)


def values(key: Key) -> list[float]:
    """Numbers that a key allows, its edges among them."""
    low, above = key.limits.get("ge", -2.0), key.limits.get("gt", -2.0)
    high, below = key.limits.get("le", 100.0), key.limits.get("lt", 100.0)
    return [value for value in _VALUES if low <= value <= high and above < value < below]


def around(kind: type[Wrapper], part: Operator, value: float) -> Wrapper:
    """A wrapper with its argument, in whatever name it takes it."""
    (argument,) = (field.name for field in dataclasses.fields(kind) if field.name != "part")
    return kind(**{"part": part, argument: value})


def arguments(kind: type[Wrapper], key: Key) -> dict[str, object]:
    """By name, as it takes them."""
    made = around(kind, Entropy(), next(value for value in values(key) if value > 0))
    return {field.name: vars(made)[field.name] for field in dataclasses.fields(kind)}
