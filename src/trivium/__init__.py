"""Trivium: several teachers, one student, and a certificate for the weights.

Three ways in. Attach weighted teachers to a loop of your own: :func:`compose` a scheme, give it to a ``Distiller`` or
to a ``DistillationTrainer``. Compare rules: ``distill`` a recipe. Show evidence: ``certify`` a rule or a scheme.

The rooms, in the order in which the data flows:

=====================  ===========================================================================
``trivium.teachers``   where distributions come from: modules, folders, hub ids, caches
``trivium.weighting``  rules at the token, task and context scale; :func:`rule` makes one of yours
``trivium.scheme``     rules composed: product, strength, influence budget, conforming projection
``trivium.fitting``    strengths found by gradient, and what any weighting could gain
``trivium.aggregation`` weighted distributions pooled into one target
``trivium.losses``     from target to student, streamed
``trivium.training``   distiller, step, trainer, monitor, recipe
``trivium.report``     one page that shows it all
=====================  ===========================================================================

Beside them: ``trivium.axioms`` (what must hold), ``trivium.simplex`` (the geometry of weights),
``trivium.certification`` (what is guaranteed, and how surely) and ``trivium.rules`` (every rule, pool and wrapper).

Names that need transformers or pydantic are imported when they are first used, so that ``import trivium`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from trivium import former, rules  # noqa: F401  # former names first: they are put into modules as these are imported
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

if TYPE_CHECKING:
    from trivium.certification import Certificate, certify
    from trivium.cli.whole import Distilled, distill
    from trivium.safety import UnsafeClasses, UnsafeTokens
    from trivium.teachers.panel import InBatch
    from trivium.training.decoding import load_guard
    from trivium.training.distiller import Distiller
    from trivium.training.fitting import fit
    from trivium.training.guard import Safety
    from trivium.training.recipe import LossSection as Loss
    from trivium.training.recipe import Recipe, load_recipe
    from trivium.training.step import StepOutput
    from trivium.training.trainer import DistillationTrainer

__version__ = "0.1.0"

#: Where each name that is imported on first use lives, and what it is called there.
_LATER = {
    "Certificate": ("trivium.certification", "Certificate"),
    "DistillationTrainer": ("trivium.training.trainer", "DistillationTrainer"),
    "Distilled": ("trivium.cli.whole", "Distilled"),
    "Distiller": ("trivium.training.distiller", "Distiller"),
    "InBatch": ("trivium.teachers.panel", "InBatch"),
    "Loss": ("trivium.training.recipe", "LossSection"),
    "Recipe": ("trivium.training.recipe", "Recipe"),
    "Safety": ("trivium.training.guard", "Safety"),
    "UnsafeClasses": ("trivium.safety", "UnsafeClasses"),
    "UnsafeTokens": ("trivium.safety", "UnsafeTokens"),
    "StepOutput": ("trivium.training.step", "StepOutput"),
    "certify": ("trivium.certification", "certify"),
    "distill": ("trivium.cli.whole", "distill"),
    "fit": ("trivium.training.fitting", "fit"),
    "load_guard": ("trivium.training.decoding", "load_guard"),
    "load_recipe": ("trivium.training.recipe", "load_recipe"),
}

__all__ = [
    "AXIOMS",
    "POOLS",
    "RULES",
    "Certificate",
    "ConformingSet",
    "Disagreement",
    "DistillationTrainer",
    "Distilled",
    "Distiller",
    "DomainMap",
    "Entropy",
    "Gap",
    "InBatch",
    "Loss",
    "Margin",
    "Order",
    "PrefixPosterior",
    "Recipe",
    "Safety",
    "Scheme",
    "Skill",
    "Static",
    "StepOutput",
    "TriviumError",
    "UnsafeClasses",
    "UnsafeTokens",
    "__version__",
    "certify",
    "compose",
    "conforming_projection",
    "distill",
    "distillation_loss",
    "fit",
    "load_guard",
    "load_recipe",
    "rule",
    "rules",
]

if not TYPE_CHECKING:  # a checker that saw it would take every name for one that exists

    def __getattr__(name: str) -> object:
        """Return the names of ``_LATER``, imported once."""
        if name not in _LATER:
            raise AttributeError(f"module 'trivium' has no attribute {name!r}")
        room, own = _LATER[name]
        found = vars(import_module(room))[own]
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
