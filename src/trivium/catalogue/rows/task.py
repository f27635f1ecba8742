"""Rules at the task scale."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.scheme import Limit
from trivium.weighting import AEKD, Skill, Static, TorchJD

AEKD_SOURCE = "Du et al., NeurIPS 2020 (AEKD)"
UPGRAD_SOURCE = "Quinton and Rey, 2024 (UPGrad), as TorchJD has it"
#: g₁ = (1, 0), g₂ = (−1, 0), g₃ = (0, 1): the first two cancel.
OPPOSED = (1.0, -1.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0)
#: g₁ = (1, 0, 0), g₂ = (−½, ½, 0), g₃ = (0, 0, ½). Projected, g₁/3 becomes g₁/3 + g₂/3, and g₂/3 becomes g₂/3 + g₁/6.
CONFLICT = (1.0, -0.5, 0.0, -0.5, 0.5, 0.0, 0.0, 0.0, 0.25)

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
    Entry(
        "aekd",
        "published",
        AEKD(),
        "task",
        source=AEKD_SOURCE,
        cost="O(K·V) a position for the gradients, O(K⁴) a batch",
        # Orthogonal gradients: α ∝ 1/‖g‖², so (1, 2, 4)/7; then (1, 1, 8)/10, of which the last is cut to 0.6.
        cases=(
            Case({"gram": (1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.25)}, (1 / 7, 2 / 7, 4 / 7)),
            Case({"gram": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.125)}, (0.2, 0.2, 0.6)),
            Case({"gram": OPPOSED}, (0.5, 0.5, 0.0)),
        ),
    ),
    Entry(
        "aekd",
        "conforming",
        Limit(AEKD(), 4.0),
        "task",
        source=f"{AEKD_SOURCE}, under an influence budget",
        cost="O(K·V) a position for the gradients, O(K⁴) a batch",
        # The weight of zero is raised to e^−4 of the others: 1/(2 + e^−4)
        cases=(Case({"gram": OPPOSED}, (0.4955, 0.4955, 0.0091)),),
    ),
    Entry(
        "mgda",
        "published",
        AEKD(cap=1.0),
        "task",
        source="Désidéri, 2012 (MGDA): AEKD without its cap, solved exactly; in a recipe `aekd` with `cap: 1`",
        cost="O(K·V) a position for the gradients, O(K⁴) a batch",
        cases=(Case({"gram": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.125)}, (0.1, 0.1, 0.8)),),
    ),
    Entry(
        "torchjd upgrad",
        "published",
        TorchJD("upgrad", raw=True),
        "task",
        source=UPGRAD_SOURCE,
        cost="O(K·V) a position for the gradients, K quadratic programs a batch",
        cases=(Case({"gram": CONFLICT}, (1 / 2, 2 / 3, 1 / 3), tolerance=1e-3),),
    ),
    Entry(
        "torchjd upgrad",
        "conforming",
        Limit(TorchJD("upgrad"), 4.0),
        "task",
        source=f"{UPGRAD_SOURCE}, normalized and under an influence budget",
        cost="O(K·V) a position for the gradients, K quadratic programs a batch",
        cases=(Case({"gram": CONFLICT}, (1 / 3, 4 / 9, 2 / 9), tolerance=1e-3),),
    ),
)
