"""What token rules look at: statistics of the teachers' distributions at every position, streamed over rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, nearest, require
from trivium.weighting.features import BUILT_IN, FROM_DISTRIBUTIONS

IGNORED_LABEL = -100

_WORKSPACE_BYTES = 8 * 2**20


@torch.no_grad()
def token_statistics(
    names: Collection[str],
    teacher_logits: Sequence[Tensor],
    *,
    student_logits: Tensor | None = None,
    labels: Tensor | None = None,
    teacher_names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    r"""Return the statistics asked for, of p_k = softmax(z_k) at temperature 1.

    ==================  ========================================================  ===========
    name                value                                                     range
    ==================  ========================================================  ===========
    ``entropy``         −Σ_i p_k(i) log p_k(i), nats                              [0, log V]
    ``max_prob``        max_i p_k(i)                                              [1/V, 1]
    ``margin``          largest minus second largest probability; 1 for V = 1     [0, 1]
    ``label_log_prob``  log p_k(label), nats; 0 where the label is −100           [−inf, 0]
    ``disagreement``    TV(p_k, mean of the other teachers); 0 for K = 1          [0, 1]
    ``gap``             Hellinger distance (½ Σ_i (√p_k(i) − √s(i))²)^½           [0, 1]
    ==================  ========================================================  ===========

    Args:
        names: any of the above; nothing else is computed.
        teacher_logits: K tensors [N, V], any floating dtype; −inf marks an entry that a teacher lacks.
        student_logits: [N, V], needed by ``gap``.
        labels: integer [N], needed by ``label_log_prob``; −100 where there is none.
        teacher_names: K names for error messages.

    Returns:
        For each name [N, K], float32, without gradient.

    Raises:
        InputError: an unknown name, a missing student or labels, shapes that differ, a label outside the vocabulary.
        TeacherError: NaN, +inf or a row of nothing but −inf in a teacher's logits, on any row; names the teacher.

    Cost: time O(K·N·V), one exponential an entry, and one square root more for ``gap``; 8 MiB beside the inputs, or
    what one row takes: K + 3 times V numbers with ``disagreement``, else 4 times V.

    >>> import torch
    >>> token_statistics(["max_prob", "margin"], [torch.tensor([[0.7, 0.2, 0.1]]).log()])
    {'max_prob': tensor([[0.7000]]), 'margin': tensor([[0.5000]])}
    """
    _check(names, teacher_logits, student_logits, labels)
    rows, vocabulary = teacher_logits[0].shape
    num_teachers = len(teacher_logits)
    found = {name: teacher_logits[0].new_empty((rows, num_teachers), dtype=torch.float32) for name in names}
    if not names:
        return found
    held = num_teachers if "disagreement" in found else 1
    size = max(1, _WORKSPACE_BYTES // (4 * max(vocabulary, 1) * (held + 3)))
    call = _Call(found, labels, [f"teacher {name}" for name in teacher_names or map(str, range(num_teachers))])
    buffers = [teacher_logits[0].new_empty((min(size, rows), vocabulary), dtype=torch.float32) for _ in range(held + 2)]
    for start in range(0, rows, size):
        block = slice(start, min(start + size, rows))
        scratch, root, *distributions = (buffer[: block.stop - start] for buffer in buffers)
        if "gap" in found:
            assert student_logits is not None
            call.probabilities(student_logits[block], None, start, root)
            root.sqrt_()
        for k, logits in enumerate(teacher_logits):
            call.one_teacher(k, logits[block], block, distributions[k % held], scratch, root)
        if "disagreement" in found:
            found["disagreement"][block] = _disagreement(distributions, scratch, root)
    return found


def sequence_loss(label_log_prob: Tensor, mask: Tensor) -> Tensor:
    """ℓ_k = −(1/n) Σ_t log p_k(x_t | x_<t) over the n predicted positions of a row, the loss of its example for T = 1.

    Args:
        label_log_prob: [B, T, K], nats; −inf where a teacher rules the token out.
        mask: which positions predict a real token, [B, T]; others add nothing, whatever they hold.

    Returns:
        [B, 1, K], nats a token, clipped to the range of ``sequence_loss``; 0 for a row that predicts nothing. O(B·T·K).

    >>> sequence_loss(torch.tensor([[[-1.0, -4.0], [-3.0, -2.0], [-9.0, -9.0]]]), torch.tensor([[True, True, False]]))
    tensor([[[2., 3.]]])
    """
    known = mask.unsqueeze(-1)
    total = torch.where(known, -label_log_prob, 0.0).sum(dim=-2, keepdim=True)
    interval = BUILT_IN["sequence_loss"]
    return (total / known.sum(dim=-2, keepdim=True).clamp_min(1)).clamp(interval.low, interval.high)


@dataclass
class _Call:
    found: dict[str, Tensor]
    labels: Tensor | None
    called: list[str]

    def probabilities(self, logits: Tensor, teacher: int | None, start: int, out: Tensor) -> tuple[Tensor, Tensor]:
        """softmax into ``out``; the logits in float32 and their row maximum. Raises if a row is no distribution."""
        logits = logits.float()
        largest = logits.amax(dim=-1, keepdim=True)
        # NaN and +inf come through the maximum, and it is −inf only if everything is.
        if not bool(torch.isfinite(largest).all()):
            row = int((~torch.isfinite(largest)).nonzero()[0, 0])
            value = float(largest[row])
            fault = "NaN" if math.isnan(value) else "+inf" if value > 0 else "only -inf"
            if teacher is None:
                raise InputError("the student's logits must give a distribution", f"{fault} in row {start + row}")
            raise TeacherError(
                f"logits of {self.called[teacher]} must give a distribution", f"{fault} in row {start + row}"
            )
        torch.softmax(logits, dim=-1, out=out)
        return logits, largest

    def one_teacher(
        self, k: int, logits: Tensor, block: slice, p: Tensor, scratch: Tensor, student_root: Tensor
    ) -> None:
        """Fill column k of everything but the disagreement, and leave p_k in ``p``."""
        logits, largest = self.probabilities(logits, k, block.start, p)
        found = self.found
        top = p.amax(dim=-1)
        # log p_k(i) = (z_i − max z) + log(max p): the normalizer for free.
        if "max_prob" in found:
            found["max_prob"][block, k] = top
        if "margin" in found:
            found["margin"][block, k] = top - _second_largest(p)
        if "label_log_prob" in found:
            assert self.labels is not None
            label = self.labels[block].long().unsqueeze(-1)
            known = label != IGNORED_LABEL
            value = logits.gather(-1, torch.where(known, label, 0)) - largest + top.log().unsqueeze(-1)
            found["label_log_prob"][block, k] = torch.where(known, value, 0.0).clamp_max_(0.0).squeeze(-1)
        if "entropy" in found:
            # The floor is finite so that an entry without mass adds 0·(−1e30) and not 0·(−inf).
            mean = torch.sub(logits, largest, out=scratch).clamp_min_(-1e30).mul_(p).sum(dim=-1)
            found["entropy"][block, k] = (-top.log() - mean).clamp_min_(0.0)
        if "gap" in found:
            squares = torch.sqrt(p, out=scratch).sub_(student_root).square_().sum(dim=-1)
            found["gap"][block, k] = squares.mul_(0.5).sqrt_().clamp_max_(1.0)


def _disagreement(distributions: Sequence[Tensor], scratch: Tensor, mean: Tensor) -> Tensor:
    """TV(p_k, mean of the others) = ½·K/(K − 1)·Σ_i abs(p_k(i) − p̄(i)) with p̄ the mean of all, [n, K]."""
    num_teachers = len(distributions)
    if num_teachers == 1:
        return mean.new_zeros((len(mean), 1))
    mean.copy_(distributions[0])
    for p in distributions[1:]:
        mean.add_(p)
    mean.div_(num_teachers)
    distances = [torch.sub(p, mean, out=scratch).abs_().sum(dim=-1) for p in distributions]
    return torch.stack(distances, dim=-1).mul_(0.5 * num_teachers / (num_teachers - 1)).clamp_max_(1.0)


def _second_largest(p: Tensor) -> Tensor:
    """Return the second largest entry of each row, ties counted: [n, V] → [n]; 0 for V = 1.

    It is the second largest of the maxima of V^½ groups or the second of the group that holds the largest, so one
    pass for the maxima and two short top-2 searches do, several times as fast as one over the row.
    """
    rows, vocabulary = p.shape
    if vocabulary == 1:
        return p.new_zeros(rows)
    if vocabulary < 64:
        return p.topk(2, dim=-1).values[:, 1]
    width = math.isqrt(vocabulary)
    whole = vocabulary - vocabulary % width
    groups = p[:, :whole].view(rows, -1, width)
    maxima = groups.amax(dim=-1).topk(2, dim=-1)
    winners = groups.gather(1, maxima.indices[:, 0].view(-1, 1, 1).expand(-1, 1, width)).squeeze(1)
    contenders = [maxima.values, winners.topk(2, dim=-1).values[:, 1:], p[:, whole:]]
    return torch.cat(contenders, dim=-1).topk(2, dim=-1).values[:, 1]


def _check(
    names: Collection[str], teacher_logits: Sequence[Tensor], student_logits: Tensor | None, labels: Tensor | None
) -> None:
    for name in names:
        if name not in FROM_DISTRIBUTIONS:
            raise InputError("a token statistic must exist", repr(name), nearest(name, FROM_DISTRIBUTIONS))
    require(len(teacher_logits) > 0, "token statistics need at least one teacher", "none")
    shape = teacher_logits[0].shape
    require(len(shape) == 2, "logits must be [rows, vocabulary]", list(shape), "Flatten: logits.flatten(0, -2).")
    for k, logits in enumerate(teacher_logits):
        require(logits.shape == shape, f"logits of teacher {k} must be shaped {list(shape)}", list(logits.shape))
    if "gap" in names:
        if student_logits is None:
            raise InputError("'gap' compares the teachers with the student", "no student_logits")
        require(
            student_logits.shape == shape, f"student logits must be shaped {list(shape)}", list(student_logits.shape)
        )
    if "label_log_prob" in names:
        if labels is None:
            raise InputError("'label_log_prob' needs the labels", "none")
        require(labels.shape == shape[:1], f"labels must be shaped [{shape[0]}]", list(labels.shape))
        outside = (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= shape[1]))
        if bool(outside.any()):
            value = int(labels[outside][0])
            raise InputError(f"labels must be −100 or in 0…{shape[1] - 1}", value, "Check the tokenizer's vocabulary.")
