"""Geometry of weight vectors in log space: metrics, the safety order, the conforming set and its projection."""

from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import Constants
from trivium.simplex.geometry import (
    hilbert,
    influence,
    influence_to_range,
    kl,
    log_normalize,
    total_variation,
    tv_of_hilbert,
)
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.simplex.restriction import restrict

__all__ = [
    "ConformingSet",
    "Constants",
    "Order",
    "conforming_projection",
    "hilbert",
    "influence",
    "influence_to_range",
    "kl",
    "log_normalize",
    "restrict",
    "total_variation",
    "tv_of_hilbert",
]
