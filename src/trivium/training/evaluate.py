"""Held-out nats of the student and of the weighted mixture itself, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.data.rows import Rows
from trivium.scheme import Scheme
from trivium.teachers.live import LogitSource
from trivium.training.collect import Batch, collect_features
from trivium.weighting.features import NEEDS_LABEL, NEEDS_STUDENT

_BATCH = 16


def batch_of(rows: Rows, index: Tensor, source: LogitSource, device: torch.device | str = "cpu") -> Batch:
    """The batch of the rows numbered ``index``, with the teachers' logits on ``device``."""
    return Batch(
        labels=rows.labels[index].to(device),
        teacher_logits=[logits.to(device) for logits in source.logits(index)],
        domain=rows.domain[index].to(device),
        task=rows.task[index].to(device),
        columns={name: values[index].to(device) for name, values in rows.columns.items()},
    )


def indices(rows: Rows) -> Iterator[Tensor]:
    """Row numbers in order, a batch at a time."""
    return iter(torch.arange(len(rows)).split(_BATCH))


@torch.no_grad()
def student_nats(model: Any, rows: Rows) -> Tensor:
    """−Σ_t log p_student(label_t) for each row, [N], float64. Leaves the model's mode and the random state alone."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    found = []
    for index in indices(rows):
        labels = rows.labels[index].to(device)
        logits = model(input_ids=rows.input_ids[index].to(device)).logits.float()
        found.append(-_picked(logits.log_softmax(-1), labels))
    model.train(was_training)
    return torch.cat(found)


@torch.no_grad()
def teacher_nats(source: LogitSource, rows: Rows) -> Tensor:
    """−Σ_t log p_k(label_t) for each row and teacher, [N, K], float64."""
    found = []
    for index in indices(rows):
        labels = rows.labels[index]
        found.append(torch.stack([-_picked(z.cpu().float().log_softmax(-1), labels) for z in source.logits(index)], -1))
    return torch.cat(found)


def validation_losses(source: LogitSource, rows: Rows) -> Tensor:
    """Each teacher's mean nats a token on each task, [tasks, K], float32: what task rules see."""
    nats, tokens = teacher_nats(source, rows), rows.mask.sum(-1)
    of_task = [rows.task == task for task in range(len(rows.tasks))]
    return torch.stack([nats[chosen].sum(0) / tokens[chosen].sum() for chosen in of_task]).float()


def is_predictor(scheme: Scheme) -> bool:
    """Whether the weights are known before the token they weight; a rule that sees the label predicts nothing."""
    return not set(scheme.ranges) & NEEDS_LABEL


@torch.no_grad()
def mixture_nats(
    scheme: Scheme,
    source: LogitSource,
    rows: Rows,
    validation_loss: Tensor,
    pool: str = "linear",
    student: Any = None,
    exponent: float | None = None,
) -> Tensor:
    """−Σ_t log q(label_t) of the pooled teachers for each row, [N], float64: the target as a predictor.

    Args:
        student: needed only by schemes that read the gap to it.
        exponent: ρ of the power pool.
    """
    pooling = make_pool(pool, exponent)
    needs_student = bool(set(scheme.ranges) & NEEDS_STUDENT)
    found = []
    for index in indices(rows):
        batch = batch_of(rows, index, source)
        logits = student(input_ids=rows.input_ids[index].to(student.device)).logits.cpu() if needs_student else None
        features = collect_features(scheme, batch, logits, validation_loss)
        b, t = batch.labels.shape
        weights = scheme.log_weights(features).expand(b, t, len(scheme.teachers)).flatten(0, 1)
        log_p = [z.flatten(0, 1).float().log_softmax(-1) for z in batch.teacher_logits]
        found.append(-_picked(pooling.pool(log_p, weights).view(b, t, -1), batch.labels))
    return torch.cat(found)


def bits_per_byte(nats: Tensor, rows: Rows) -> dict[str, float]:
    """Σ nats / (Σ bytes · ln 2) in each domain."""
    values = {}
    for number, domain in enumerate(rows.domains):
        chosen = rows.domain == number
        values[domain] = float(nats[chosen].sum() / (rows.bytes[chosen].sum() * math.log(2)))
    return values


def _picked(log_p: Tensor, labels: Tensor) -> Tensor:
    """Σ_t log p(label_t) over real labels, [B], float64."""
    mask = labels >= 0
    picked = log_p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(mask, picked, 0.0).double().sum(-1)
