"""Rules that learn while the student trains; asked at one state, declared for every state they can reach."""

from __future__ import annotations

import torch

from trivium.catalogue.entry import Case, Entry
from trivium.weighting import AMTSS, MMKD


def _network(**options: float) -> MMKD:
    """Return three teachers, one class, weights for a calculation by hand: hidden (x₁ + x₄, x₂), scores (h₁, h₂, 0)."""
    rule = MMKD(num_teachers=3, classes=1, **options)  # type: ignore[arg-type]
    first = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    last = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    zeros = (torch.zeros(2), torch.zeros(3))
    with torch.no_grad():
        for parameter, value in zip(rule.network.parameters(), (first, zeros[0], last, zeros[1]), strict=True):
            parameter.copy_(value)
    return rule


def _importance(**options: float) -> AMTSS:
    """Return a state that training can reach: opposite importance on two tasks."""
    rule = AMTSS(num_teachers=3, tasks=2, **options)  # type: ignore[arg-type]
    rule.restore({"theta": torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.5, 9.0]], dtype=torch.float64)})
    return rule


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mmkd",
        "published",
        _network(),
        "token",
        source="MMKD: Zhang et al., Adaptive multi-teacher knowledge distillation with meta-learning, ICME 2023",
        cost="O(K²V²) an example; to learn, eight passes of the student every five steps",
        # hidden (1 + 1, 0.5), scores (2, 0.5, 0)
        cases=(Case({"logits": (1.0, 0.5, -3.0, 1.0)}, (0.7361, 0.1643, 0.0996)),),
    ),
    Entry(
        "mmkd",
        "conforming",
        _network(budget=4.0, lipschitz=8.0),
        "token",
        source="MMKD under an influence budget, its last layer rescaled to a bound on L",
        cost="O(K²V²) an example; to learn, eight passes of the student every five steps",
        # scores (9, 0.5, 0), of which the budget keeps 4
        cases=(Case({"logits": (8.0, 0.5, -3.0, 1.0)}, (0.9647, 0.0177, 0.0177)),),
    ),
    Entry(
        "amtss",
        "published",
        _importance(),
        "task",
        source="the principle of AMTSS (arXiv 2305.07928): importance adapted while training, by margins",
        cost="O(K) a row; to learn, O(K·V) an example",
        # softmax(2, 0.5, 0)
        cases=(Case({"task": (0.0,)}, (0.7361, 0.1643, 0.0996)),),
    ),
    Entry(
        "amtss",
        "conforming",
        _importance(budget=4.0),
        "task",
        source="the principle of AMTSS under an influence budget",
        cost="O(K) a row; to learn, O(K·V) an example",
        # of the 9 nats the budget keeps 4
        cases=(Case({"task": (1.0,)}, (0.0177, 0.0177, 0.9647)),),
    ),
)
