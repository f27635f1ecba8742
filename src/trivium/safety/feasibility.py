"""Whether conforming weights can keep a limit on unsafe mass at all, and what to relax least where they cannot (S4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from trivium.errors import InfeasibleError, TriviumError
from trivium.safety.bounds import least_mass
from trivium.simplex.conforming import ConformingSet

_HALVINGS = 50


@dataclass(frozen=True)
class Feasibility:
    """The least unsafe mass under conforming weights.

    Attributes:
        limit: δ.
        least: mean over positions of min over w in C of Σ w_k u_k.
        relaxations: each a way, by itself, to make the limit feasible; empty where it is.
    """

    limit: float
    least: float
    relaxations: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.least <= self.limit

    def require(self) -> None:
        """Raises InfeasibleError where it does not hold, with the least relaxations."""
        if not self.holds:
            raise InfeasibleError(
                f"weights within floor, cap and order must be able to keep the unsafe mass at {self.limit:g}",
                f"{self.least:.4g} as the least that they leave",
                "; or ".join(self.relaxations) + ".",
            )


def feasibility(unsafe: Tensor, conforming: ConformingSet, limit: float, rows: Tensor | None = None) -> Feasibility:
    """Return whether weights in C can hold the mean unsafe mass of the target at δ.

    Args:
        unsafe: u [N, K] at critical positions.
        limit: δ.
        rows: mean weights of the positions, [N], summing to one; None: all alike.

    Of the relaxations each is the least by itself: the limit up to what is feasible, the floor down, the cap up. A
    margin only helps the safest, so it is not among them, nor is an order that the measured masses contradict.
    """

    def least(goal: ConformingSet) -> float:
        found = least_mass(unsafe, goal)
        return float(found.mean() if rows is None else (found * rows).sum())

    now = least(conforming)
    if now <= limit:
        return Feasibility(limit, now, ())
    ways = [f"Raise the limit to {_up(now)}"]
    if conforming.floor > 0:
        lowest = _try(lambda: least(replace(conforming, floor=0.0)))
        if lowest <= limit:
            floor = _bisect(lambda value: _try(lambda: least(replace(conforming, floor=value))) <= limit,
                            0.0, conforming.floor)  # fmt: skip
            ways.append(f"lower the floor to {_down(floor)}")
    if conforming.cap < 1:
        highest = _try(lambda: least(replace(conforming, cap=1.0)))
        if highest <= limit:
            cap = _bisect(lambda value: _try(lambda: least(replace(conforming, cap=value))) <= limit,
                          1.0, conforming.cap)  # fmt: skip
            ways.append(f"raise the cap to {_up(cap)}")
    if len(ways) == 1 and conforming.floor > 0 and conforming.cap < 1:
        both = least(replace(conforming, floor=0.0, cap=1.0))
        if both <= limit:
            ways.append("lower the floor to 0 and raise the cap to 1")
    return Feasibility(limit, now, tuple(ways))


def _try(value: Callable[[], float]) -> float:
    """Return a value, infinite where the set is empty."""
    try:
        return value()
    except TriviumError:
        return float("inf")


def _bisect(works: Callable[[float], bool], good: float, bad: float) -> float:
    """Return the value nearest to ``bad`` that works, given that ``good`` does."""
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if works(middle) else (good, middle)
    return good


def _up(value: float) -> str:
    return _digits(value, 1)


def _down(value: float) -> str:
    return _digits(value, -1)


def _digits(value: float, side: int) -> str:
    """Four digits, rounded to the side on which the advice works."""
    text = f"{value:.4g}"
    if (float(text) - value) * side >= -1e-9 * abs(value):  # 0.15 that bisection missed by an ulp
        return text
    step = 10.0 ** (int(f"{value:e}".partition("e")[2]) - 3)
    return f"{float(text) + side * step:.4g}"
