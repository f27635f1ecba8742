"""Linear scores whose strengths are fitted: what ``trivium fit`` writes, squashed to a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.rounding import add_down
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale, check_ranges, count_teachers
from trivium.weighting.token.scores import PER_TEACHER


@dataclass(frozen=True)
class FittedScores(Rule):
    """w_k ∝ exp(Σ_f a_f · u_{f,k} + b_{task,k}).

    Linear in its strengths, so they can be fitted by gradient (:mod:`trivium.fitting`), best under a ``squash``, which
    is smooth up to its budget where a cut stops an optimizer. Nothing here depends on how they were found.

    Args:
        strengths: a_f of each feature, nats a unit: built-in ones that have a number a teacher, and ``columns``.
            Empty for a bias alone.
        bias: b, nats: for each task, in the order of the data's tasks, a number a teacher; one row serves all tasks.
            A recipe writes ``{TASK: {TEACHER: NATS}}``.
        columns: the range (low, high) of each feature of your own data.
        scale: the scale it stands for; a sum of features of several scales stands at the finest.

    Constants. Features and bias add as in a product (T3, T5): log(w_j/w_k) ≥ min_task (b_j − b_k) −
    Σ_f abs(a_f)·range_f, so an order of the biases that the features cannot overturn keeps a margin. In the sup metric
    of feature f, L_f = 2·abs(a_f) (T4); between two tasks, which lie at least 1 apart, d_H moves by at most the largest
    spread of b_task − b_task′. Cost O(K) a feature after what the features cost. Source: ours.

    Raises:
        InputError: a feature that is unknown or not one number a teacher, a column without a range, a number that is
            not finite, rows of a bias that differ in length, neither strengths nor bias.

    >>> rule = FittedScores({"entropy": -1.0}, bias=((0.0, 0.5), (0.0, 0.0)))
    >>> row = {"entropy": torch.tensor([0.5, 1.0]), "task": torch.tensor([0.0])}
    >>> rule.log_weights(row).exp()
    tensor([0.5000, 0.5000])
    """

    strengths: Mapping[str, float]
    bias: tuple[tuple[float, ...], ...] = ()
    columns: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scale: Scale = "context"
    name: ClassVar[str] = "fitted_scores"

    def __post_init__(self) -> None:
        require(
            bool(self.strengths) or bool(self.bias), "fitted scores must have strengths or a bias", "neither", "Fit."
        )
        for feature, strength in self.strengths.items():
            known = [*PER_TEACHER, *self.columns]
            if feature not in known:
                raise InputError(
                    "fitted scores add features that have a number a teacher", repr(feature), nearest(feature, known)
                )
            require(math.isfinite(strength), f"the strength of {feature!r} must be a finite number", strength, "Fit.")
        for column in self.columns:
            require(column not in BUILT_IN, "a column must bear a name of its own", repr(column), "It is built in.")
        widths = {len(row) for row in self.bias}
        require(len(widths) <= 1, "a bias must have a number a teacher for every task", sorted(widths), "Complete it.")
        numbers = [number for row in self.bias for number in row]
        require(all(map(math.isfinite, numbers)), "a bias must be finite numbers", self.bias, "Fit.")
        own = check_ranges(dict(self.columns)) if self.columns else {}
        ranges = {feature: own[feature] if feature in own else BUILT_IN[feature] for feature in self.strengths}
        if len(self.bias) > 1:
            ranges["task"] = BUILT_IN["task"]._replace(high=len(self.bias) - 1.0)
        object.__setattr__(self, "strengths", dict(self.strengths))
        object.__setattr__(self, "columns", dict(self.columns))
        object.__setattr__(self, "_ranges", ranges)

    @property
    def ranges(self) -> Mapping[str, Range]:
        ranges: Mapping[str, Range] = vars(self)["_ranges"]
        return ranges

    def score(self, features: Features) -> Tensor:
        """Σ_f a_f · u_{f,k} + b_{task,k}, [..., K]."""
        admitted = self.admit(features)
        terms = [strength * admitted[feature] for feature, strength in self.strengths.items()]
        if self.bias:
            like = next(iter(admitted.values()), next(iter(features.values())))
            like = like if like.is_floating_point() else like.to(torch.get_default_dtype())
            rows = self._rows(count_teachers(features) if not terms else terms[0].shape[-1]).to(like)
            if "task" not in admitted:
                terms.append(rows[0])
            else:
                task = admitted["task"].squeeze(-1).round().long()
                terms.append(rows.index_select(0, task.flatten()).view(*task.shape, -1))
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def log_weights(self, features: Features) -> Tensor:
        return torch.log_softmax(self.score(features), dim=-1)

    def constants(self, num_teachers: int) -> Constants:
        boxes = [(abs(a), self.ranges[feature]) for feature, a in self.strengths.items()]
        spread = sum(a * (box.high - box.low) for a, box in boxes)
        linear = bounded(num_teachers, spread, {feature: 2 * abs(a) for feature, a in self.strengths.items()})
        if not self.bias:
            return linear
        rows = self._rows(num_teachers)
        log_ratio = (rows.unsqueeze(-1) - rows.unsqueeze(-2)).amin(dim=0)
        moved = (rows.unsqueeze(0) - rows.unsqueeze(1)).flatten(0, 1)
        apart = float((moved.amax(-1) - moved.amin(-1)).max())
        # Outward by what the differences of float64 numbers may have been rounded.
        log_ratio = add_down(log_ratio - 2.0**-50 * log_ratio.abs(), linear.log_ratio)
        tasks = {"task": apart * (1 + 2.0**-50)} if len(rows) > 1 else {}
        return Constants(log_ratio, {**linear.lipschitz, **tasks})

    def _rows(self, num_teachers: int) -> Tensor:
        require(
            len(self.bias[0]) == num_teachers,
            "a bias must be one number a teacher",
            f"{len(self.bias[0])} numbers for {num_teachers} teachers",
            "Write them in the order of the recipe's teachers.",
        )
        return torch.tensor(self.bias, dtype=torch.float64)

    def formula(self) -> str:
        terms = [f"{strength:g}·{feature}" for feature, strength in self.strengths.items()]
        if self.bias:
            rows = ", ".join(f"({', '.join(f'{number:g}' for number in row)})" for row in self.bias)
            terms.append(f"bias[{rows}]" + ("[task]" if len(self.bias) > 1 else ""))
        signed = " + ".join(terms).replace("+ -", "− ")
        return f"softmax({'−' + signed[1:] if signed[0] == '-' else signed})"
