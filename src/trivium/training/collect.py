"""From distributions to features: everything a scheme may look at in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.scheme import Scheme
from trivium.weighting.context.posterior import prefix_log_prob
from trivium.weighting.features import BUILT_IN, FROM_DISTRIBUTIONS
from trivium.weighting.statistics import sequence_loss, token_statistics


@dataclass(frozen=True)
class Batch:
    """B rows of T positions.

    Attributes:
        labels: [B, T], −100 where nothing is predicted.
        teacher_logits: K tensors [B, T, V].
        domain, task: [B], indices.
        columns: user features, each [B, K].
    """

    labels: Tensor
    teacher_logits: Sequence[Tensor]
    domain: Tensor
    task: Tensor
    columns: Mapping[str, Tensor]

    @property
    def mask(self) -> Tensor:
        return self.labels >= 0


@torch.no_grad()
def collect_features(
    scheme: Scheme, batch: Batch, student_logits: Tensor | None, validation_loss: Tensor
) -> dict[str, Tensor]:
    """The features that ``scheme`` reads, each [B, T, K] or broadcastable to it, float32, no gradient (T15).

    Args:
        student_logits: [B, T, V], needed by ``gap`` alone.
        validation_loss: teachers' losses a task, [tasks, K], nats a token.

    Raises:
        TeacherError: logits that are no distribution; the teacher is named.
    """
    wanted = set(scheme.ranges)
    names = wanted & set(FROM_DISTRIBUTIONS)
    if wanted & {"prefix_log_prob", "sequence_loss"}:
        names.add("label_log_prob")
    rows, positions = batch.labels.shape
    flat = token_statistics(
        names,
        [logits.flatten(0, 1) for logits in batch.teacher_logits],
        student_logits=None if student_logits is None else student_logits.detach().flatten(0, 1),
        labels=batch.labels.flatten(),
        teacher_names=scheme.teachers,
    )
    features = {name: value.view(rows, positions, -1) for name, value in flat.items()}
    if "prefix_log_prob" in wanted:
        features["prefix_log_prob"] = prefix_log_prob(features["label_log_prob"], batch.mask)
    if "sequence_loss" in wanted:
        features["sequence_loss"] = sequence_loss(features["label_log_prob"], batch.mask)
    if "validation_loss" in wanted:
        features["validation_loss"] = validation_loss[batch.task].unsqueeze(1)
    if "domain" in wanted:
        features["domain"] = batch.domain.float().view(-1, 1, 1)
    for name in wanted - set(BUILT_IN):
        features[name] = batch.columns[name].unsqueeze(1)
    if not features:
        features["teachers"] = validation_loss.new_zeros(len(scheme.teachers))
    return features
