"""The falsifier: a search for inputs at which an operator breaks an axiom, and their replay.

``falsify`` looks where breaks live and random sampling does not go; ``replay`` evaluates a stored witness again;
``equivariance`` reports whether it matters how teachers are listed, which no axiom asks.
"""

from trivium.certification.falsify.equivariance import equivariance
from trivium.certification.falsify.falsify import falsify
from trivium.certification.falsify.replay import replay

__all__ = ["equivariance", "falsify", "replay"]
