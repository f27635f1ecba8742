"""A user's function as a program that can be run on sub-boxes of its features."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Operations register themselves.
from trivium.certify.verify import choice, last, powers, shaping  # noqa: F401
from trivium.certify.verify.bounds import Bounds, apply, first_of
from trivium.certify.verify.state import reachable, strangers
from trivium.certify.verify.trace import Shape, Trace, Unsupported
from trivium.errors import TriviumError
from trivium.weighting.base import UserRule

_CHANCE_NAMES = """
rand rand_like randn randn_like randint randint_like randperm bernoulli multinomial normal poisson dropout
bernoulli_ uniform_ normal_ random_ exponential_ cauchy_ geometric_ log_normal_ alpha_dropout feature_dropout
binomial _standard_gamma _sample_dirichlet
gumbel_softmax rrelu manual_seed seed empty empty_like empty_strided new_empty resize_
"""
_CHANCE = frozenset(_CHANCE_NAMES.split())


class _Watch(TorchFunctionMode):
    """Sees every torch function that the rule calls."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in _CHANCE:
            raise Unsupported(f"{name}, whose result is left to chance")
        if _has_shape((*args, *kwargs.values())):
            raise Unsupported("the shape of the batch is read")
        return apply(name, args, kwargs) if first_of((args, kwargs)) is not None else func(*args, **kwargs)


def _has_shape(items: Any) -> bool:
    return any(isinstance(i, Shape) or (isinstance(i, tuple | list) and _has_shape(i)) for i in items)


class Program:
    """The function of a rule over K teachers, as bounds over sub-boxes.

    Attributes:
        low, high: [D], the whole box; a feature with a value a teacher takes K coordinates, a shared one takes one.
        operations: how many a run needs.
    """

    def __init__(self, rule: UserRule, teachers: int) -> None:
        self.rule, self.teachers = rule, teachers
        self.columns: dict[str, list[int]] = {}
        low: list[float] = []
        high: list[float] = []
        for name, interval in rule.ranges.items():
            width = interval.width(teachers)
            self.columns[name] = list(range(len(low), len(low) + width))
            low += [interval.low] * width
            high += [interval.high] * width
        self.low, self.high = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        self.operations = 0
        self.names: tuple[str, ...] = ()

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.low)

    def accept(self) -> None:
        """Runs the program over the whole box, to see that it is one: the same operations at every call.

        Raises:
            Unsupported: it uses an operation that is not bounded, can remember something, differs between two runs or
                between float32 and float64.
        """
        before = reachable(self.rule.function)
        runs = [self.run(self.low[None], self.high[None], dtype)[1].log for dtype in (torch.float64,) * 2]
        single = self.run(self.low[None], self.high[None], torch.float32)[1].log
        if reachable(self.rule.function) != before:
            raise Unsupported("a call changes what the function holds")
        if runs[0] != runs[1]:
            raise Unsupported("two calls differ")
        if not _close(runs[0], single):
            raise Unsupported("it computes something else in float32 than in float64")
        # Last, so that an operation that cannot be bounded is named as one.
        unknown = strangers(self.rule.function)
        if unknown:
            raise Unsupported(f"it uses .{unknown[0]}, which may see or change more than its argument")
        self.operations = len(runs[0])
        self.names = tuple(sorted({operation[0] for operation in runs[0]}))

    def run(self, low: Tensor, high: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Bounds, Trace]:
        """The weights [..., K] over the sub-boxes [N, D].

        Raises:
            Unsupported: see :meth:`accept`.
        """
        trace = Trace(low, high, dtype)
        features = {name: _feature(trace, columns) for name, columns in self.columns.items()}
        try:
            with _Watch():
                weights = self.rule.function(**features)
        except (Unsupported, TriviumError):
            raise
        except Exception as error:  # a user's function may raise anything
            raise Unsupported(f"it raises {type(error).__name__}: {error}") from error
        if not isinstance(weights, Bounds) or not weights.axis or weights.width != self.teachers:
            raise Unsupported("it returns something else than K weights a row that were computed from its features")
        if weights.boolean:
            raise Unsupported("it returns a comparison")
        trace.mark(~(weights.box[0].isfinite() & weights.box[1].isfinite()).all(dim=-1), "weights that are unbounded")
        return weights, trace

    def describe(self, low: Tensor, high: Tensor) -> str:
        """A sub-box [D] in words."""
        parts = []
        for name, columns in self.columns.items():
            ends = [f"{low[c]:.4g}" if low[c] == high[c] else f"{low[c]:.4g} … {high[c]:.4g}" for c in columns]
            parts.append(f"{name} = ({', '.join(ends)})" if len(ends) > 1 else f"{name} = {ends[0]}")
        return ", ".join(parts)


def _feature(trace: Trace, columns: list[int]) -> Bounds:
    low = torch.cat([trace.low[:, columns], trace.centre[:, columns]])
    high = torch.cat([trace.high[:, columns], trace.centre[:, columns]])
    steep = torch.zeros(len(columns), trace.columns, dtype=torch.float64)
    steep[range(len(columns)), columns] = 1.0
    steep = steep.expand(trace.count, -1, -1)
    return Bounds(trace, (low, high), lambda: (steep, steep), True)


def _close(one: Any, other: Any) -> bool:
    """Equal, but for constants that were rounded to float32."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(_close(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=4e-7, abs_tol=1e-37)
    both = f"{one} {other}".replace("torch.float32", "").replace("torch.float64", "").split()
    return bool(one == other or both[: len(both) // 2] == both[len(both) // 2 :])
