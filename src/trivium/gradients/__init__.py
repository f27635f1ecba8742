"""Gradients that something else modifies: the weights that are then in effect, and what of the axioms is left of them.

:mod:`~trivium.gradients.effective` gives the weights ω of the direction taken, :mod:`~trivium.gradients.audit` asks the
axioms of ω instead of w.
"""

from trivium.gradients.audit import Audit, audit
from trivium.gradients.effective import clip_factors, effective_weights, influence_of_factors, weights_of_direction

__all__ = [
    "Audit",
    "audit",
    "clip_factors",
    "effective_weights",
    "influence_of_factors",
    "weights_of_direction",
]
