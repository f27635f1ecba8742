"""Held-out nats of the student and of the weighted mixture itself, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.data.table import Table
from trivium.errors import calling
from trivium.former import renamed
from trivium.scheme import Scheme
from trivium.teachers.live import LogitSource
from trivium.training.collect import Batch, collect_features, weigh
from trivium.weighting.features import NEEDS_LABEL, NEEDS_STUDENT

#: From log-probabilities [B, T, V] and labels [B, T] to a score of each row, [B, ...] in float64.
Score = Callable[[Tensor, Tensor], Tensor]


def nll(log_p: Tensor, labels: Tensor) -> Tensor:
    """−Σ_t log p(label_t), [B]."""
    return -_picked(log_p, labels)


def nats_and_correct(log_p: Tensor, labels: Tensor) -> Tensor:
    """Of rows of one position: −log p(label), and 1 where the label is the likeliest class, else 0; [B, 2]."""
    return torch.stack([nll(log_p, labels), (log_p.argmax(-1) == labels).squeeze(-1).double()], -1)


def nats_and_answer(log_p: Tensor, labels: Tensor) -> Tensor:
    """Of rows of one position: −log p(label), and the likeliest class; [B, 2]."""
    return torch.stack([nll(log_p, labels), log_p.argmax(-1).squeeze(-1).double()], -1)


def batch_of(rows: Table, index: Tensor, source: LogitSource, device: torch.device | str = "cpu") -> Batch:
    """Return the batch of the rows numbered ``index``, with the teachers' logits on ``device``."""
    return Batch(
        labels=rows.labels[index].to(device),
        teacher_logits=[logits.to(device) for logits in source.logits(index)],
        domain=rows.domain[index].to(device),
        task=rows.task[index].to(device),
        columns={name: values[index].to(device) for name, values in rows.columns.items()},
        teacher_mask=None if rows.teacher_mask is None else rows.teacher_mask[index].to(device),
    )


def indices(rows: Table) -> Iterator[Tensor]:
    """Yield row numbers in order, a batch at a time."""
    return iter(torch.arange(len(rows)).split(at_once(rows)))


def at_once(rows: Table, positions: int = 512) -> int:
    """Return rows a batch where nothing is learned: 16 of many positions, or ``positions`` of one."""
    return 16 if rows.labels.shape[-1] > 1 else positions


def student_logits(model: Any, rows: Table, index: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return the student's logits [B, T, V] on the rows numbered ``index``.

    Raises:
        ForeignError: what its own code raises.
    """
    with calling("the student must read a batch", "Run its forward by itself to see."):
        logits: Tensor = model(**rows.arguments(index, device)).logits
    return logits


@torch.no_grad()
def student_nll(model: Any, rows: Table, score: Score = nll) -> Tensor:
    """−Σ_t log p_student(label_t) for each row (or another score), [N, ...], float64. Leaves the model's mode and the
    random state alone."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    found = []
    for index in indices(rows):
        labels = rows.labels[index].to(device)
        logits = student_logits(model, rows, index, device).float()
        found.append(score(logits.log_softmax(-1), labels))
    model.train(was_training)
    return torch.cat(found)


@torch.no_grad()
def teacher_nll(source: LogitSource, rows: Table, score: Score = nll) -> Tensor:
    """−Σ_t log p_k(label_t) for each row and teacher (or another score), [N, K, ...], float64; NaN where a teacher does
    not serve the row's task."""
    found = []
    for index in indices(rows):
        labels = rows.labels[index]
        found.append(torch.stack([score(z.cpu().float().log_softmax(-1), labels) for z in source.logits(index)], 1))
    scores = torch.cat(found)
    return scores if rows.teacher_mask is None else torch.where(_like(rows.teacher_mask, scores), scores, torch.nan)


def _like(teacher_mask: Tensor, scores: Tensor) -> Tensor:
    return teacher_mask.view(*teacher_mask.shape, *(1,) * (scores.ndim - 2))


def validation_losses(found: Tensor, rows: Table) -> Tensor:
    """Return each teacher's mean nats a token on each task, [tasks, K], float32: what task rules see. NaN for a teacher
    that does not serve the task.

    Args:
        found: nats of each row and teacher, [N, K], as of :func:`teacher_nll`.
    """
    tokens = rows.mask.sum(-1)
    of_task = [rows.task == task for task in range(len(rows.tasks))]
    return torch.stack([found[chosen].sum(0) / tokens[chosen].sum() for chosen in of_task]).float()


def is_predictor(scheme: Scheme) -> bool:
    """Return whether the weights are known before the token they weight; a rule that sees the label predicts
    nothing."""
    return not set(scheme.ranges) & NEEDS_LABEL


@torch.no_grad()
def mixture_nats(
    scheme: Scheme,
    source: LogitSource,
    rows: Table,
    validation_loss: Tensor,
    pool: str = "linear",
    student: Any = None,
    exponent: float | None = None,
    score: Score = nll,
) -> Tensor:
    """−Σ_t log q(label_t) of the pooled teachers for each row (or another score), [N, ...], float64: the target as a
    predictor.

    Args:
        student: needed only by schemes that read the gap to it.
        exponent: ρ of the power pool.
    """
    pooling = make_pool(pool, exponent)
    needs_student = bool(set(scheme.ranges) & NEEDS_STUDENT)
    found = []
    for index in indices(rows):
        batch = batch_of(rows, index, source)
        logits = None
        if needs_student:
            logits = student_logits(student, rows, index, next(student.parameters()).device).cpu()
        features = collect_features(scheme, batch, logits, validation_loss)
        b, t = batch.labels.shape
        weights = batch.restricted(weigh(scheme, features).expand(b, t, len(scheme.teacher_names))).flatten(0, 1)
        log_p = [z.flatten(0, 1).float().log_softmax(-1) for z in batch.teacher_logits]
        found.append(score(pooling.pool(log_p, weights).view(b, t, -1), batch.labels))
    return torch.cat(found)


@renamed(nats="nll")
def bits_per_byte(nll: Tensor, rows: Table) -> dict[str, float]:
    """Σ nats / (Σ bytes · ln 2) in each domain; of examples, whose unit is one example, the mean a domain."""
    values = {}
    for number, domain in enumerate(rows.domains):
        chosen = rows.domain == number
        values[domain] = float(nll[chosen].sum() / (rows.size[chosen].sum() * rows.nats_a_unit))
    return values


def _picked(log_p: Tensor, labels: Tensor) -> Tensor:
    """Σ_t log p(label_t) over real labels, [B], float64."""
    mask = labels >= 0
    picked = log_p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(mask, picked, 0.0).double().sum(-1)
