"""Rules at the task scale."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.scheme import ClampInfluence
from trivium.weighting import AEKD, NashMTL, Skill, Static, TorchJD
from trivium.weighting.task.torchjd import Method

AEKD_SOURCE = "Du et al., NeurIPS 2020 (AEKD)"
NASH_SOURCE = "Navon et al., ICML 2022 (Nash-MTL), solved exactly in each batch and normalized"
#: g₁ = (1, 0), g₂ = (−1, 0), g₃ = (0, 1): the first two cancel.
OPPOSED = (1.0, -1.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0)
#: g₁ = (1, 0, 0), g₂ = (−½, ½, 0), g₃ = (0, 0, ½). Projected, g₁/3 becomes g₁/3 + g₂/3, and g₂/3 becomes g₂/3 + g₁/6.
CONFLICT = (1.0, -0.5, 0.0, -0.5, 0.5, 0.0, 0.0, 0.0, 0.25)
#: g₁ = (1, 0, 0), g₂ = (−⅓, ⅓, 0), g₃ = (0, 0, ⅙).
LONGER = (1.0, -1 / 3, 0.0, -1 / 3, 2 / 9, 0.0, 0.0, 0.0, 1 / 36)
#: Orthogonal, of lengths 1, 1, 0.1 and 1, ½, ½.
SHORT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.01)
HALVES = (1.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.25)


def _of_torchjd(method: Method, source: str, cost: str, raw: Case, conforming: Case) -> tuple[Entry, Entry]:
    """Return a method as published, with weights of any sum, and normalized under an influence budget."""
    cost = f"O(K·V) a position for the gradients, {cost}"
    return (
        Entry(f"torchjd {method}", "published", TorchJD(method, raw=True), "task", source, cost, (raw,)),
        Entry(
            f"torchjd {method}",
            "conforming",
            ClampInfluence(TorchJD(method), 4.0),
            "task",
            f"{source}, normalized and under an influence budget",
            cost,
            (conforming,),
        ),
    )


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
        ClampInfluence(AEKD(), 4.0),
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
        "nash_mtl",
        "published",
        NashMTL(),
        "task",
        source=NASH_SOURCE,
        cost="O(K·V) a position for the gradients, tens of steps of O(K³) a batch",
        # Orthogonal gradients: α = 1/‖g‖, (1, 2, 2). Opposed: α₂ = √2·α₁ and α₁²·(1 − √½) = 1, (1.8478, 2.6131, 2).
        cases=(Case({"gram": HALVES}, (0.2, 0.4, 0.4)), Case({"gram": CONFLICT}, (0.2860, 0.4045, 0.3096))),
    ),
    Entry(
        "nash_mtl",
        "conforming",
        ClampInfluence(NashMTL(), 4.0),
        "task",
        source=f"{NASH_SOURCE}, under an influence budget",
        cost="O(K·V) a position for the gradients, tens of steps of O(K³) a batch",
        # α = (1, 1, 1000), of which the budget keeps e⁴ = 54.598
        cases=(Case({"gram": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1e-6)}, (0.0177, 0.0177, 0.9647)),),
    ),
    *_of_torchjd(
        "upgrad",
        "Quinton and Rey, 2024 (UPGrad), as TorchJD has it",
        "K quadratic programs a batch",
        Case({"gram": CONFLICT}, (1 / 2, 2 / 3, 1 / 3), tolerance=1e-3),
        Case({"gram": CONFLICT}, (1 / 3, 4 / 9, 2 / 9), tolerance=1e-3),
    ),
    *_of_torchjd(
        "dualproj",
        "Lopez-Paz and Ranzato, 2017 (GEM's projection), as TorchJD has it",
        "a quadratic program a batch",
        # The mean of these sinks the second, (Gv)₂ = −1/27, until v₂ is ½ and (Gv)₂ = 0.
        Case({"gram": LONGER}, (1 / 3, 1 / 2, 1 / 3), tolerance=1e-3),
        Case({"gram": LONGER}, (2 / 7, 3 / 7, 2 / 7), tolerance=1e-3),
    ),
    *_of_torchjd(
        "pcgrad",
        "Yu et al., NeurIPS 2020 (PCGrad), as TorchJD has it with one fixed order",
        "O(K³) a batch",
        # g₁ becomes g₁ + g₂, g₂ becomes g₂ + ½g₁, g₃ stays.
        Case({"gram": CONFLICT}, (3 / 2, 2, 1)),
        Case({"gram": CONFLICT}, (1 / 3, 4 / 9, 2 / 9)),
    ),
    *_of_torchjd(
        "cagrad",
        "Liu et al., NeurIPS 2021 (CAGrad, c = ½), as TorchJD has it",
        "a cone program a batch",
        # ‖g₀‖² = 2.01/9, and all the room goes to the third: ⅓ + ½·0.47258/0.1
        Case({"gram": SHORT}, (1 / 3, 1 / 3, 2.6962), tolerance=2e-3),
        Case({"gram": SHORT}, (0.0991, 0.0991, 0.8018), tolerance=1e-3),
    ),
    *_of_torchjd(
        "imtl_g",
        "Liu et al., ICLR 2021 (IMTL-G), as TorchJD has it",
        "O(K³) a batch",
        # G⁻¹(1, √½, ½) = (2 + √2, 2 + 2√2, 2) over its sum
        Case({"gram": CONFLICT}, (0.3333, 0.4714, 0.1953)),
        Case({"gram": CONFLICT}, (0.3333, 0.4714, 0.1953)),
    ),
    *_of_torchjd(
        "aligned_mtl",
        "Senushkin et al., CVPR 2023 (Aligned-MTL), as TorchJD has it",
        "O(K³) a batch",
        # Lengths 1, ½, ½ are brought to ½: (½, 1, 1) a third each
        Case({"gram": HALVES}, (1 / 6, 1 / 3, 1 / 3)),
        Case({"gram": HALVES}, (0.2, 0.4, 0.4)),
    ),
)
