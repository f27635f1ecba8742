"""Every rule, pool and wrapper under one name: rules, pools and wrappers of the catalogue.

>>> import trivium as tv
>>> tv.rules.ClampInfluence(tv.rules.Entropy(strength=0.5), 2.0).formula()
'limit(softmax(−0.5·entropy) | β ≤ 2)'
"""

from trivium.aggregation import *  # noqa: F403
from trivium.aggregation import POOLS
from trivium.scheme import *  # noqa: F403
from trivium.scheme import WRAPPERS, Product
from trivium.weighting import *  # noqa: F403
from trivium.weighting import RULES

# What is new in a catalogue is here without a line of its own.
__all__ = sorted(kind.__name__ for kind in (*RULES.values(), *map(type, POOLS.values()), *WRAPPERS, Product))
