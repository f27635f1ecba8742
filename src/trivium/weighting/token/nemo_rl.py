"""NeMo-RL: teachers by one score for the whole micro-batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from trivium.errors import InputError, nearest
from trivium.simplex.constants import Constants
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale

#: The feature behind each score, and its sign.
SCORES: Mapping[str, tuple[str, float]] = {
    "ce": ("label_log_prob", 1.0),
    "entropy": ("entropy", -1.0),
    "max_prob": ("max_prob", 1.0),
}


@dataclass(frozen=True)
class NemoRL(ScoreRule):
    """w = softmax(α · mean over the batch of the score), one weight vector for all positions of all rows.

    Args:
        score_by: ``"ce"`` is log p_k(label), the negative cross-entropy, and sees the label; ``"entropy"`` is −H_k;
            ``"max_prob"`` is max_i p_k(i).
        alpha: α, nats a unit of the score.
        per_row: the score of each position alone, without the mean; not published.
        budget: influence budget in nats (T3); None is the published rule.

    As published a row's weights depend on whatever else is in its batch (W-F), and nothing bounds the scores ce and
    entropy but the ranges that features have here. The mean runs over all leading axes, padding included: a rule is not
    told which positions are predicted. Distributed, it is local to a process. With ``per_row`` and a budget it
    conforms.

    Constants: β = min(budget, α·range) with ranges 30, 12 and 1, as published too, since the mean of numbers in an
    interval lies in it. L = 2α with ``per_row``; without it no L holds of a row, whose weights move while it stays, and
    2α is that of the whole batch in its sup metric: a mean moves by no more than what moves most.
    Cost O(K) a position after one pass over the K·V logits. Source: NVIDIA-NeMo/RL, cross-tokenizer distillation
    (pull request 2797, 2026).

    >>> import torch
    >>> NemoRL("max_prob", alpha=2.0).log_weights({"max_prob": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}).exp()
    tensor([[0.7311, 0.2689],
            [0.7311, 0.2689]])
    """

    score_by: Literal["ce", "entropy", "max_prob"] = "ce"
    alpha: float = 1.0
    per_row: bool = False
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "nemo_rl"

    def __post_init__(self) -> None:
        if self.score_by not in SCORES:
            fix = nearest(str(self.score_by), SCORES)
            raise InputError("the score of rule 'nemo_rl' must exist", repr(self.score_by), fix)
        super().__post_init__()

    @property
    def row_local(self) -> bool:  # type: ignore[override]  # here it depends on an option
        """Only with ``per_row``."""
        return self.per_row

    @property
    def ranges(self) -> Mapping[str, Range]:
        feature = SCORES[self.score_by][0]
        return {feature: BUILT_IN[feature]}

    def score(self, features: Features) -> Tensor:
        ((feature, slope),) = self.slopes().items()
        value = features[feature]
        if not self.per_row:
            value = value.flatten(0, -2).mean(dim=0).expand_as(value) if value.ndim > 1 else value
        return slope * value

    def slopes(self) -> Mapping[str, float]:
        feature, sign = SCORES[self.score_by]
        return {feature: sign * self.alpha}

    def constants(self, num_teachers: int) -> Constants:
        known = super().constants(num_teachers)
        return known if self.per_row else Constants(known.log_ratio, dict.fromkeys(known.lipschitz, math.inf))

    def formula(self) -> str:
        ((feature, slope),) = self.slopes().items()
        mean = feature if self.per_row else f"batch_mean({feature})"
        return f"softmax({slope:g}·{mean}{self._limit()})".replace("(-", "(−")
