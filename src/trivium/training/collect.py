"""From distributions to features: everything a scheme may look at in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import AxiomViolation, InputError, RuleError, calling
from trivium.former import renamed
from trivium.scheme import Scheme
from trivium.simplex.restriction import restrict, stand_ins
from trivium.weighting.context.posterior import prefix_log_prob
from trivium.weighting.evidence import recent_log_prob
from trivium.weighting.features import BUILT_IN, DECAYS, FROM_DISTRIBUTIONS, NEEDS_PREFIX
from trivium.weighting.gram import gradient_gram
from trivium.weighting.meta import joined_logits
from trivium.weighting.statistics import sequence_loss, token_statistics


@renamed(serving="teacher_mask")
@dataclass(frozen=True)
class Batch:
    """B rows of T positions.

    Attributes:
        labels: [B, T], −100 where nothing is predicted.
        teacher_logits: K tensors [B, T, V].
        domain, task: [B], indices.
        columns: user features, each [B, K].
        teacher_mask: bool [B, K], which teachers serve a row's task; None where all do.
    """

    labels: Tensor
    teacher_logits: Sequence[Tensor]
    domain: Tensor
    task: Tensor
    columns: Mapping[str, Tensor]
    teacher_mask: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        return self.labels >= 0

    def restricted(self, log_weights: Tensor) -> Tensor:
        """Return log-weights [B, T, K] among the teachers that serve each row; see :func:`trivium.simplex.restrict`.

        Raises:
            AxiomViolation: a row on which none of those has weight.
        """
        if self.teacher_mask is None:
            return log_weights
        found = restrict(log_weights, self.teacher_mask.unsqueeze(1))
        if bool(found.isnan().any()):
            raise AxiomViolation(
                "the teachers that serve a row must have weight (W-P)",
                "none on all of them",
                "Run `trivium certify` on the scheme.",
            )
        return found


@torch.no_grad()
def collect_features(
    scheme: Scheme, batch: Batch, student_logits: Tensor | None, validation_loss: Tensor
) -> dict[str, Tensor]:
    """Return the features that ``scheme`` reads, each [B, T, K] or broadcastable to it, float32, no gradient (T15).

    ``gram`` is one matrix for the batch, [1, 1, K·K]: that of the rows given here. With accumulation or several
    processes each micro-batch therefore has its own, and a scheme that reads it gives other weights than one large
    batch would.

    Args:
        student_logits: [B, T, V], needed by ``gap`` and ``gram``.
        validation_loss: teachers' losses a task, [tasks, K], nats a token.

    Raises:
        TeacherError: logits that are no distribution; the teacher is named.
    """
    wanted = set(scheme.ranges)
    names = wanted & set(FROM_DISTRIBUTIONS)
    if wanted & (NEEDS_PREFIX | {"sequence_loss"}):
        names.add("label_log_prob")
    features = _statistics(names, scheme, batch, student_logits)
    if "prefix_log_prob" in wanted:
        features["prefix_log_prob"] = prefix_log_prob(features["label_log_prob"], batch.mask)
    for name in wanted & set(DECAYS):
        features[name] = recent_log_prob(features["label_log_prob"], DECAYS[name], batch.mask)
    if "sequence_loss" in wanted:
        features["sequence_loss"] = sequence_loss(features["label_log_prob"], batch.mask)
    if "validation_loss" in wanted:
        features["validation_loss"] = validation_loss[batch.task].unsqueeze(1)
    if "gram" in wanted:
        features["gram"] = batch_gram(scheme, batch, student_logits)
    if "domain" in wanted:
        features["domain"] = batch.domain.float().view(-1, 1, 1)
    if "task" in wanted:
        features["task"] = batch.task.float().view(-1, 1, 1)
    if "critical" in wanted:
        features["critical"] = batch.columns["critical"].unsqueeze(1)
    if "logits" in wanted:
        features["logits"] = joined_logits(batch.teacher_logits, _needed(student_logits))
    for name in wanted - set(BUILT_IN):
        features[name] = batch.columns[name].unsqueeze(1)
    if batch.teacher_mask is not None:
        _stand_in(features, scheme, batch.teacher_mask)
    if not features:
        features["teachers"] = validation_loss.new_zeros(len(scheme.teacher_names))
    return features


def weigh(scheme: Scheme, features: Mapping[str, Tensor]) -> Tensor:
    """Return the scheme's log-weights [..., K].

    Raises:
        RuleError: what a user's rule raises in its own code.
    """
    with calling("the scheme must weigh a batch", "Run `trivium certify` on its rules.", RuleError):
        return scheme.log_weights(features)


def batch_gram(scheme: Scheme, batch: Batch, student_logits: Tensor | None) -> Tensor:
    """Return the Gram matrix of the batch, [1, 1, K·K], each teacher's gradient a mean over the positions that it
    serves.

    It is the feature ``gram`` itself, except where a teacher does not serve a row: its stand-in's entries are there.
    """
    if student_logits is None:
        raise InputError("'gram' compares the teachers with the student", "no student_logits")
    return gradient_gram(
        student_logits.detach().flatten(0, 1),
        [logits.flatten(0, 1) for logits in batch.teacher_logits],
        _counting(batch),
        teacher_names=scheme.teacher_names,
    ).view(1, 1, -1)


def _needed(student_logits: Tensor | None) -> Tensor:
    if student_logits is None:
        raise InputError("'logits' are those of teachers and student", "no student's logits")
    return student_logits


def _stand_in(features: dict[str, Tensor], scheme: Scheme, teacher_mask: Tensor) -> None:
    """Give every absent teacher the features of its stand-in."""
    own = stand_ins(teacher_mask).unsqueeze(1)
    for name, value in features.items():
        interval, num_teachers = scheme.ranges.get(name), len(scheme.teacher_names)
        if interval is None or interval.shared or interval.numbers:
            continue
        index = own
        if interval.pairwise:
            index = (own.unsqueeze(-1) * num_teachers + own.unsqueeze(-2)).flatten(-2)
        wide = value.expand(len(teacher_mask), -1, -1)  # what is one for the batch differs by row from here
        features[name] = wide.gather(-1, index.expand(*wide.shape[:-1], -1))


def _counting(batch: Batch) -> Tensor:
    """Return which positions count [B·T], or for which teachers [B·T, K] where some do not serve a row."""
    if batch.teacher_mask is None:
        return batch.mask.flatten()
    return (batch.mask.unsqueeze(-1) & batch.teacher_mask.unsqueeze(1)).flatten(0, 1)


def _statistics(names: set[str], scheme: Scheme, batch: Batch, student_logits: Tensor | None) -> dict[str, Tensor]:
    """Return features of distributions, each [B, T, K]. Where teachers do not serve a row, those that do are looked at
    alone, disagreement included, and an absent one gets the features of its stand-in."""
    if batch.teacher_mask is None:
        return _of(names, scheme.teacher_names, batch.teacher_logits, batch.labels, student_logits)
    found = {
        name: torch.zeros((*batch.labels.shape, len(scheme.teacher_names)), device=batch.labels.device)
        for name in names
    }
    patterns, which = batch.teacher_mask.unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows, present = (which == number).nonzero().squeeze(-1), pattern.nonzero().squeeze(-1)
        place = torch.searchsorted(present, stand_ins(pattern.unsqueeze(0)).squeeze(0))
        part = _of(
            names,
            [scheme.teacher_names[k] for k in present.tolist()],
            [batch.teacher_logits[k][rows] for k in present.tolist()],
            batch.labels[rows],
            None if student_logits is None else student_logits[rows],
        )
        for name in names:
            found[name][rows] = part[name][..., place]
    return found


def _of(
    names: set[str],
    teacher_names: Sequence[str],
    teacher_logits: Sequence[Tensor],
    labels: Tensor,
    student_logits: Tensor | None,
) -> dict[str, Tensor]:
    flat = token_statistics(
        names,
        [logits.flatten(0, 1) for logits in teacher_logits],
        student_logits=None if student_logits is None else student_logits.detach().flatten(0, 1),
        labels=labels.flatten(),
        teacher_names=teacher_names,
    )
    return {name: value.view(*labels.shape, -1) for name, value in flat.items()}
