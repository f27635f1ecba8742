"""Schemes: rules composed over scales by product, strength, influence budget and projection."""

from trivium.scheme.conform import Conform
from trivium.scheme.limit import Limit
from trivium.scheme.power import Power
from trivium.scheme.product import Product
from trivium.scheme.scheme import Scheme, Term, compose

__all__ = ["Conform", "Limit", "Power", "Product", "Scheme", "Term", "compose"]
