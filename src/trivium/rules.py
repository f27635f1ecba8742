"""All that a scheme is made of, in one place: rules, pools and wrappers of the catalogue.

>>> import trivium as tv
>>> tv.rules.Limit(tv.rules.Entropy(strength=0.5), 2.0).formula()
'limit(softmax(−0.5·entropy) | β ≤ 2)'
"""

from trivium.aggregation import LinearPool, LogarithmicPool, PowerPool
from trivium.scheme import Conform, FloorMix, Limit, Mix, PerEntry, Power, Product, Squash
from trivium.weighting import (
    AEKD,
    AMTSS,
    CAMKD,
    EBKD,
    MMKD,
    MOPD,
    AvgCE,
    Disagreement,
    DomainMap,
    Entropy,
    FittedScores,
    Gap,
    Hardness,
    Margin,
    MinCE,
    NashMTL,
    NemoRL,
    PrefixPosterior,
    Scores,
    Skill,
    Static,
    TorchJD,
)

__all__ = [
    "AEKD",
    "AMTSS",
    "CAMKD",
    "EBKD",
    "MMKD",
    "MOPD",
    "AvgCE",
    "Conform",
    "Disagreement",
    "DomainMap",
    "Entropy",
    "FittedScores",
    "FloorMix",
    "Gap",
    "Hardness",
    "Limit",
    "LinearPool",
    "LogarithmicPool",
    "Margin",
    "MinCE",
    "Mix",
    "NashMTL",
    "NemoRL",
    "PerEntry",
    "Power",
    "PowerPool",
    "PrefixPosterior",
    "Product",
    "Scores",
    "Skill",
    "Squash",
    "Static",
    "TorchJD",
]
