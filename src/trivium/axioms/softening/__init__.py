"""The axioms of a softening operator p ↦ q_t with a parameter t, each a signed residual of a callable (log p, t).

====  =====================================  ====================================================================
id    axiom                                  residual (≤ 0 holds)
====  =====================================  ====================================================================
F-R   rank preservation                      max over p(i) ≥ p(j) of q(j) − q(i)
F-C   continuity in p and t                  TV(q, q′) − modulus(change of p and t)
F-E   entropy monotone in t                  H(q_t) − H(q_t′), t ≤ t′
F-I   identity at the neutral parameter      TV(q, p)
F-U   uniform at the softest parameter       TV(q, uniform)
F-A   argmax at the sharpest parameter       TV(q, uniform on the most probable entries)
====  =====================================  ====================================================================

The framework lists these by name; the ids and readings are ours.
"""

from trivium.axioms.softening.boundary import SharpEnd, SoftEnd
from trivium.axioms.softening.continuity import SofteningContinuity
from trivium.axioms.softening.entropy import EntropyMonotonicity
from trivium.axioms.softening.identity import NeutralIdentity
from trivium.axioms.softening.rank import RankPreservation
from trivium.axioms.transform import TransformAxiom

SOFTENING_AXIOMS: dict[str, type[TransformAxiom]] = {
    axiom.id: axiom
    for axiom in (RankPreservation, SofteningContinuity, EntropyMonotonicity, NeutralIdentity, SoftEnd, SharpEnd)
}

__all__ = [
    "SOFTENING_AXIOMS",
    "EntropyMonotonicity",
    "NeutralIdentity",
    "RankPreservation",
    "SharpEnd",
    "SoftEnd",
    "SofteningContinuity",
    "TransformAxiom",
]
