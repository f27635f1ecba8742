"""Rules at the task scale."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.weighting import Skill, Static

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "uniform",
        "published",
        Static(),
        "task",
        source="the mean of the teachers: TextBrewer, KD_Lib, torchdistill",
        cost="nothing",
        cases=(Case({"teachers": (0.0, 0.0, 0.0)}, (1 / 3, 1 / 3, 1 / 3)),),
    ),
    Entry(
        "static",
        "published",
        Static((3.0, 2.0, 1.0)),
        "task",
        source="weights in the configuration: AReaL, DistillKit",
        cost="O(K)",
        cases=(Case({"teachers": (0.0, 0.0, 0.0)}, (1 / 2, 1 / 3, 1 / 6)),),
    ),
    Entry(
        "skill",
        "published",
        Skill(),
        "task",
        source="static weights softmax(τ · validation score)",
        cost="O(K) a task",
        # softmax(−1, −2, −3)
        cases=(Case({"validation_loss": (1.0, 2.0, 3.0)}, (0.6652, 0.2447, 0.0900)),),
    ),
    Entry(
        "skill",
        "conforming",
        Skill(budget=4.0),
        "task",
        source="static weights with a stated influence budget",
        cost="O(K) a task",
        # The last loss is 9 nats behind, of which the budget keeps 4: 1/(1 + e^−1 + e^−4)
        cases=(Case({"validation_loss": (1.0, 2.0, 10.0)}, (0.7214, 0.2654, 0.0132)),),
    ),
)
