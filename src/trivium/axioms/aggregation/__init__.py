"""The axioms of an aggregator G(p_1 … p_K, w) = q, each a signed residual of a callable pool.

======  ============================  ==============================================================================
id      axiom                         residual (≤ 0 holds)
======  ============================  ==============================================================================
A-D     a distribution comes out      max(abs(Σ q − 1), −min q)
A-P     positivity inheritance        −min q(i) over the entries where all p_k(i) > 0 (strict)
A-M     weight monotonicity           KL(p_k‖q′) − KL(p_k‖q), w_k raised and the others rescaled
A-C     continuity, all p_k(i) > 0    TV(q, q′) − modulus(change of p and w)
A-C(0)  the same, zeros allowed       TV(q, q′) − modulus(change of p and w)
A-T(a)  commutes with a temperature   TV(G(p^{1/T}), G(p)^{1/T}), each normalized
A-T(b)  flattens with temperature     TV(G(p^{1/T}), uniform) − tanh(R/2T), R = max_k log(max p_k/min p_k)
======  ============================  ==============================================================================

The framework knows A-C and A-T by name only; the readings are ours and stand in the docstrings.
"""

from trivium.axioms.aggregation.continuity import BoundaryContinuity, PoolContinuity
from trivium.axioms.aggregation.distribution import ConvexityPreservation
from trivium.axioms.aggregation.flattening import TemperatureFlattening
from trivium.axioms.aggregation.monotonicity import WeightMonotonicity, raise_weight
from trivium.axioms.aggregation.positivity import PositivityInheritance
from trivium.axioms.aggregation.temperature import TemperatureCommutation
from trivium.axioms.transform import TransformAxiom

POOL_AXIOMS: dict[str, type[TransformAxiom]] = {
    axiom.id: axiom
    for axiom in (
        ConvexityPreservation,
        PositivityInheritance,
        WeightMonotonicity,
        PoolContinuity,
        BoundaryContinuity,
        TemperatureCommutation,
        TemperatureFlattening,
    )
}

__all__ = [
    "POOL_AXIOMS",
    "BoundaryContinuity",
    "ConvexityPreservation",
    "PoolContinuity",
    "PositivityInheritance",
    "TemperatureCommutation",
    "TemperatureFlattening",
    "TransformAxiom",
    "WeightMonotonicity",
    "raise_weight",
]
