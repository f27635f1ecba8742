"""Schemes: rules composed over scales by product, strength, influence budget, mixture and projection."""

from trivium.scheme.clamp_influence import ClampInfluence
from trivium.scheme.composition import Composition, Wrapper
from trivium.scheme.floor_mix import FloorMix
from trivium.scheme.mix_uniform import MixUniform
from trivium.scheme.on_critical import OnCritical
from trivium.scheme.per_entry import PerEntry
from trivium.scheme.power import Power
from trivium.scheme.product import Product
from trivium.scheme.project import Project
from trivium.scheme.scheme import Scheme, Term, compose
from trivium.scheme.squash import Squash

#: Every wrapper; recipes show the keys of those that have one in this order.
WRAPPERS: tuple[type[Wrapper], ...] = (
    Power,
    Squash,
    ClampInfluence,
    MixUniform,
    FloorMix,
    Project,
    OnCritical,
    PerEntry,
)

#: Every composition whose form the calculus trusts.
COMPOSITIONS: tuple[type[Composition], ...] = (Scheme, Product, *WRAPPERS)

__all__ = [
    "COMPOSITIONS",
    "WRAPPERS",
    "ClampInfluence",
    "FloorMix",
    "MixUniform",
    "OnCritical",
    "PerEntry",
    "Power",
    "Product",
    "Project",
    "Scheme",
    "Squash",
    "Term",
    "compose",
]
