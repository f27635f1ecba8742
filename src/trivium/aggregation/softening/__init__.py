"""Softening: one distribution is made flatter before, or instead of, pooling. ``SOFTENERS`` names those without data.

Each operator is a family with one parameter; :mod:`trivium.axioms.softening` says what it must satisfy.
"""

from __future__ import annotations

from trivium.aggregation.softening.prior import PriorMixing
from trivium.aggregation.softening.protocol import Softener
from trivium.aggregation.softening.temperature import Temperature
from trivium.aggregation.softening.uniform import UniformMixing

SOFTENERS: dict[str, Softener] = {softener.name: softener for softener in (Temperature(), UniformMixing())}

__all__ = ["SOFTENERS", "PriorMixing", "Softener", "Temperature", "UniformMixing"]
