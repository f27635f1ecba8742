"""Weights that are fitted, not guessed, and how much any weighting could gain.

Works on arrays alone: what K teachers said of N tokens (:class:`Observations`). :func:`fit` finds the strengths of a
:class:`Family` of schemes; :func:`headroom` bounds what weights that are constant on a scale can gain.
"""

from trivium.fitting.bounds import Bound, ConstantWeights, Headroom, best_constant, headroom
from trivium.fitting.differing import Counting, Differing, differences
from trivium.fitting.family import Family
from trivium.fitting.fitted import Fitted, Strength, fit
from trivium.fitting.judging import Gain, mixed, weighed
from trivium.fitting.observations import Observations

__all__ = [
    "Bound",
    "ConstantWeights",
    "Counting",
    "Differing",
    "Family",
    "Fitted",
    "Gain",
    "Headroom",
    "Observations",
    "Strength",
    "best_constant",
    "differences",
    "fit",
    "headroom",
    "mixed",
    "weighed",
]
