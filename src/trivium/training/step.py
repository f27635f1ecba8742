"""One step, on one page: logits → features → weights → target → loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.data.rows import IGNORE
from trivium.losses.streaming import distillation_loss
from trivium.scheme import Scheme
from trivium.training.collect import Batch, batch_gram, collect_features, weigh
from trivium.training.monitor import Monitor
from trivium.training.recipe import LossSection


@dataclass(frozen=True)
class StepOutput:
    """What one batch gave. ``loss`` has a gradient, everything else is for the record."""

    loss: Tensor
    distillation: Tensor
    label: Tensor
    log_weights: Tensor
    features: dict[str, Tensor]


def distillation_step(
    student_logits: Tensor,
    batch: Batch,
    scheme: Scheme,
    loss: LossSection,
    validation_loss: Tensor,
    monitor: Monitor,
    normalizer: Tensor | float | None = None,
) -> StepOutput:
    """distillation · T²·D(target, student) + label · CE(text, student), summed over tokens / ``normalizer``.

    Args:
        student_logits: [B, T, V] with gradient.
        validation_loss: teachers' losses a task, [tasks, K].
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
        mask=batch.mask.flatten(),
        normalizer=count,
        teacher_names=scheme.teachers,
    )
    # 4. The text itself, if it counts at all.
    label = torch.zeros((), device=flat.device)
    if loss.label > 0:
        summed = torch.nn.functional.cross_entropy(
            flat.float(), batch.labels.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        label = summed / count
    total = loss.distillation * distilled + loss.label * label
    return StepOutput(total, distilled.detach(), label.detach(), weights, features)
