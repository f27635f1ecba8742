"""Observations to fit to, with teachers that are good at a domain of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import one_hot

from trivium.fitting import Observations

TOKEN, CONTEXT = ("entropy", "margin"), ("recent_log_prob_90",)


def observed(
    seed: int = 0, tokens: int = 300, num_teachers: int = 3, documents: int = 12, absent: bool = False, **changes: Any
) -> Observations:
    """``tokens`` of ``documents``, over two domains and tasks; teacher k knows documents k, k + K, …"""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    document = torch.arange(tokens) * documents // tokens
    domain = document % 2
    knows = one_hot(document % num_teachers, num_teachers).double()
    log_p = (-2.0 - normal(tokens, num_teachers).abs() + 1.2 * knows).clamp_max(-0.01)
    teacher_mask = None
    if absent:
        teacher_mask = torch.ones(tokens, num_teachers, dtype=torch.bool)
        teacher_mask[domain == 1, 0] = False
    given: dict[str, Any] = {
        "label_log_prob": log_p,
        "features": {
            "entropy": (2.5 - 0.1 * log_p + 0.4 * normal(tokens, num_teachers)).clamp(0, 12),
            "margin": torch.rand(tokens, num_teachers, generator=draw, dtype=torch.float64),
            "recent_log_prob_90": (-20 + 2.5 * knows + normal(tokens, num_teachers)).clamp_max(0),
        },
        "document": document,
        "domain": domain,
        "task": domain,
        "teacher_names": [f"t{k}" for k in range(num_teachers)],
        "domains": ("first", "second"),
        "tasks": ("one", "two"),
        "teacher_mask": teacher_mask,
    }
    return Observations(**(given | changes))
