"""Softening: one distribution is made flatter before it is pooled. ``SOFTENERS`` names those without data.

Each operator is a family with one parameter; :mod:`trivium.axioms.softening` says what it must satisfy. A run applies
one to every teacher by ``loss.softening`` of its recipe; :func:`make_softener` fixes its parameter.
"""

from __future__ import annotations

from trivium.aggregation.softening.fixed import SOFTENERS, FixedSoftener, make_softener
from trivium.aggregation.softening.prior import PriorMixing
from trivium.aggregation.softening.protocol import Softener
from trivium.aggregation.softening.temperature import Temperature
from trivium.aggregation.softening.uniform import UniformMixing

__all__ = [
    "SOFTENERS",
    "FixedSoftener",
    "PriorMixing",
    "Softener",
    "Temperature",
    "UniformMixing",
    "make_softener",
]
