"""What every distillation loss requires of its arguments, and who is to blame for a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.errors import InputError, TeacherError, nearest, require

DIVERGENCES = ("forward_kl", "reverse_kl", "js")

# float32 log-weights that were normalized in log space sum to one within 1e-6; this is far above and still no licence.
_WEIGHT_SUM_TOLERANCE = 1e-3


def check_inputs(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    log_weights: Tensor,
    temperature: float,
    pool: str,
    divergence: str,
    mask: Tensor | None,
    exponent: float | None = None,
) -> None:
    """Raise :class:`InputError` on shapes, names, an exponent or a temperature that cannot be used; reads no logits."""
    require(
        student_logits.ndim == 2 and student_logits.is_floating_point(),
        "student logits must be a floating [rows, vocabulary] tensor",
        f"{list(student_logits.shape)} of {student_logits.dtype}",
        "Flatten the batch: logits.flatten(0, -2).",
    )
    require(len(teacher_logits) > 0, "a distillation needs at least one teacher", "none")
    for k, logits in enumerate(teacher_logits):
        require(
            logits.shape == student_logits.shape and logits.is_floating_point(),
            f"logits of teacher {k} must be floating and shaped like the student's {list(student_logits.shape)}",
            f"{list(logits.shape)} of {logits.dtype}",
            "Teachers and student must share one vocabulary and one order of rows.",
        )
    rows, num_teachers = student_logits.shape[0], len(teacher_logits)
    require(
        log_weights.ndim in (1, 2)
        and log_weights.shape[-1] == num_teachers
        and log_weights.shape[:-1] in ((), (1,), (rows,)),
        f"log-weights must be shaped [{rows}, {num_teachers}], a row of weights for each row of logits",
        list(log_weights.shape),
    )
    require(math.isfinite(temperature) and temperature > 0, "the temperature must be positive and finite", temperature)
    make_pool(pool, exponent)
    if divergence not in DIVERGENCES:
        raise InputError("a divergence must exist", repr(divergence), nearest(divergence, DIVERGENCES))
    if mask is not None:
        require(
            mask.shape == (rows,) and mask.dtype == torch.bool,
            f"the mask must be a bool [{rows}] tensor, True where a row counts",
            f"{list(mask.shape)} of {mask.dtype}",
        )


def normalized_log_weights(log_weights: Tensor, rows: int, selected: Tensor | None) -> Tensor:
    """Return log-weights [rows, K] in float64, rounding errors of Σ w = 1 removed.

    Raises:
        InputError: a selected row's weights are NaN, or miss one by more than 1e-3.
    """
    exact = log_weights.detach().double().expand(rows, log_weights.shape[-1])
    checked = exact if selected is None else exact[selected]
    excess = torch.logsumexp(checked, dim=-1).exp() - 1.0
    bad = ~(excess.abs() <= _WEIGHT_SUM_TOLERANCE)
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise InputError(
            "the weights of a row must sum to one over the teachers",
            f"a sum of {1.0 + float(excess[row]):.6g} in row {row if selected is None else int(selected[row])}",
            "Pass natural logs, normalized: torch.log_softmax(scores, dim=-1).",
        )
    return torch.log_softmax(exact, dim=-1)


def explain(
    row: int, student_logits: Tensor, teachers: Mapping[str, Tensor], log_weights: Tensor, vetoes: str, divergence: str
) -> TeacherError | InputError:
    """Return the error to raise for a row whose loss is not finite: the first cause found, teachers first.

    ``vetoes`` names the pool if in it one teacher with weight can rule an entry out, and is empty otherwise.
    """
    for name, logits in teachers.items():
        fault = unusable(logits[row])
        if fault:
            return TeacherError(f"logits of teacher {name} must give a distribution", f"{fault} in row {row}")
    fault = unusable(student_logits[row])
    if fault:
        return InputError("the student's logits must give a distribution", f"{fault} in row {row}")
    heard = [logits[row] for k, logits in enumerate(teachers.values()) if not torch.isneginf(log_weights[row, k])]
    if vetoes and not bool(torch.isfinite(torch.stack(heard)).all(dim=0).any()):
        return InputError(
            f"the {vetoes} pool needs an entry where every teacher with weight has mass",
            f"none in row {row}",
            "Use pool='linear', or mask the same vocabulary entries in all teachers.",
        )
    lacking, having = ("student", "teachers") if divergence == "forward_kl" else ("teachers", "student")
    return InputError(
        f"{divergence} needs mass in the {lacking} wherever there is some in the {having}",
        f"an infinite loss in row {row}",
        "Mask the same vocabulary entries in all models, or use divergence='js', which stays finite.",
    )


def unusable(logits: Tensor) -> str:
    """Return why one row of logits is not a distribution, or the empty string."""
    if bool(torch.isnan(logits).any()):
        return "NaN"
    if bool(torch.isposinf(logits).any()):
        return "+inf"
    return "only -inf" if bool(torch.isneginf(logits).all()) else ""
