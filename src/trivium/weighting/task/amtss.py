"""AMTSS: the importance of each teacher for a task, learned from its margins where the student still errs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.constants import Constants, bounded
from trivium.weighting.base import Features
from trivium.weighting.features import BUILT_IN, Range, Scale
from trivium.weighting.learnable import LearnableRule, TrainingState


@renamed(teachers="num_teachers")
@dataclass(frozen=True)
class AMTSS(LearnableRule):
    """w = softmax(θ_task), limited to an influence budget; after each step θ_task ← (1 − ρ)·θ_task + η·m.

    m_k = Σ_x h(x)·tanh(log p_k(y|x) − max over i ≠ y of log p_k(i|x)) / Σ_x h(x), over the batch's examples of that
    task, with h = 1 − s(y|x), what the student still lacks: a teacher gains where it separates the label that the
    student does not. Teachers start alike.

    Args:
        num_teachers, tasks: sizes of θ.
        rate: η > 0.
        decay: ρ in [0, 1); 0 never forgets.
        budget: influence budget in nats (T3); None leaves θ as it is, without a bound while ρ = 0.

    Constants, at every state that can be reached: β = min(B, 2η/ρ), as |θ_k| ≤ η/ρ; L = 2β in the task's index,
    since distinct tasks lie at least 1 apart and θ moves by at most β between two of them in each direction.
    Cost O(K) a row, O(K·V) an example of the batch to learn. It sees the label. Source: the principle of AMTSS (arXiv
    2305.07928), importance adapted while training and max-margin teachers; the update, the student's part in it and
    both bounds are ours. Its shared encoder with a projection for each language or task is a student of labelled
    examples: one module, a head a task.

    >>> AMTSS(num_teachers=2).log_weights({"task": torch.zeros(1), "teachers": torch.zeros(2)}).exp()
    tensor([0.5000, 0.5000])
    """

    num_teachers: int
    tasks: int = 1
    rate: float = 0.05
    decay: float = 0.0
    budget: float | None = None
    scale: Scale = "task"
    name: ClassVar[str] = "amtss"

    def __post_init__(self) -> None:
        sizes = (self.num_teachers, self.tasks)
        require(min(sizes) >= 1, "teachers and tasks must be at least one", sizes)
        require(0 < self.rate < math.inf, "the rate must be a positive number", self.rate, "Try 0.05.")
        require(0 <= self.decay < 1, "the decay must lie in [0, 1)", self.decay, "Use 0 to forget nothing.")
        fits = self.budget is None or 0 <= self.budget < math.inf
        require(fits, "a budget must be a number of nats ≥ 0", self.budget, "Try 4.")
        # The state is no field: two rules are the same rule whatever they have learned.
        self.__dict__["_theta"] = torch.zeros(self.tasks, self.num_teachers, dtype=torch.float64)

    @property
    def theta(self) -> Tensor:
        """What was learned, [tasks, K] float64."""
        return cast(Tensor, self.__dict__["_theta"])

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {"task": BUILT_IN["task"]._replace(high=max(1.0, self.tasks - 1.0))}

    def log_weights(self, features: Features) -> Tensor:
        task = self.admit(features)["task"].squeeze(-1)
        index = task.round().long().clamp_max(self.tasks - 1)
        kind = task.dtype if task.is_floating_point() else torch.get_default_dtype()
        rows = self._scores().to(task.device)
        return torch.log_softmax(rows[index], dim=-1).to(kind)

    def _scores(self) -> Tensor:
        if self.budget is None:
            return self.theta
        return (self.theta - self.theta.amax(-1, keepdim=True)).clamp_min(-self.budget)

    def constants(self, num_teachers: int) -> Constants | None:
        require(
            num_teachers == self.num_teachers,
            "learned importance must be one number a teacher",
            f"{self.num_teachers} for {num_teachers} teachers",
            "Set `teachers`.",
        )
        reach = 2 * self.rate / self.decay if self.decay > 0 else math.inf
        influence = reach if self.budget is None else min(self.budget, reach)
        return None if influence == math.inf else bounded(num_teachers, influence, {"task": 2 * influence})

    @torch.no_grad()
    def learn(self, training_state: TrainingState) -> None:
        labels, tasks = training_state.labels(training_state.rows), training_state.task(training_state.rows)
        mask = labels >= 0
        safe = labels.clamp_min(0).unsqueeze(-1)
        student = training_state.student_logits(training_state.parameters, training_state.rows).double().log_softmax(-1)
        lacks = (1 - student.gather(-1, safe).squeeze(-1).exp()).clamp_min(0.0) * mask
        margins = torch.stack(
            [margin(z, safe).tanh() for z in training_state.teacher_logits(training_state.rows)], dim=-1
        )
        for task in tasks.unique().tolist():
            weight = (lacks * (tasks == task).unsqueeze(-1)).unsqueeze(-1)
            total = weight.sum()
            if total > 0:
                gain = (weight * margins).sum(dim=(0, 1)) / total
                self.theta[task] = (1 - self.decay) * self.theta[task] + self.rate * gain.cpu()

    def state(self) -> dict[str, Any]:
        return {"theta": self.theta.clone()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.theta.copy_(state["theta"])

    def formula(self) -> str:
        limit = "" if self.budget is None else f" | β ≤ {self.budget:g}"
        return f"softmax(θ_task, learned from margins{limit})"


def margin(logits: Tensor, label: Tensor) -> Tensor:
    """log p(y) − max over i ≠ y of log p(i), [...], of logits [..., V] and labels [..., 1]; +∞ for V = 1.

    >>> margin(torch.tensor([[2.0, 0.5, 1.0]]), torch.tensor([[0]]))
    tensor([1.], dtype=torch.float64)
    """
    exact = logits.double()
    others = exact.scatter(-1, label, -math.inf).amax(-1)
    return (exact.gather(-1, label).squeeze(-1) - others).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf)
