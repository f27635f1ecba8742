"""Rules at the token scale."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.weighting import Disagreement, Entropy, Gap, Margin

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "entropy",
        "ours",
        Entropy(budget=4.0),
        "token",
        source="entropy weighting, with a stated influence budget",
        cost="O(K) after one pass over K·V logits",
        # softmax(−1, −2, −3)
        cases=(Case({"entropy": (1.0, 2.0, 3.0)}, (0.6652, 0.2447, 0.0900)),),
    ),
    Entry(
        "margin",
        "ours",
        Margin(),
        "token",
        source="ours: bounded by construction",
        cost="O(K) after one pass over K·V logits",
        # softmax(.9, .1, .1): e^.8 = 2.2255
        cases=(Case({"margin": (0.9, 0.1, 0.1)}, (0.5267, 0.2366, 0.2366)),),
    ),
    Entry(
        "disagreement",
        "ours",
        Disagreement(),
        "token",
        source="ours: bounded by construction",
        cost="O(K·V) and K rows of V numbers held",
        # softmax(−.2, −.2, −.8): e^−.6 = .5488
        cases=(Case({"disagreement": (0.2, 0.2, 0.8)}, (0.3923, 0.3923, 0.2153)),),
    ),
    Entry(
        "gap",
        "ours",
        Gap(),
        "token",
        source="Hellinger hardness of AdaKD-style rules, turned from one teacher to K",
        cost="O(K·V), one square root an entry",
        # softmax(−.1, −.5, −.9)
        cases=(Case({"gap": (0.1, 0.5, 0.9)}, (0.4718, 0.3162, 0.2120)),),
    ),
)
