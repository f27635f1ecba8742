"""Accuracy and nats of student, teachers and mixture on held-out examples, by domain and by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.data.examples import Examples


def accuracy(found: Mapping[str, Tensor], rows: Examples, teacher_names: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``accuracy.json``.

    Args:
        found: ``student`` [N], ``teacher_names`` [N, K] and perhaps ``mixture`` [N] in nats, and the same names with
            ``_correct``, ones and zeros. NaN marks a row that a teacher does not serve; a mean is over the others.

    Returns:
        ``rows``: one a predictor, with means over all examples and ``domains`` and ``tasks`` below; None where there
        is nothing to average, or where a class that came up had no mass.
    """
    table = []
    for what in ("student", "mixture"):
        if what in found:
            table.append({"what": what, "name": what} | _means(found[what], found[f"{what}_correct"], rows))
    for k, name in enumerate(teacher_names):
        values = _means(found["teachers"][:, k], found["teachers_correct"][:, k], rows)
        table.append({"what": "teacher", "name": name} | values)
    counts = [int((rows.domain == d).sum()) for d in range(len(rows.domains))]
    return {
        "domains": dict(zip(rows.domains, counts, strict=True)),
        "tasks": {t: list(c) for t, c in zip(rows.tasks, rows.space.classes, strict=True)},
        "rows": table,
    }


def _means(nll: Tensor, correct: Tensor, rows: Examples) -> dict[str, Any]:
    everywhere = torch.ones(len(rows), dtype=torch.bool)
    domains = {name: rows.domain == number for number, name in enumerate(rows.domains)}
    tasks = {name: rows.task == number for number, name in enumerate(rows.tasks)}

    def both(chosen: Tensor) -> dict[str, float | None]:
        return {"nats": _mean(nll[chosen]), "accuracy": _mean(correct[chosen])}

    return {
        **both(everywhere),
        "domains": {name: both(chosen) for name, chosen in domains.items()},
        "tasks": {name: both(chosen) for name, chosen in tasks.items()},
    }


def _mean(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    mean = float(known.mean()) if len(known) else torch.nan
    return mean if torch.isfinite(torch.tensor(mean)) else None
