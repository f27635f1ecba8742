"""Schemes: rules composed over scales by product, strength, influence budget, mixture and projection."""

from trivium.scheme.conform import Conform
from trivium.scheme.floor_mix import FloorMix
from trivium.scheme.limit import Limit
from trivium.scheme.mix import Mix
from trivium.scheme.per_entry import PerEntry
from trivium.scheme.power import Power
from trivium.scheme.product import Product
from trivium.scheme.scheme import Scheme, Term, compose
from trivium.scheme.squash import Squash

__all__ = [
    "Conform",
    "FloorMix",
    "Limit",
    "Mix",
    "PerEntry",
    "Power",
    "Product",
    "Scheme",
    "Squash",
    "Term",
    "compose",
]
