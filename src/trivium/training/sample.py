"""Held-out text with the weights that predicted each token, for the report's coloured page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.jsontext import write_json
from trivium.scheme import Scheme
from trivium.training.collect import collect_features, weigh
from trivium.training.evaluate import batch_of, student_logits
from trivium.training.run import PreparedRun
from trivium.weighting.features import NEEDS_STUDENT

_DIGITS = 4


@torch.no_grad()
def write_sample(scheme: Scheme, prepared_run: PreparedRun, student: Any, path: Path, per_domain: int = 2) -> None:
    """Write ``sample.json``: a few held-out windows of each domain, token by token, with the weights of all scales."""
    rows, source = prepared_run.held_out
    chosen: list[int] = []
    for number in range(len(rows.domains)):
        chosen += torch.nonzero(rows.domain == number).flatten()[:per_domain].tolist()
    index = torch.tensor(chosen)
    batch = batch_of(rows, index, source)
    needs_student = bool(set(scheme.ranges) & NEEDS_STUDENT)
    logits = student_logits(student, rows, index) if needs_student else None
    features = collect_features(scheme, batch, logits, prepared_run.validation_loss)
    shape = (*batch.labels.shape, len(scheme.teacher_names))
    found = [("all", weigh(scheme, features)), *scheme.by_scale(features).items()]
    weights = {scale: value.expand(shape).exp() for scale, value in found}
    documents = []
    for place, row in enumerate(chosen):
        kept = batch.mask[place]
        documents.append(
            {
                "domain": rows.domains[int(rows.domain[row])],
                "name": rows.document[row],
                "tokens": [prepared_run.tokenizer.decode([token]) for token in batch.labels[place][kept].tolist()],
                "weights": {scale: _rounded(value[place][kept]) for scale, value in weights.items()},
            }
        )
    content = {"teachers": list(scheme.teacher_names), "documents": documents}
    write_json(path, content, indent=None)


def _rounded(weights: Tensor) -> list[list[float]]:
    return [[round(value, _DIGITS) for value in row] for row in weights.tolist()]
