"""The falsifier: a search for inputs at which an operator breaks an axiom, and their replay.

``falsify`` looks where breaks live and random sampling does not go; ``replay`` evaluates a stored witness again.
"""

from trivium.certification.falsify.falsify import falsify
from trivium.certification.falsify.replay import replay

__all__ = ["falsify", "replay"]
