"""Trivium: several teachers, one student, and a certificate for the weights.

The rooms, in the order in which the data flows:

=====================  ===========================================================================
``trivium.teachers``   where distributions come from: Hugging Face folders, cached or live
``trivium.weighting``  rules at the token, task and context scale; :func:`rule` makes one of yours
``trivium.scheme``     rules composed: product, strength, influence budget, conforming projection
``trivium.aggregation`` weighted distributions pooled into one target
``trivium.losses``     from target to student, streamed
``trivium.training``   recipe, step, trainer, monitor
``trivium.report``     one page that shows it all
=====================  ===========================================================================

Beside them: ``trivium.axioms`` (what must hold), ``trivium.simplex`` (the geometry of weights) and
``trivium.certification`` (what is guaranteed, and how surely).
"""

from trivium.aggregation import POOLS
from trivium.axioms import AXIOMS
from trivium.errors import TriviumError
from trivium.losses import distillation_loss
from trivium.scheme import Scheme, compose
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.weighting import (
    RULES,
    Disagreement,
    DomainMap,
    Entropy,
    Gap,
    Margin,
    PrefixPosterior,
    Skill,
    Static,
    rule,
)

__version__ = "0.1.0"

__all__ = [
    "AXIOMS",
    "POOLS",
    "RULES",
    "ConformingSet",
    "Disagreement",
    "DomainMap",
    "Entropy",
    "Gap",
    "Margin",
    "Order",
    "PrefixPosterior",
    "Scheme",
    "Skill",
    "Static",
    "TriviumError",
    "__version__",
    "compose",
    "conforming_projection",
    "distillation_loss",
    "rule",
]
