"""MMKD: a small network weighs the teachers from all logits, trained so that hard samples become easier."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.constants import Constants, bounded
from trivium.weighting.base import Features
from trivium.weighting.features import BUILT_IN, Range, Scale
from trivium.weighting.learnable import LearnableRule, TrainingState
from trivium.weighting.meta import HardSamples, bilevel_gradient


@renamed(teachers="num_teachers")
@dataclass(frozen=True)
class MMKD(LearnableRule):
    """w = softmax(MLP(log p_1 ‖ … ‖ log p_K ‖ log s)), MLP = Linear(n, n/2)–ReLU–Linear(n/2, K), n = (K + 1)·V.

    Every ``every`` steps the network is trained through the student: two SGD steps of a copy on Σ_k w_k·KL(p_k‖s), one
    on the cross-entropy of the labels, then the cross-entropy on ``samples`` rows of a buffer of hard ones, backwards
    through all three (:func:`trivium.weighting.meta.bilevel_gradient`). The student itself is left as it was.

    Args:
        num_teachers, classes: K and V.
        every, samples, slots: as above; the buffer keeps the ``slots`` rows with the largest loss.
        rate: of Adam on the network.
        budget: influence budget in nats (T3); None for the published rule, which has no bound.
        lipschitz: bound on L in nats a nat of a log-probability, kept by rescaling the last layer after each update;
            None for the published rule.
        seed: of the first weights and of the draws from the buffer.

    Constants, at every state that can be reached: β = B, and L as given, because ReLU is 1-Lipschitz and ‖A x‖_∞ ≤
    ‖A‖_∞·‖x‖_∞ with ‖A‖_∞ the largest absolute row sum: two scores move apart by at most 2·‖A₂‖_∞·‖A₁‖_∞. Nothing is
    declared without a budget. Cost: O(n²/2) a position; to learn, about eight passes of the student. Source: MMKD
    (Zhang et al., "Adaptive multi-teacher knowledge distillation with meta-learning", ICME 2023); its inputs are
    logits, ours log-probabilities, which do not depend on a constant; only the logit half of the method.

    >>> rule = MMKD(num_teachers=2, classes=3)
    >>> round(float(rule.log_weights({"logits": torch.zeros(9)}).exp().sum()), 4)
    1.0
    """

    num_teachers: int
    classes: int
    every: int = 5
    samples: int = 64
    slots: int = 256
    rate: float = 1e-3
    budget: float | None = None
    lipschitz: float | None = None
    seed: int = 0
    scale: Scale = "token"
    name: ClassVar[str] = "mmkd"

    def __post_init__(self) -> None:
        sizes = (self.num_teachers, self.classes, self.every, self.samples, self.slots)
        require(min(sizes) >= 1, "teachers, classes, every, samples and slots must be at least one", sizes)
        for name in ("budget", "lipschitz"):
            value = getattr(self, name)
            require(value is None or 0 <= value < math.inf, f"{name} must be a number ≥ 0", value, "Try 4.")
        require(0 < self.rate < math.inf, "the rate must be a positive number", self.rate, "Try 0.001.")
        n = (self.num_teachers + 1) * self.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = nn.Sequential(
                nn.Linear(n, max(1, n // 2)), nn.ReLU(), nn.Linear(max(1, n // 2), self.num_teachers)
            )
        # The state is no field: two rules are the same rule whatever they have learned.
        self.__dict__["_network"] = network
        self.__dict__["_buffer"] = HardSamples(self.slots, self.seed)
        self.__dict__["_optimizer"] = torch.optim.Adam(network.parameters(), lr=self.rate)
        self._hold()

    @property
    def network(self) -> nn.Sequential:
        """What was learned."""
        return cast(nn.Sequential, self.__dict__["_network"])

    @property
    def buffer(self) -> HardSamples:
        """Numbers of training rows on which the student does worst."""
        return cast(HardSamples, self.__dict__["_buffer"])

    @property
    def optimizer(self) -> torch.optim.Adam:
        """Of the network."""
        return cast(torch.optim.Adam, self.__dict__["_optimizer"])

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {"logits": BUILT_IN["logits"]._replace(numbers=(self.num_teachers + 1) * self.classes)}

    def log_weights(self, features: Features) -> Tensor:
        return self.weigh(self.admit(features)["logits"]).detach()

    def weigh(self, logits: Tensor) -> Tensor:
        """Return log-weights [..., K] of what the network sees, with gradient in its parameters."""
        weights = {name: value.to(logits) for name, value in self.network.named_parameters()}
        score: Tensor = torch.func.functional_call(self.network, weights, (logits,))
        if self.budget is not None:
            score = (score - score.amax(-1, keepdim=True)).clamp_min(-self.budget)
        return torch.log_softmax(score, dim=-1)

    def constants(self, num_teachers: int) -> Constants | None:
        require(
            num_teachers == self.num_teachers,
            "a network that weighs teachers must have an output for each",
            f"{self.num_teachers} for {num_teachers} teachers",
            "Set `teachers`.",
        )
        if self.budget is None:
            return None
        slope = math.inf if self.lipschitz is None else self.lipschitz
        return bounded(num_teachers, self.budget, {"logits": slope})

    def learn(self, training_state: TrainingState) -> None:
        self.buffer.see(training_state)
        if training_state.step % self.every == 0:
            chosen = self.buffer.draw(self.samples)
            gradient = bilevel_gradient(self.weigh, list(self.network.parameters()), training_state, chosen)
            for parameter, value in zip(self.network.parameters(), gradient, strict=True):
                parameter.grad = value
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self._hold()

    @torch.no_grad()
    def _hold(self) -> None:
        """Rescale the last layer to the bound on L."""
        if self.lipschitz is None:
            return
        first, last = (layer for layer in self.network if isinstance(layer, nn.Linear))
        steep = 2 * float(first.weight.double().abs().sum(1).max()) * float(last.weight.double().abs().sum(1).max())
        if steep > self.lipschitz:
            # A little more than needed, so that rounding in float32 stays below the bound.
            last.weight.mul_(self.lipschitz / steep * (1 - 1e-5))

    def kept(self) -> Collection[int]:
        return self.buffer.loss

    def release(self) -> None:
        self.buffer.loss = {}

    def state(self) -> dict[str, Any]:
        network = {name: value.clone() for name, value in self.network.state_dict().items()}
        return {"network": network, "optimizer": self.optimizer.state_dict(), "buffer": self.buffer.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.buffer.restore(state["buffer"])

    def formula(self) -> str:
        limit = "" if self.budget is None else f" | β ≤ {self.budget:g}"
        return f"softmax(MLP(log p_1 ‖ … ‖ log p_K ‖ log s){limit})"
