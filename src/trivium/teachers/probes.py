"""Teachers whose code is not all that they depend on: what they answer on a few rows belongs to their identity."""

from __future__ import annotations

from typing import Any

import torch

from trivium.store.codec import relative
from trivium.store.identity import Identity, of_tensor
from trivium.teachers.classifier import Classifier
from trivium.teachers.live import Reader

#: Rows on which such a teacher is asked.
PROBES = 64


@torch.no_grad()
def identified(teacher: Reader, inputs: Any) -> str:
    """Return the identity of a teacher as a reader of ``inputs``, 32 hex digits.

    It is the fingerprint where that covers all that the answers depend on. Of a function or module from a user's file
    it does not: the file may open others. Such a teacher is asked about :data:`PROBES` rows, spread evenly, and its
    answers are a part of its identity. A teacher that was refitted and answers all of these the same to the last bit is
    not told from the one before; one that declares a ``fingerprint`` is believed and not asked.
    """
    if not isinstance(teacher, Classifier) or teacher.known:
        return teacher.fingerprint
    count = len(inputs)
    rows = torch.linspace(0, count - 1, min(count, PROBES), dtype=torch.float64).round().long()
    answers = relative(teacher.logits(inputs[rows].to(teacher.device)))
    return Identity({"fingerprint": teacher.fingerprint, "answers": of_tensor(answers)}).digest()
