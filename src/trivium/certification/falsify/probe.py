"""Evaluating an operator: batches in, weights out, exceptions kept as findings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import Clock, TimeUp
from trivium.certification.specification import DType
from trivium.errors import RuleError, words_of
from trivium.weighting.base import Operator, RawRule, program_of
from trivium.weighting.program import Opaque, Program

DTYPES: Final[Mapping[DType, torch.dtype]] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
#: Rows a call: large enough to amortize a call, small enough to stay in a cache.
CHUNK: Final = 8192
_FAILURES: Final = 24
#: The first call of an opaque operator has so many rows; later ones last at most this part of the time there is.
_FIRST, _PART = 4, 1 / 20
#: Relative and absolute tolerance within which a batch is computed like its rows.
_SAME: Final = {torch.float64: (1e-9, 1e-12), torch.float32: (1e-3, 1e-5), torch.bfloat16: (0.2, 0.1)}


@dataclass
class Probe:
    """One operator under search: evaluates points [N, D], counts rows, remembers what was raised.

    What can be captured is evaluated as the graph of a row that training runs, under ``vmap``; what is opaque as it is
    written, in batches that a short time suffices for.

    Attributes:
        operator: what is searched.
        box: the points it is searched on.
        clock: asked before each call, which raises TimeUp when its time is over.
        leads: whether it decides what the clock counts; one at another number of teachers does not.
        chunk: rows a call.
        rows, calls: evaluations so far.
        raised: points at which the operator raised, with what it said and the dtype.
        rounding: by the dtype asked, the coarsest dtype at work.
    """

    operator: Operator
    box: Box
    clock: Clock = field(default_factory=Clock)
    leads: bool = True
    chunk: int = _FIRST
    rows: int = 0
    calls: int = 0
    raised: list[tuple[Tensor, str, torch.dtype]] = field(default_factory=list)
    rounding: dict[torch.dtype, torch.dtype] = field(default_factory=dict)
    _programs: dict[torch.dtype, Program | Opaque] = field(default_factory=dict)
    _spent: float = math.inf

    def program(self, dtype: torch.dtype) -> Program | Opaque:
        """Return the graph that is searched in ``dtype``, or why there is none; of an opaque operator waiting
        counts."""
        if dtype not in self._programs:
            found = program_of(self.operator, self.box.num_teachers, dtype)
            if isinstance(found, Program) and not self._runs_as(found, dtype):
                found = Opaque("on batches it gives other weights than its graph")
            self._programs[dtype] = found
            self.clock.waits |= self.leads and isinstance(found, Opaque)
        return self._programs[dtype]

    def captured(self, dtype: torch.dtype) -> bool:
        """Return whether there is a graph in ``dtype``."""
        return isinstance(self.program(dtype), Program)

    def call(self, points: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [N, K] of one call on the whole batch, float64 but rounded as the operator rounds them.

        A user's function is taken at its word, so w may be negative, NaN or unnormalized, log w then −inf or NaN.

        Raises:
            TimeUp: instead of a call that begins too late.
            RuleError: weights over another number of teachers, or no real numbers.
            Exception: whatever the operator raises.
        """
        self.program(dtype)  # which decides what the clock counts
        self.clock.check()
        with torch.no_grad():
            weights, log_weights, returned = self.evaluate(points, dtype)
        kinds = (dtype, returned, self.rounding.get(dtype, dtype))
        self.rounding[dtype] = max(kinds, key=lambda kind: torch.finfo(kind).eps)
        return weights, log_weights

    def evaluate(self, points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, torch.dtype]:
        """Return what :meth:`call` does, whatever the time, differentiable in the points; also the dtype that came
        back."""
        program, is_raw = self.program(dtype), isinstance(self.operator, RawRule)
        self.rows += math.prod(points.shape[:-1])
        self.calls += 1
        features = self.box.split(points, dtype)
        if isinstance(program, Program):
            returned = program(features)[0 if is_raw else 1]
        elif isinstance(self.operator, RawRule):
            returned = self.operator.weights(features)
        else:
            returned = self.operator.log_weights(features)
        self._check(returned)
        wide = returned.double().expand(*points.shape[:-1], self.box.num_teachers)
        least = 1e-300 if points.requires_grad else 0.0
        logs = torch.where(wide.isnan(), math.nan, wide.clamp(min=least).log()) if is_raw else wide
        return wide if is_raw else wide.exp(), logs, returned.dtype if returned.is_floating_point() else torch.float64

    def _runs_as(self, program: Program, dtype: torch.dtype) -> bool:
        """Return whether the operator, called on a batch, gives what its graph does, or refuses the batch."""
        unit = torch.rand(12, self.box.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        features = self.box.split(self.box.snap(self.box.low + unit * self.box.span), dtype)
        raw = self.operator if isinstance(self.operator, RawRule) else None
        try:
            with torch.no_grad():
                called = raw.weights(features) if raw else self.operator.log_weights(features).exp()
        except Exception:
            return True
        graph = program(features)[0]
        return torch.allclose(called.double().expand_as(graph), graph.double(), *_SAME[dtype], equal_nan=True)

    def _check(self, weights: Tensor) -> None:
        if weights.is_complex() or weights.dtype is torch.bool or weights.device.type == "meta":
            received = "meta tensors without values" if weights.device.type == "meta" else str(weights.dtype)
            raise RuleError("weights must be real numbers", received, "Return a floating-point tensor.")
        if weights.shape[-1:] != (self.box.num_teachers,):
            raise RuleError(
                f"there must be {self.box.num_teachers} weights a row", weights.shape[-1:], "One a teacher."
            )

    def __call__(self, points: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [N, K], in calls of a limited number of rows; NaN rows where the operator raises."""
        parts = list(self.parts(points, dtype))
        return torch.cat([w for _, w, _ in parts]), torch.cat([log_w for _, _, log_w in parts])

    def parts(self, points: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the points of each call with their w and log w; so what was seen is known when the time is up."""
        captured, start = self.captured(dtype), 0
        while start < max(1, len(points)):
            some = points[start : start + (CHUNK if captured else self.chunk)]
            start += len(some) or 1
            began = self.clock.seconds()
            yield (some, *self._safely(some, dtype))
            if not captured and len(some) == self.chunk:
                self._pace(self.clock.seconds() - began)

    def _pace(self, spent: float) -> None:
        """Longer calls where they take no longer, or there is time; shorter ones where it is the rows that cost."""
        target = _PART * self.clock.limit
        if 4 * spent <= target or spent < 1.5 * self._spent:
            self.chunk = min(CHUNK, 4 * self.chunk)
        elif spent > target:
            self.chunk = max(1, int(self.chunk * target / spent))
        self._spent = spent

    def _safely(self, points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        try:
            return self.call(points, dtype)
        except TimeUp:
            raise
        except Exception as error:  # a black box may raise anything
            if len(points) <= 1 or len(self.raised) >= _FAILURES:
                if len(points) == 1:
                    self.raised.append((points[0].clone(), one_line(error), dtype))
                nothing = torch.full((len(points), self.box.num_teachers), math.nan, dtype=torch.float64)
                return nothing, nothing
            half = len(points) // 2
            first, second = self._safely(points[:half], dtype), self._safely(points[half:], dtype)
            return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

    def alone(self, point: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [1, K] of a batch that holds one row."""
        return self._safely(point.reshape(1, -1), dtype)

    def accepts(self, points: Tensor, dtype: torch.dtype) -> bool:
        """Return whether the operator can be evaluated in ``dtype`` at all; a float32 layer cannot in float64."""
        try:
            self.call(torch.atleast_2d(points), dtype)
        except TimeUp:
            raise
        except Exception:
            return False
        return True

    def read_precision(self, points: Tensor, dtype: torch.dtype) -> None:
        """Record the least precise dtype inside the operator: it rounds like that, whatever it is given."""
        if dtype is not torch.float64:
            return
        precision = _Precision()
        with precision:
            weights = self(points, dtype)[0]
        finite = weights[weights.isfinite()]
        if precision.single or bool((finite == finite.float().double()).all()):
            self.rounding[torch.float64] = torch.float32


class _Precision(TorchDispatchMode):
    """Whether an operator computes in less than float64 somewhere, as with a constant ``torch.tensor([0.5, 0.3])``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.single = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and look at the dtype of its result."""
        result = func(*args, **(kwargs or {}))
        for tensor in (*args, result):
            if isinstance(tensor, Tensor) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                # Numbers such as 2 or 0.5 are the same in every precision, so a table of them rounds nothing.
                self.single |= not bool((tensor == tensor.bfloat16()).all())
        return result


def one_line(error: Exception) -> str:
    """Return the exception's type and the first line of what it says."""
    said = words_of(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:160]}" if said else type(error).__name__


@contextmanager
def quiet(seed: int) -> Iterator[None]:
    """A rule's own warnings are not ours, and its random numbers must not disturb the caller's."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield
