"""Evaluating an operator as a black box: batches in, weights out, exceptions kept as findings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box
from trivium.certify.falsify.clock import Clock
from trivium.certify.question import DType
from trivium.errors import RuleError
from trivium.weighting.base import Operator, RawRule

DTYPES: Final[Mapping[DType, torch.dtype]] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
#: Rows a call: large enough to amortize a call, small enough to stay in a cache.
CHUNK: Final = 8192
_FAILURES: Final = 24


def raw(operator: Operator, features: dict[str, Tensor], teachers: int) -> tuple[Tensor, Tensor, torch.dtype]:
    """(w, log w) [..., K], both float64 but rounded as the operator rounds them, and the dtype that it returned.

    A user's function is taken at its word, so w may be negative, NaN or unnormalized, and log w is then −inf or NaN.

    Raises:
        RuleError: weights over another number of teachers.
        Exception: whatever the operator raises.
    """
    shape = (*features["teachers"].shape[:-1], teachers)
    if isinstance(operator, RawRule):
        returned = operator.weights(features).detach()
        weights = returned.double()
        log_weights = torch.where(weights.isnan(), math.nan, weights.clamp(min=0.0).log())
    else:
        returned = operator.log_weights(features).detach()
        log_weights = returned.double()
        weights = log_weights.exp()
    if weights.shape[-1:] != shape[-1:]:
        raise RuleError(f"there must be {teachers} weights a row", weights.shape[-1], "One a teacher.")
    dtype = returned.dtype if returned.is_floating_point() else torch.float64
    return weights.expand(shape), log_weights.expand(shape), dtype


@dataclass
class Probe:
    """One operator under search: evaluates points [N, D], counts rows, remembers what was raised.

    Attributes:
        operator: what is searched.
        box: the points it is searched on.
        limit: seconds of the clock after which a search ends early.
        clock: what ``limit`` is measured by.
        stopped: whether some pass was told to end early.
        rows, calls: evaluations so far.
        raised: points at which the operator raised, with what it said and the dtype.
        rounding: by the dtype asked, the coarsest dtype at work.
    """

    operator: Operator
    box: Box
    limit: float = math.inf
    clock: Clock = field(default_factory=Clock)
    stopped: bool = False
    rows: int = 0
    calls: int = 0
    raised: list[tuple[Tensor, str, torch.dtype]] = field(default_factory=list)
    rounding: dict[torch.dtype, torch.dtype] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        """Whether the hard stop has passed; once it has, it has for all passes that follow."""
        self.stopped = self.stopped or self.clock.seconds() > self.limit
        return self.stopped

    def call(self, points: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [N, K] of one call on the whole batch; raises what the operator raises."""
        self.rows += math.prod(points.shape[:-1])
        self.calls += 1
        with torch.set_grad_enabled(points.requires_grad):
            weights, log_weights, returned = raw(self.operator, self.box.split(points, dtype), self.box.teachers)
        kinds = (dtype, returned, self.rounding.get(dtype, dtype))
        self.rounding[dtype] = max(kinds, key=lambda kind: torch.finfo(kind).eps)
        return weights, log_weights

    def __call__(self, points: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [N, K], in calls of at most ``CHUNK`` rows; NaN rows where the operator raises."""
        parts = [self._safely(chunk, dtype) for chunk in points.split(CHUNK)]
        return torch.cat([w for w, _ in parts]), torch.cat([log_w for _, log_w in parts])

    def _safely(self, points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        try:
            return self.call(points, dtype)
        except Exception as error:  # a black box may raise anything
            if len(points) <= 1 or len(self.raised) >= _FAILURES:
                if len(points) == 1:
                    self.raised.append((points[0].clone(), one_line(error), dtype))
                nothing = torch.full((len(points), self.box.teachers), math.nan, dtype=torch.float64)
                return nothing, nothing
            half = len(points) // 2
            first, second = self._safely(points[:half], dtype), self._safely(points[half:], dtype)
            return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

    def alone(self, point: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """(w, log w) [1, K] of a batch that holds one row."""
        return self._safely(point.reshape(1, -1), dtype)

    def accepts(self, points: Tensor, dtype: torch.dtype) -> bool:
        """Whether the operator can be evaluated in ``dtype`` at all; a float32 layer cannot in float64."""
        try:
            self.call(torch.atleast_2d(points), dtype)
        except Exception:
            return False
        return True


def one_line(error: Exception) -> str:
    """The exception's type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:160]}" if said else type(error).__name__


@contextmanager
def quiet(seed: int) -> Iterator[None]:
    """A rule's own warnings are not ours, and its random numbers must not disturb the caller's."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield
