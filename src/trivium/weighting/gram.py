"""The feature ``gram``: inner products of the teachers' mean gradients in the student's logits, streamed.

It is training state of the task scale, as ``validation_loss`` is: one matrix for all positions of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, require

_WORKSPACE_BYTES = 8 * 2**20


@torch.no_grad()
def gradient_gram(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    mask: Tensor,
    *,
    teacher_names: Sequence[str] | None = None,
) -> Tensor:
    r"""⟨ḡ_j, ḡ_k⟩ for ḡ_k = mean over the positions of s − p_k, the gradient of KL(p_k‖s) in the logits of s (T9).

    s = softmax(z_s) and p_k = softmax(z_k), both at temperature 1. The matrix is symmetric positive semidefinite and
    its entries lie in [−2, 2], as ‖s − p_k‖² ≤ 2. Differences are taken before they are added up, so a student close to
    its teachers loses no digits.

    Args:
        student_logits: [N, V], any floating dtype.
        teacher_logits: K tensors [N, V]; −inf marks an entry that a teacher lacks.
        mask: bool [N], the positions that count, or [N, K], those that count for each teacher; one without any has no
            gradient, so its row and column are zero.
        teacher_names: K names for error messages.

    Returns:
        [K, K] float32 on the device of the logits, computed in float64 from block sums in float32.

    Raises:
        InputError: shapes that differ, or a student's logits that give no distribution.
        TeacherError: a teacher's logits that give no distribution at a position that counts; names the teacher.

    Cost: O(K·N·V) time; K·V float64 numbers and 8 MiB, or three rows of V, beside the inputs.

    >>> import torch
    >>> teachers = [torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5, 0.5]]).log() + torch.tensor([[0.0, -torch.inf]])]
    >>> gradient_gram(torch.zeros(1, 2), teachers, torch.tensor([True]))
    tensor([[0.0000, 0.0000],
            [0.0000, 0.5000]])
    """
    require(len(teacher_logits) > 0, "a Gram matrix needs at least one teacher", "none")
    shape = student_logits.shape
    require(len(shape) == 2, "logits must be [rows, vocabulary]", list(shape), "Flatten: logits.flatten(0, -2).")
    for k, logits in enumerate(teacher_logits):
        require(logits.shape == shape, f"logits of teacher {k} must be shaped {list(shape)}", list(logits.shape))
    num_teachers = len(teacher_logits)
    fits = mask.shape in (shape[:1], (shape[0], num_teachers))
    require(fits, f"the mask must be shaped [{shape[0]}] or [{shape[0]}, {num_teachers}]", list(mask.shape))
    counts = mask if mask.ndim == 2 else mask.unsqueeze(-1).expand(-1, num_teachers)
    places = counts.any(dim=-1).nonzero().flatten()
    vocabulary = shape[1]
    total = student_logits.new_zeros((num_teachers, vocabulary), dtype=torch.float64)
    for rows in places.split(max(1, _WORKSPACE_BYTES // (12 * max(1, vocabulary)))):
        student = torch.softmax(student_logits[rows].float(), dim=-1)
        for k, logits in enumerate(teacher_logits):
            own = counts[rows, k]
            total[k] += (student[own] - torch.softmax(logits[rows[own]].float(), dim=-1)).sum(dim=0)
    if not bool(total.isfinite().all()):
        _blame(student_logits, teacher_logits, counts, teacher_names)
    mean = total / counts.sum(dim=0).clamp_min(1).unsqueeze(-1)
    return (mean @ mean.T).float()


def _blame(
    student_logits: Tensor, teacher_logits: Sequence[Tensor], counts: Tensor, names: Sequence[str] | None
) -> None:
    """Raise for whoever's logits give no distribution. A softmax is NaN exactly where they hold a NaN, +inf or
    nothing but −inf, and only then is a sum of its rows."""
    called = names or [str(k) for k in range(len(teacher_logits))]
    for row in counts.any(dim=-1).nonzero().flatten().tolist():
        for k, (name, logits) in enumerate(zip(called, teacher_logits, strict=True)):
            if bool(counts[row, k]) and bool(torch.softmax(logits[row].float(), dim=-1).isnan().any()):
                raise TeacherError(f"logits of teacher {name} must give a distribution", f"none in row {row}")
        if bool(torch.softmax(student_logits[row].float(), dim=-1).isnan().any()):
            raise InputError("the student's logits must give a distribution", f"none in row {row}")
