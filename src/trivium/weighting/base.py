"""The base classes of weighting operators: features in, log-weights out, constants declared.

Two kinds of class: :class:`Operator` is abstract, everything else is final. A rule is varied by wrapping it
(``trivium.scheme``), never by overriding it.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.axioms import FunctionOfItsRow
from trivium.errors import InputError, RuleError, nearest, require
from trivium.simplex.capturing import capturing
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.semidefinite import nearest_psd
from trivium.simplex.typed import Typed, typed
from trivium.weighting.compare import Difference, first_difference, parting_line, same
from trivium.weighting.features import SCALES, Range, Scale, check_ranges
from trivium.weighting.program import Opaque, Program, capture, plain, refuse_capture

Features = Mapping[str, Tensor]
_COLLECT = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Operator(Typed, ABC):
    """Anything that turns features into a weight vector over K teachers."""

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, Range]:
        """The features it reads, with the box in which its constants hold."""

    @abstractmethod
    def log_weights(self, features: Features) -> Tensor:
        """Return log-weights [..., K] of features [..., K], [..., 1] or [..., K·K]; leading axes broadcast."""

    @abstractmethod
    def formula(self) -> str:
        """Return one line that a reader can check against the source it came from."""

    def __str__(self) -> str:
        return self.formula()


class Rule(Operator):
    """A weighting operator at one scale, a leaf of every scheme.

    ``row_local``: whether a row's weights depend on that row alone (W-F); a rule that averages over its batch says no.
    ``learns``: whether it has a state that changes while a student trains.
    """

    scale: Scale
    row_local: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What recipes, tables and errors call it."""

    def constants(self, num_teachers: int) -> Constants | None:
        """Influence, regularity and order gaps that the rule declares for K teachers; None declares nothing."""
        return None

    def pareto(self, num_teachers: int) -> str:
        """Return why W-C holds at every Gram matrix of K gradients, a line of proof; empty where it is not claimed."""
        return ""

    def admit(self, features: Features) -> dict[str, Tensor]:
        """Return the rule's own features, clipped to their ranges, rounded where these hold whole numbers; pairwise
        ones made symmetric positive semidefinite.

        Raises:
            RuleError: a feature is missing or holds a NaN.
        """
        if self.learns or not self.row_local:
            refuse_capture(f"{self.name!r} {'learns' if self.learns else 'looks across its batch'}")
        admitted = {}
        for name, interval in self.ranges.items():
            if name not in features:
                raise RuleError(
                    f"rule {self.name!r} needs the feature {name!r}",
                    "only " + ", ".join(sorted(features)),
                    nearest(name, features) if features else "Add it as a column of the data.",
                )
            value = features[name]
            if not capturing() and bool(torch.isnan(value).any()):
                raise RuleError(f"feature {name!r} of rule {self.name!r} must be a number", "NaN", "Check its source.")
            if interval.integer and value.is_floating_point() and torch.finfo(value.dtype).eps > 2**-20:
                value = value.float()  # bfloat16 holds no 299: it would be called at 300, outside its range
            clipped = value.clamp(interval.low, interval.high)
            clipped = clipped.round() if interval.integer and clipped.is_floating_point() else clipped
            admitted[name] = nearest_psd(clipped) if interval.pairwise else clipped
        return admitted


class RawRule(Rule):
    """A rule that gives weights themselves, not their logs: they may be zero, negative or of another sum than one."""

    @abstractmethod
    def weights(self, features: Features) -> Tensor:
        """Return weights [..., K] as they come; ``log_weights`` takes a negative one for zero."""


class ScoreRule(Rule):
    """w = softmax(score) with the score limited to a budget: s ↦ max(s, max s − B).

    A final class gives ``score`` and the slope of each feature: that of a linear score, or the largest one of another,
    which then states its own influence. Limiting is monotone and commutes with adding a constant, so it never raises
    the regularity constant (argument of T6).
    """

    budget: float | None

    def __post_init__(self) -> None:
        require(
            self.budget is None or self.budget >= 0,
            f"the influence budget of rule {self.name!r} must be a number of nats ≥ 0",
            self.budget,
            "4 nats let one teacher outweigh another 55 to 1.",
        )
        slopes = list(self.slopes().values())
        require(
            all(map(math.isfinite, slopes)),
            f"the strength of rule {self.name!r} must be a finite number",
            slopes[0],
            "Use 1 when in doubt.",
        )

    @abstractmethod
    def score(self, features: Features) -> Tensor:
        """Unnormalized log-weights [..., K], before the budget."""

    @abstractmethod
    def slopes(self) -> Mapping[str, float]:
        """∂score_k/∂feature_k, a number a feature; where it varies, the one of largest absolute value."""

    def log_weights(self, features: Features) -> Tensor:
        score = self.score(self.admit(features))
        if self.budget is not None:
            # From the maximum, not max(s, max s − B): beside a score of −3000 a budget loses its last digits.
            score = (score - score.amax(-1, keepdim=True)).clamp_min(-self.budget)
        return torch.log_softmax(score, dim=-1)

    def constants(self, num_teachers: int) -> Constants:
        """β = min(B, Σ_f |slope_f|·(high_f − low_f)) and L_f = 2·|slope_f|: moving every entry of f by at most
        ε moves each score by |slope_f|·ε, hence a difference of two scores by twice that."""
        spread = sum(abs(s) * (self.ranges[f].high - self.ranges[f].low) for f, s in self.slopes().items())
        influence = spread if self.budget is None else min(self.budget, spread)
        return bounded(num_teachers, influence, {f: 2 * abs(s) for f, s in self.slopes().items()})

    def _limit(self) -> str:
        return "" if self.budget is None else f" | β ≤ {self.budget:g}"


@dataclass(eq=False)
class UserRule(RawRule):
    """A plain function as a rule; made by :func:`rule`. It declares no constants, so it must be bounded or searched.

    The function is captured once per number of teachers and dtypes as a graph on one row (:meth:`program`), and the
    graph is the rule: it is what training runs, under ``vmap``. A function that cannot be captured is *opaque* and runs
    as it is written, in batches. One that means something else on a batch than on a row is refused.
    """

    function: Callable[..., Tensor]
    scale: Scale
    features: dict[str, Range]
    name: str = "rule"
    source: str = ""
    _programs: dict[Any, tuple[Program | Opaque, Difference | None]] = field(default_factory=dict, repr=False)

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.features

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)

    def program(
        self, num_teachers: int, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> Program | Opaque:
        """Return the rule at K teachers and features of one dtype as a graph from the features [width] of one row to
        (weights [K] as the function returns them, log max(weights, 0) [K]); clipping to the ranges is part of it.

        Captured at the first call and kept. Cost then: some milliseconds, and four small calls of the function.
        """
        return self._captured(num_teachers, dict.fromkeys(self.features, dtype), torch.device(device))[0]

    def difference(self, num_teachers: int, dtype: torch.dtype = torch.float32) -> Difference | None:
        """Return where the function as it is written, on a batch, gives other weights than its graph a row; None if
        nowhere in four batches of different size."""
        return self._captured(num_teachers, dict.fromkeys(self.features, dtype), torch.device("cpu"))[1]

    def weights(self, features: Features) -> Tensor:
        """Return the function's weights [..., K]: by the captured graph at each row, or by itself where opaque.

        Raises:
            RuleError: a feature is missing or NaN; weights of another shape; a function that means something else on a
                batch than on a row.
        """
        return self._outputs(features)[0]

    def log_weights(self, features: Features) -> Tensor:
        weights, log_weights = self._outputs(features)
        if not capturing() and bool(torch.isnan(weights).any()):
            raise RuleError(f"rule {self.name!r} must return numbers", "NaN", "Run `trivium certify` on it.")
        return log_weights

    def formula(self) -> str:
        return f"{self.name}({', '.join(self.features)})"

    def as_written(self, features: Features) -> Tensor:
        """Return the function itself on clipped features [..., K], whatever its graph is.

        Raises:
            RuleError: no tensor of real numbers, one a teacher, comes out; or the function ends the process.
        """
        admitted = self.admit(features)
        try:
            weights = self.function(**admitted)
        except SystemExit as error:
            raise RuleError(
                f"rule {self.name!r} must return weights", f"it exits ({error})", "Raise an error."
            ) from error
        shape = torch.broadcast_shapes(*(self._one_a_teacher(name, v) for name, v in admitted.items()))
        shared = all(interval.shared for interval in self.features.values())
        if shared and isinstance(weights, Tensor) and weights.ndim > 0:
            shape = torch.Size((*shape[:-1], *weights.shape[-1:]))  # K is then known to the function alone
        if not isinstance(weights, Tensor) or weights.shape != shape:
            received = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise RuleError(
                f"rule {self.name!r} must return weights of shape {tuple(shape)}", received, "Reduce over dim=-1 only."
            )
        require_real(weights, next(iter(admitted.values())), self.name)
        return weights

    def _outputs(self, features: Features) -> tuple[Tensor, Tensor]:
        if capturing():
            return self._row(features)
        # What is missing or NaN is said before anything is captured.
        given = {name: features[name] for name in self.admit(features)}
        num_teachers = self._teachers(given, features)
        first = next(iter(given.values()))
        kinds = {name: value.dtype for name, value in given.items()}
        program, difference = self._captured(num_teachers, kinds, first.device)
        if isinstance(program, Opaque):
            return self._logged(self.as_written(features))
        if difference is not None:
            raise difference.error(self.name)
        weights, log_weights = program(given)
        return weights, log_weights

    def _row(self, features: Features) -> tuple[Tensor, Tensor]:
        return self._logged(self.as_written(features))

    def _logged(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        return weights, torch.log(weights.clamp_min(0.0))

    def _captured(
        self, num_teachers: int, kinds: Mapping[str, torch.dtype], device: torch.device
    ) -> tuple[Program | Opaque, Difference | None]:
        key = (num_teachers, tuple(kinds.values()), device)
        if key not in self._programs:
            rows = {
                name: torch.zeros(interval.width(num_teachers), dtype=kinds[name], device=device)
                for name, interval in self.features.items()
            }
            self._programs[key] = self._capture(num_teachers, rows)
        return self._programs[key]

    @torch.no_grad()
    def _capture(self, num_teachers: int, rows: Mapping[str, Tensor]) -> tuple[Program | Opaque, Difference | None]:
        first = capture(self._row, rows, self.source)
        if isinstance(first, Opaque):
            return first, None
        difference = self._compared(first, num_teachers, rows)
        # After calls on real numbers: a counter or a global that moves shows itself as another graph.
        second = capture(self._row, rows, self.source)
        if isinstance(second, Opaque):
            return second, None
        if not same(first, second):
            return Opaque(
                "two captures of it differ: it depends on more than its features", first_difference(first, second)
            ), None
        return first, difference

    def _compared(self, program: Program, num_teachers: int, rows: Mapping[str, Tensor]) -> Difference | None:
        kind = next(iter(rows.values())).dtype
        slack = FunctionOfItsRow().tolerance(kind if kind.is_floating_point else torch.float32, max(1, num_teachers))
        for number, size in enumerate((num_teachers + 3, 1, 33, 257)):
            batch = {name: _sample(self.features[name], (size, *row.shape), row, number) for name, row in rows.items()}
            try:
                with plain(next(iter(rows.values())).device):
                    expected, found = program(batch)[0], self.as_written(batch)
            except RuleError:  # weights of another shape, or none
                return Difference(batch, 0, math.inf, None)
            except Exception:  # undefined at some row, or written for one row alone, which is what it runs on
                continue
            scale = expected.abs().nan_to_num(nan=0.0, posinf=0.0).amax().clamp_min(1.0)
            distance = torch.where(expected == found, 0.0, (expected - found).abs().double())
            distance = torch.where(expected.isnan() & found.isnan(), 0.0, distance).nan_to_num(nan=torch.inf)
            if found.shape == expected.shape and float(distance.max()) <= slack * float(scale):
                continue
            row = int(distance.amax(dim=-1).argmax())
            wide = capture(
                self._row, {name: value[:2].new_zeros(value.shape) for name, value in batch.items()}, self.source
            )
            line = parting_line(program, wide, batch) if isinstance(wide, Program) else None
            return Difference(batch, row, float(distance.max()), line)
        return None

    def _teachers(self, given: Features, features: Features) -> int:
        """K, from the features; 0 where all of them are shared and nothing tells it."""
        for name, value in given.items():
            interval = self.features[name]
            if interval.pairwise:
                return math.isqrt(value.shape[-1])
            if not interval.shared and not interval.numbers:
                return value.shape[-1]
        return features["teachers"].shape[-1] if "teachers" in features else 0

    def _one_a_teacher(self, name: str, value: Tensor) -> torch.Size:
        """Return the shape of weights that a feature alone would give: K for K·K numbers."""
        wide = self.features[name].pairwise
        return torch.Size((*value.shape[:-1], math.isqrt(value.shape[-1]))) if wide else value.shape


def _sample(interval: Range, shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor:
    """Points of a range, uniform and seeded; the caller's generator is left alone."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    value = interval.low + (interval.high - interval.low) * unit
    return (value.round() if interval.integer else value).to(like)


def require_real(weights: Tensor, like: Tensor, name: str) -> None:
    """Raises RuleError for weights that are complex, true or false, or on another device than the features."""
    unreal = weights.is_complex() or weights.dtype is torch.bool
    if unreal or weights.device != like.device:
        received = str(weights.dtype) if unreal else f"on {weights.device}"
        raise RuleError(f"rule {name!r} must return real numbers on {like.device}", received, "Return a real tensor.")


def program_of(operator: Operator, num_teachers: int, dtype: torch.dtype = torch.float32) -> Program | Opaque:
    """Any operator at K teachers as a graph of one row, with the outputs (weights [K], log-weights [K]).

    A :class:`UserRule` gives the graph that it runs as. What looks across its batch, learns, or branches on values (a
    solver) is opaque.
    """
    if isinstance(operator, UserRule):
        return operator.program(num_teachers, dtype)

    def evaluate(features: Features) -> tuple[Tensor, Tensor]:
        if isinstance(operator, RawRule):
            weights = operator.weights(features)
            return weights, torch.log(weights.clamp_min(0.0))
        log_weights = operator.log_weights(features)
        return log_weights.exp(), log_weights

    rows = {name: torch.zeros(i.width(num_teachers), dtype=dtype) for name, i in operator.ranges.items()}
    return capture(evaluate, {**rows, "teachers": torch.zeros(num_teachers, dtype=dtype)})


@typed(leave=("scale", "features"))
def rule(
    scale: Scale, features: Mapping[str, tuple[float, ...]] | list[str] | tuple[str, ...]
) -> Callable[[Callable[..., Tensor]], UserRule]:
    """Make a weighting rule of a function that maps features [..., K] to weights [..., K].

    Args:
        scale: ``"token"``, ``"task"`` or ``"context"``.
        features: the range of each feature by name; a list of names takes the built-in ranges. The function's
            parameters must bear these names.

    Raises:
        InputError: an unknown scale, a bad range, something that cannot be called, or parameters that are not the
            features.

    >>> import torch, trivium as tv
    >>> @tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
    ... def by_entropy(entropy):
    ...     return torch.softmax(-entropy, dim=-1)
    >>> by_entropy.log_weights({"entropy": torch.tensor([1.0, 1.0])}).exp()
    tensor([0.5000, 0.5000])
    """
    if scale not in SCALES:
        raise InputError("the scale of a rule must be known", repr(scale), nearest(str(scale), SCALES))
    ranges = check_ranges(features)

    def decorate(function: Callable[..., Tensor]) -> UserRule:
        name = getattr(function, "__name__", "rule")
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise InputError("a rule must be made of a Python function", str(error), "Wrap it in a `def`.") from error
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        by_name = {key for key, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        optional = {key for key, p in parameters.items() if p.default is not p.empty or p.kind in _COLLECT}
        require(
            (takes_any or by_name >= set(ranges)) and set(parameters) - optional <= by_name & set(ranges),
            f"rule {name!r} must take its features by name: ({', '.join(ranges)})",
            f"({', '.join(parameters)})",
            "Rename the parameters or the features.",
        )
        has_source = inspect.isfunction(function) or inspect.ismethod(function)
        source = inspect.getsourcefile(function) if has_source else None
        made = UserRule(function, scale, ranges, name, source or "")
        made.__doc__ = function.__doc__
        return made

    return decorate
