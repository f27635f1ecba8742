"""Rules that learn while the student trains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from trivium.weighting.base import Rule

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """What a learned rule may look at after an optimizer step. ``rows`` are numbers of training rows, [N].

    Attributes:
        step: optimizer steps so far, from 1.
        rows: those of the last batch.
        learning_rate: of the student now.
        parameters: the student's trainable parameters by name, as they are now; not to be written to.
        student_logits: (parameters, rows) ↦ [N, T, V], differentiable in the parameters.
        teacher_logits: rows ↦ K tensors [N, T, V].
        labels: rows ↦ [N, T], −100 where nothing is predicted.
        task: rows ↦ [N], indices.
    """

    step: int
    rows: Tensor
    learning_rate: float
    parameters: Parameters
    student_logits: Callable[[Parameters, Tensor], Tensor]
    teacher_logits: Callable[[Tensor], Sequence[Tensor]]
    labels: Callable[[Tensor], Tensor]
    task: Callable[[Tensor], Tensor]


class LearnableRule(Rule):
    """A rule with a state that :meth:`learn` changes between steps; at any one state it is a function of its features.

    What it declares must hold at every state that it can reach, so that a certificate outlives the training. The state
    is saved with every checkpoint, and a resumed run is the run that was not interrupted.
    """

    learns: ClassVar[bool] = True

    @abstractmethod
    def learn(self, training_state: TrainingState) -> None:
        """Change the state after an optimizer step. The student is left as it is."""

    def kept(self) -> Collection[int]:
        """Return numbers of earlier rows that a later lesson may ask about; all others but the last batch's are
        let go."""
        return ()

    def release(self) -> None:
        """Let go of all rows: another run begins, whose rows have other numbers. What was learned stays."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that :meth:`learn` has changed: tensors, numbers and nested mappings of them."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
