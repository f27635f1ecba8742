"""Rules at the token scale."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.scheme import ClampInfluence
from trivium.weighting import CAMKD, EBKD, Disagreement, Entropy, Gap, Hardness, Margin, NemoRL, Scores

EBKD_SOURCE = "Kwon et al., ICASSP 2020, as the code of CA-MKD has it"
CA_MKD_SOURCE = "Zhang, Chen, Wang, ICASSP 2022 (CA-MKD)"
NEMO_RL_SOURCE = "NeMo-RL, cross-tokenizer distillation, 2026"
ONE_PASS = "O(K) after one pass over K·V logits"

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
    Entry(
        "hardness",
        "ours",
        Hardness(strength=1.0, reference=0.5),
        "token",
        source="AdaKD's temperature (Xie et al., AAAI 2026) as a weight for each of K teachers, its median fixed",
        cost="O(K·V), one square root an entry",
        # tanh(log r) for r = 0, 1, 2 is −1, 0, 3/5: softmax(1, 0, −.6)
        cases=(Case({"gap": (0.0, 0.5, 1.0)}, (0.6370, 0.2344, 0.1286)),),
    ),
    Entry(
        "scores",
        "ours",
        Scores({"entropy": -1.0, "margin": 2.0}, budget=4.0),
        "token",
        source="ours: softmax of any bounded linear score",
        cost="O(K) a feature after what the features cost",
        # softmax(−1, −2, −3), then 0 − 0, −2 + 2, −5 + 0
        cases=(
            Case({"entropy": (1.0, 2.0, 3.0), "margin": (0.5, 0.5, 0.5)}, (0.6652, 0.2447, 0.0900)),
            Case({"entropy": (0.0, 2.0, 9.0), "margin": (0.0, 1.0, 0.0)}, (0.4955, 0.4955, 0.0091)),
        ),
    ),
    Entry(
        "ebkd",
        "published",
        EBKD(),
        "token",
        source=EBKD_SOURCE,
        cost=ONE_PASS,
        # 1 − (1/4, 1/4, 1/2); one teacher with all the entropy
        cases=(
            Case({"entropy": (1.0, 1.0, 2.0)}, (0.75, 0.75, 0.5)),
            Case({"entropy": (0.0, 3.0, 0.0)}, (1.0, 0.0, 1.0)),
        ),
    ),
    Entry(
        "ebkd",
        "conforming",
        EBKD(normalized=True, smoothing=1.0),
        "token",
        source=f"{EBKD_SOURCE}, its entropies smoothed by 1 nat and its weights divided by their sum",
        cost="O(K²) after one pass over K·V logits",
        # (1 + 8, 1 + 0, 1 + 8)/19
        cases=(Case({"entropy": (0.0, 8.0, 0.0)}, (0.4737, 0.0526, 0.4737)),),
    ),
    Entry(
        "ca_mkd",
        "published",
        CAMKD(),
        "token",
        source=CA_MKD_SOURCE,
        cost="O(K) after the label's log-probability",
        # e^ℓ = 1.1052, 7.3891, 148.4132
        cases=(Case({"label_log_prob": (-0.1, -2.0, -5.0)}, (0.4965, 0.4765, 0.0271)),),
    ),
    Entry(
        "ca_mkd",
        "conforming",
        ClampInfluence(CAMKD(stable=True), 4.0),
        "token",
        source=f"{CA_MKD_SOURCE}, in log space, under a stated influence budget",
        cost="O(K²) after the label's log-probability",
        # 2/(e^30 + 1) of the others, of which the budget keeps e^−4: 1/(2 + e^−4)
        cases=(Case({"label_log_prob": (0.0, 0.0, -30.0)}, (0.4955, 0.4955, 0.0091)),),
    ),
    Entry(
        "nemo_rl",
        "published",
        NemoRL("ce"),
        "token",
        source=NEMO_RL_SOURCE,
        cost="O(K) a position after the label's log-probability",
        # Means −1, −3, −4: softmax(0, −2, −3)
        cases=(Case({"label_log_prob": ((-1.0, -2.0, -3.0), (-1.0, -4.0, -5.0))}, ((0.8438, 0.1142, 0.0420),) * 2),),
    ),
    Entry(
        "nemo_rl",
        "conforming",
        NemoRL("ce", per_row=True, budget=4.0),
        "token",
        source=f"{NEMO_RL_SOURCE}, each position by itself, under a stated influence budget",
        cost="O(K) a position after the label's log-probability",
        # 1/(1 + e^−1 + e^−4)
        cases=(Case({"label_log_prob": (-1.0, -2.0, -10.0)}, (0.7214, 0.2654, 0.0132)),),
    ),
    Entry(
        "nemo_rl entropy",
        "published",
        NemoRL("entropy"),
        "token",
        source=NEMO_RL_SOURCE,
        cost=ONE_PASS,
        # Means 1, 3, 4: softmax(0, −2, −3)
        cases=(Case({"entropy": ((1.0, 2.0, 3.0), (1.0, 4.0, 5.0))}, ((0.8438, 0.1142, 0.0420),) * 2),),
    ),
    Entry(
        "nemo_rl entropy",
        "conforming",
        NemoRL("entropy", per_row=True, budget=4.0),
        "token",
        source=f"{NEMO_RL_SOURCE}, each position by itself, under a stated influence budget",
        cost=ONE_PASS,
        # 1/(1 + e^−1 + e^−4)
        cases=(Case({"entropy": (1.0, 2.0, 10.0)}, (0.7214, 0.2654, 0.0132)),),
    ),
    Entry(
        "nemo_rl max_prob",
        "published",
        NemoRL("max_prob"),
        "token",
        source=NEMO_RL_SOURCE,
        cost=ONE_PASS,
        # Means .8, .2, .2: e^.6 = 1.8221
        cases=(Case({"max_prob": ((0.9, 0.1, 0.1), (0.7, 0.3, 0.3))}, ((0.4767, 0.2616, 0.2616),) * 2),),
    ),
    Entry(
        "nemo_rl max_prob",
        "conforming",
        NemoRL("max_prob", per_row=True),
        "token",
        source=f"{NEMO_RL_SOURCE}, each position by itself",
        cost=ONE_PASS,
        # softmax(.9, .1, .1): e^.8 = 2.2255
        cases=(Case({"max_prob": (0.9, 0.1, 0.1)}, (0.5267, 0.2366, 0.2366)),),
    ),
)
