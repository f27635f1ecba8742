"""One step, on one page: logits → features → weights → target → loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.data.rows import IGNORE
from trivium.losses.streaming import distillation_loss
from trivium.scheme import Scheme
from trivium.training.collect import Batch, batch_gram, collect_features, weigh
from trivium.training.recipe import LossSection


@runtime_checkable
class Watcher(Protocol):
    """Who looks at weights before they are used, as :class:`trivium.training.monitor.Monitor` does."""

    def watch(self, log_weights: Tensor, mask: Tensor, serving: Tensor | None = None) -> Tensor: ...
    def watch_gradients(self, log_weights: Tensor, mask: Tensor, gram: Tensor) -> None: ...


@dataclass(frozen=True)
class StepOutput:
    """What one batch gave. ``loss`` has a gradient, everything else is for the record.

    Attributes:
        loss: distillation mass · ``distillation`` + label mass · ``label``.
        distillation: T²·D(target, student) a predicted token.
        label: cross-entropy a predicted token; 0 where it does not count.
        log_weights: natural logs of the teachers' weights, [B, T, K].
        features: what the rules looked at, each [B, T, K] or broadcastable to it.
        mask: which positions count, [B, T].
        teachers: their names.
    """

    loss: Tensor
    distillation: Tensor
    label: Tensor
    log_weights: Tensor
    features: dict[str, Tensor]
    mask: Tensor
    teachers: tuple[str, ...]

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Each teacher's mean weight over the positions that count."""
        chosen = self.log_weights[self.mask]
        means = chosen.double().exp().mean(0) if len(chosen) else self.log_weights.new_zeros(len(self.teachers))
        return dict(zip(self.teachers, means.tolist(), strict=True))


def distillation_step(
    student_logits: Tensor,
    batch: Batch,
    scheme: Scheme,
    loss: LossSection,
    validation_loss: Tensor,
    monitor: Watcher,
    normalizer: Tensor | float | None = None,
) -> StepOutput:
    """distillation · T²·D(target, student) + label · CE(text, student), summed over tokens / ``normalizer``.

    Args:
        student_logits: [B, T, V] with gradient.
        validation_loss: teachers' losses a task, [tasks, K].
        monitor: sees the weights first, and may repair or refuse them.
        normalizer: number of predicted tokens in the whole optimizer step; None counts those of this batch.

    Raises:
        TeacherError: a teacher without finite logits. AxiomViolation: from the monitor, if the recipe says so.
    """
    # 1. What the rules may look at. Constants to autograd: see T15 for what that means for the update.
    features = collect_features(scheme, batch, student_logits, validation_loss)
    # 2. How much each teacher counts at each position, watched and, if the recipe says so, repaired.
    rows, positions, vocabulary = student_logits.shape
    weights = weigh(scheme, features).expand(rows, positions, len(scheme.teachers))
    weights = monitor.watch(weights, batch.mask, batch.serving)
    if "gram" in features:
        gram = features["gram"] if batch.serving is None else batch_gram(scheme, batch, student_logits)
        monitor.watch_gradients(weights, batch.mask, gram)
    # 3. The pooled target and its divergence from the student, streamed over positions.
    count = batch.mask.sum() if normalizer is None else normalizer
    flat = student_logits.reshape(-1, vocabulary)
    distilled = distillation_loss(
        flat,
        [logits.reshape(-1, logits.shape[-1]) for logits in batch.teacher_logits],
        weights.reshape(-1, weights.shape[-1]),
        temperature=loss.temperature,
        pool=loss.pool,
        exponent=loss.exponent,
        divergence=loss.divergence,
        softening=loss.softener(),
        mask=batch.mask.flatten(),
        normalizer=count,
        teacher_names=scheme.teachers,
    )
    # 4. The text itself, if it counts at all.
    label = torch.zeros((), device=flat.device)
    if loss.label > 0:
        wide = flat if flat.dtype == torch.float64 else flat.float()
        summed = torch.nn.functional.cross_entropy(wide, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
        label = summed / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))  # of nothing nothing
    total = loss.distillation * distilled + loss.label * label
    return StepOutput(total, distilled.detach(), label.detach(), weights, features, batch.mask, scheme.teachers)
