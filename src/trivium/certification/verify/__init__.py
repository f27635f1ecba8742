"""The verifier: the graph of a user's rule, bounded over every point of its feature box.

:class:`~trivium.certification.verify.interpreter.Reading` reads a captured graph on thousands of sub-boxes at once
and encloses its weights, their derivatives and their rounding; branch and bound
(:mod:`~trivium.certification.verify.search`) splits the box until the goals of each axiom
(:mod:`~trivium.certification.verify.goals`) are met. What each operation does to bounds stands in
:data:`~trivium.certification.verify.table.TABLE`, an entry an operation; what is not there is refused by name.
"""

from trivium.certification.verify.leaf import bounded_leaf
from trivium.certification.verify.verify import strengthen, verify

__all__ = ["bounded_leaf", "strengthen", "verify"]
