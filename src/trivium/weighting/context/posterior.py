"""Weigh teachers by the Bayesian posterior, given the prefix, of which of them wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants, bounded, fixed
from trivium.simplex.rounding import add_down, lower_log
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class PrefixPosterior(ScoreRule):
    """w_k ∝ π_k · Π_{s<t} p_k(x_s | x_<s)^τ, limited to an influence budget.

    With τ = 1 and no budget this is Bayes' rule for the mixture whose component k is teacher k, and the linear
    pool with these weights is the Bayes mixture. τ < 1 tempers it; the budget keeps a late switch possible.

    Args:
        tau: exponent of the likelihood, > 0.
        budget: influence budget in nats (T3); None leaves the posterior as it is, bounded by 10⁶·τ only.
        prior: π, one positive number a teacher; empty for uniform.

    Constants: β = min(budget, range of the score); L = 2·τ in the sup metric of the prefix log-likelihoods, since
    limiting never raises L. Cost O(K) a token after the label's log-probability. No label is seen: position t
    uses tokens before t.

    >>> PrefixPosterior(budget=2.0).log_weights({"prefix_log_prob": torch.tensor([0.0, -50.0])}).exp()
    tensor([0.8808, 0.1192])
    """

    tau: float = 1.0
    budget: float | None = 4.0
    prior: tuple[float, ...] = ()
    scale: Scale = "context"
    name: ClassVar[str] = "prefix_posterior"
    ranges: ClassVar[Mapping[str, Range]] = {"prefix_log_prob": BUILT_IN["prefix_log_prob"]}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tau > 0, "the exponent tau must be positive", self.tau, "Use 1 for Bayes' rule.")
        require(
            all(math.isfinite(p) and p > 0 for p in self.prior),
            "a prior must be positive and finite (W-P)",
            self.prior,
            "Give every teacher some prior weight.",
        )

    def score(self, features: Features) -> Tensor:
        score = self.tau * features["prefix_log_prob"]
        if not self.prior:
            return score
        self._check(score.shape[-1])
        return score + torch.tensor(self.prior, dtype=torch.float64).log().to(score)

    def slopes(self) -> Mapping[str, float]:
        return {"prefix_log_prob": self.tau}

    def constants(self, num_teachers: int) -> Constants:
        if not self.prior:
            return super().constants(num_teachers)
        self._check(num_teachers)
        interval = self.ranges["prefix_log_prob"]
        likelihood = bounded(num_teachers, self.tau * (interval.high - interval.low), {"prefix_log_prob": 2 * self.tau})
        prior = fixed(torch.tensor(self.prior, dtype=torch.float64).log())
        log_ratio = add_down(prior.log_ratio, likelihood.log_ratio)
        if self.budget is not None and self.budget < math.inf:
            # As a budget around the rule does it, with the proof, in
            # trivium.scheme.clamp_influence, which stands above rules.
            reach = lower_log((self.budget + log_ratio.amin(dim=1, keepdim=True)).clamp(min=0.0)).clamp(min=0.0)
            log_ratio = torch.where(log_ratio > 0, torch.minimum(log_ratio, reach), log_ratio.clamp(min=-self.budget))
        return Constants(log_ratio, likelihood.lipschitz)

    def _check(self, num_teachers: int) -> None:
        require(
            len(self.prior) == num_teachers,
            "a prior must be one number a teacher",
            f"{len(self.prior)} numbers for {num_teachers} teachers",
            "Write them in the order of the recipe's teachers.",
        )

    def formula(self) -> str:
        prior = f"({', '.join(f'{p:g}' for p in self.prior)})·" if self.prior else ""
        power = "" if self.tau == 1 else f"^{self.tau:g}"
        return f"posterior({prior}Π p_k(x_s|x_<s){power}{self._limit()})"


def prefix_log_prob(label_log_prob: Tensor, mask: Tensor | None = None) -> Tensor:
    """S_k(t) = Σ_{s<t} log p_k(x_s | x_<s): an exclusive cumulative sum along the token axis.

    Args:
        label_log_prob: log p_k of the token that follows each position, [B, T, K], nats.
        mask: which positions predict a real token, [B, T]; others add nothing.

    Returns:
        [B, T, K]; position t holds what is known before its own token is seen, 0 at the first.
    """
    if mask is not None:
        label_log_prob = label_log_prob * mask.unsqueeze(-1)
    through = label_log_prob.cumsum(dim=-2)
    # A token that a teacher rules out leaves −inf − (−inf), though what came before it is known.
    before = torch.cat([torch.zeros_like(through[..., :1, :]), through[..., :-1, :]], dim=-2)
    return torch.where(label_log_prob.isinf(), before, through - label_log_prob)
