"""One step, on one page: logits → features → weights → target → loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.data.rows import IGNORE
from trivium.errors import TriviumError
from trivium.former import renamed
from trivium.losses.streaming import distillation_loss
from trivium.scheme import Scheme
from trivium.teachers.huggingface import check_logits
from trivium.training.collect import Batch, batch_gram, collect_features, weigh
from trivium.training.guard import Guard, Marked
from trivium.training.monitor import Monitor
from trivium.training.recipe import LossSection


@runtime_checkable
class Watcher(Protocol):
    """The interface of what looks at weights before they are used, as :class:`trivium.training.monitor.Monitor`
    does."""

    def watch(self, log_weights: Tensor, mask: Tensor, teacher_mask: Tensor | None = None) -> Tensor: ...
    def watch_gradients(self, log_weights: Tensor, mask: Tensor, gram: Tensor) -> None: ...


@renamed(teachers="teacher_names")
@dataclass(frozen=True)
class StepOutput:
    """The results of one batch. ``loss`` has a gradient, everything else is for the record.

    Attributes:
        loss: distillation mass · ``distillation`` + label mass · ``label``.
        distillation: T²·D(target, student) a predicted token.
        label: cross-entropy a predicted token; 0 where it does not count.
        log_weights: natural logs of the teachers' weights, [B, T, K].
        features: what the rules looked at, each [B, T, K] or broadcastable to it.
        mask: which positions count, [B, T].
        teacher_names: their names.
    """

    loss: Tensor
    distillation: Tensor
    label: Tensor
    log_weights: Tensor
    features: dict[str, Tensor]
    mask: Tensor
    teacher_names: tuple[str, ...]

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Each teacher's mean weight over the positions that count."""
        chosen = self.log_weights[self.mask]
        means = chosen.double().exp().mean(0) if len(chosen) else self.log_weights.new_zeros(len(self.teacher_names))
        return dict(zip(self.teacher_names, means.tolist(), strict=True))


def distillation_step(
    student_logits: Tensor,
    batch: Batch,
    scheme: Scheme,
    loss: LossSection,
    validation_loss: Tensor,
    monitor: Watcher,
    normalizer: Tensor | float | None = None,
    guard: Guard | None = None,
    marked: Marked | None = None,
    training: bool = True,
) -> StepOutput:
    """distillation · T²·D(target, student) + label · CE(text, student), summed over tokens / ``normalizer``.

    Args:
        student_logits: [B, T, V] with gradient.
        validation_loss: teachers' losses a task, [tasks, K].
        monitor: sees the weights first, and may repair or refuse them.
        normalizer: number of predicted tokens in the whole optimizer step; None counts those of this batch.
        guard, marked: a limit on unsafe mass, and the positions where it is kept.
        training: whether the guard counts the batch.

    Raises:
        TeacherError: a teacher without finite logits. AxiomViolation: from the monitor, if the recipe says so.
    """
    # 1. What the rules may look at. Constants to autograd: see T15 for what that means for the update.
    features = collect_features(scheme, batch, student_logits, validation_loss)
    # 2. How much each teacher counts at each position, watched and, if the recipe says so, repaired.
    rows, positions, vocabulary = student_logits.shape
    weights = weigh(scheme, features).expand(rows, positions, len(scheme.teacher_names))
    weights = monitor.watch(weights, batch.mask, batch.teacher_mask)
    if scheme.trusted is not None and isinstance(monitor, Monitor):
        critical = batch.columns["critical"].expand(rows, positions) > 0.5
        weights = monitor.watch_critical(weights, batch.mask & critical, batch.teacher_mask)
    if "gram" in features:
        gram = features["gram"] if batch.teacher_mask is None else batch_gram(scheme, batch, student_logits)
        monitor.watch_gradients(weights, batch.mask, gram)
    # 3. The pooled target and its divergence from the student, streamed over positions.
    count = batch.mask.sum() if normalizer is None else normalizer
    flat = student_logits.reshape(-1, vocabulary)
    teachers = [logits.reshape(-1, logits.shape[-1]) for logits in batch.teacher_logits]
    mask, log_w = batch.mask.flatten(), weights.reshape(-1, weights.shape[-1])
    safe = None if guard is None or marked is None else guard.safe_targets(marked, teachers, log_w)
    if safe is not None:
        mask = mask.index_fill(0, safe[0], False)
    distilled = distillation_loss(
        flat,
        teachers,
        log_w,
        temperature=loss.temperature,
        pool=loss.pool,
        exponent=loss.exponent,
        divergence=loss.divergence,
        softening=loss.softener(),
        mask=mask,
        normalizer=count,
        teacher_names=scheme.teacher_names,
    )
    if safe is not None:  # a target of its own, at these positions, is one teacher of weight one
        own, one = safe[1], safe[1].new_zeros(len(safe[0]), 1)
        distilled = distilled + distillation_loss(
            flat[safe[0]], [own], one, divergence=loss.divergence, normalizer=count, teacher_names=("the safe target",)
        )
    # 4. The text itself, if it counts at all.
    label = torch.zeros((), device=flat.device)
    if loss.label > 0:
        wide = flat if flat.dtype == torch.float64 else flat.float()
        summed = torch.nn.functional.cross_entropy(wide, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
        label = summed / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))  # of nothing nothing
    total = loss.distillation * distilled + loss.label * label
    if guard is not None and marked is not None:
        total = total + guard.penalty(marked, flat, training)
    return StepOutput(total, distilled.detach(), label.detach(), weights, features, batch.mask, scheme.teacher_names)


def require_finite(step: StepOutput, content: Batch, number: int) -> None:
    """Raise where a loss is no number: TeacherError if a teacher's logits are none, else TriviumError."""
    if bool(torch.isfinite(step.loss)):
        return
    for name, logits in zip(step.teacher_names, content.teacher_logits, strict=True):
        check_logits(logits.float(), name)  # the teacher's fault, if it is one
    raise TriviumError(
        "the loss must be finite",
        f"{step.loss.item()} in batch {number}",
        "Lower the learning rate; the last checkpoint is intact.",
    )
