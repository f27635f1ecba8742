"""The verifier: the code of a rule that is plain PyTorch, bounded over every point of its feature box.

A run of the user's function on :class:`~trivium.certify.verify.bounds.Bounds` instead of tensors encloses the weights
and their derivatives over thousands of sub-boxes at once (:mod:`~trivium.certify.verify.program`); branch and bound
(:mod:`~trivium.certify.verify.search`) splits the box until the goals of each axiom
(:mod:`~trivium.certify.verify.goals`) are met. Operations are bounded in :mod:`~trivium.certify.verify.elementwise`,
:mod:`~trivium.certify.verify.powers`, :mod:`~trivium.certify.verify.arithmetic`,
:mod:`~trivium.certify.verify.choice`, :mod:`~trivium.certify.verify.simplex`, :mod:`~trivium.certify.verify.last` and
:mod:`~trivium.certify.verify.shaping`; all others are refused by name.
"""

from trivium.certify.verify.leaf import bounded_leaf
from trivium.certify.verify.verify import strengthen, verify

__all__ = ["bounded_leaf", "strengthen", "verify"]
