"""The axioms of a weighting operator, each stated once as a signed residual with its own tolerance.

====  ==============================  ==========================================================================
id    axiom                           residual (≤ 0 holds)
====  ==============================  ==========================================================================
W-F   a function of its row           largest change of a row's weights when other rows change, or on a second call
W-N   normalization                   abs(Σ w_k − 1)
W-P   positivity (strict)             −min w
W-B   bounded influence, a and b      max(a − min w, max w − b)
W-R   regularity, L                   d_H(w(u), w(u′)) − L·d(u, u′)
W-S   ordinal safety, margin m        max over j safer than k of log w_k − log w_j + m
W-C   Pareto compatibility            −min_k ⟨g_k, Σ_j w_j g_j⟩
====  ==============================  ==========================================================================
"""

from trivium.axioms.base import Axiom
from trivium.axioms.function import FunctionOfItsRow
from trivium.axioms.pareto import ParetoCompatibility
from trivium.axioms.pointwise import BoundedInfluence, Normalization, Positivity
from trivium.axioms.regularity import Regularity
from trivium.axioms.safety import OrdinalSafety

AXIOMS: dict[str, type[Axiom]] = {
    axiom.id: axiom
    for axiom in (
        FunctionOfItsRow,
        Normalization,
        Positivity,
        BoundedInfluence,
        Regularity,
        OrdinalSafety,
        ParetoCompatibility,
    )
}

__all__ = [
    "AXIOMS",
    "Axiom",
    "BoundedInfluence",
    "FunctionOfItsRow",
    "Normalization",
    "OrdinalSafety",
    "ParetoCompatibility",
    "Positivity",
    "Regularity",
]
