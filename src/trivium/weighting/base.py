"""What a weighting operator is: features in, log-weights out, constants declared.

Two kinds of class: :class:`Operator` is abstract, everything else is final. A rule is varied by wrapping it
(``trivium.scheme``), never by overriding it.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.errors import InputError, RuleError, nearest, require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.semidefinite import nearest_psd
from trivium.simplex.typed import Typed, typed
from trivium.weighting.features import SCALES, Range, Scale, check_ranges

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
        """Log-weights [..., K] from features [..., K] (shared ones [..., 1], pairwise ones [..., K·K]); leading axes
        broadcast."""

    @abstractmethod
    def formula(self) -> str:
        """One line that a reader can check against the source it came from."""

    def __str__(self) -> str:
        return self.formula()


class Rule(Operator):
    """A weighting operator at one scale, a leaf of every scheme.

    ``row_local``: whether a row's weights depend on that row alone (W-F); a rule that averages over its batch says no.
    """

    scale: Scale
    row_local: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """What recipes, tables and errors call it."""

    def constants(self, teachers: int) -> Constants | None:
        """Influence, regularity and order gaps that the rule declares for K teachers; None declares nothing."""
        return None

    def pareto(self, teachers: int) -> str:
        """Why W-C holds at every Gram matrix of K gradients, a line of proof; empty where it is not claimed."""
        return ""

    def admit(self, features: Features) -> dict[str, Tensor]:
        """The rule's own features, clipped to their ranges, rounded where these hold whole numbers; pairwise ones made
        symmetric positive semidefinite.

        Raises:
            RuleError: a feature is missing or holds a NaN.
        """
        admitted = {}
        for name, interval in self.ranges.items():
            if name not in features:
                raise RuleError(
                    f"rule {self.name!r} needs the feature {name!r}",
                    "only " + ", ".join(sorted(features)),
                    nearest(name, features) if features else "Add it as a column of the data.",
                )
            value = features[name]
            if bool(torch.isnan(value).any()):
                raise RuleError(f"feature {name!r} of rule {self.name!r} must be a number", "NaN", "Check its source.")
            clipped = value.clamp(interval.low, interval.high)
            clipped = clipped.round() if interval.integer and clipped.is_floating_point() else clipped
            admitted[name] = nearest_psd(clipped) if interval.pairwise else clipped
        return admitted


class RawRule(Rule):
    """A rule that gives weights themselves, not their logs: they may be zero, negative or of another sum than one."""

    @abstractmethod
    def weights(self, features: Features) -> Tensor:
        """Weights [..., K] as they come; ``log_weights`` takes a negative one for zero."""


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

    def constants(self, teachers: int) -> Constants:
        """β = min(B, Σ_f |slope_f|·(high_f − low_f)) and L_f = 2·|slope_f|: moving every entry of f by at most
        ε moves each score by |slope_f|·ε, hence a difference of two scores by twice that."""
        spread = sum(abs(s) * (self.ranges[f].high - self.ranges[f].low) for f, s in self.slopes().items())
        influence = spread if self.budget is None else min(self.budget, spread)
        return bounded(teachers, influence, {f: 2 * abs(s) for f, s in self.slopes().items()})

    def _limit(self) -> str:
        return "" if self.budget is None else f" | β ≤ {self.budget:g}"


@dataclass(eq=False)
class UserRule(RawRule):
    """A plain function as a rule; made by :func:`rule`. It declares no constants, so it must be searched."""

    function: Callable[..., Tensor]
    scale: Scale
    features: dict[str, Range]
    name: str = "rule"
    source: str = ""

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.features

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)

    def weights(self, features: Features) -> Tensor:
        """What the function returns, unchanged but for a check of its shape and type."""
        admitted = self.admit(features)
        weights = self.function(**admitted)
        shape = torch.broadcast_shapes(*(self._one_a_teacher(name, v) for name, v in admitted.items()))
        shared = all(interval.shared for interval in self.features.values())
        if shared and isinstance(weights, Tensor) and weights.ndim > 0:
            shape = torch.Size((*shape[:-1], *weights.shape[-1:]))  # K is then known to the function alone
        if not isinstance(weights, Tensor) or weights.shape != shape:
            received = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise RuleError(
                f"rule {self.name!r} must return weights of shape {tuple(shape)}", received, "Reduce over dim=-1 only."
            )
        return weights

    def _one_a_teacher(self, name: str, value: Tensor) -> torch.Size:
        """The shape of weights that a feature alone would give: K for K·K numbers."""
        wide = self.features[name].pairwise
        return torch.Size((*value.shape[:-1], math.isqrt(value.shape[-1]))) if wide else value.shape

    def log_weights(self, features: Features) -> Tensor:
        weights = self.weights(features)
        if bool(torch.isnan(weights).any()):
            raise RuleError(f"rule {self.name!r} must return numbers", "NaN", "Run `trivium certify` on it.")
        return torch.log(weights.clamp_min(0.0))

    def formula(self) -> str:
        return f"{self.name}({', '.join(self.features)})"


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
