"""Rules at the context scale, and compositions over scales."""

from __future__ import annotations

from trivium.catalogue.entry import Case, Entry
from trivium.scheme import Product, Project, Squash
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.weighting import MOPD, AvgCE, DomainMap, Entropy, FittedScores, MinCE, PrefixPosterior, Scores, Skill

FUSE_LLM = "FuseLLM (Wan et al., ICLR 2024)"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "prefix_posterior",
        "published",
        PrefixPosterior(budget=None),
        "context",
        source="the Bayes mixture over teachers given the prefix",
        cost="O(K) a token after the label's log-probability",
        # (1/3, 1/3 e^−1, 1/3 e^−2) normalized
        cases=(Case({"prefix_log_prob": (-3.0, -4.0, -5.0)}, (0.6652, 0.2447, 0.0900)),),
    ),
    Entry(
        "prefix_posterior",
        "conforming",
        PrefixPosterior(budget=4.0),
        "context",
        source="the Bayes mixture under a stated influence budget",
        cost="O(K) a token after the label's log-probability",
        # 1/(1 + 2 e^−4)
        cases=(Case({"prefix_log_prob": (-3.0, -70.0, -500.0)}, (0.9647, 0.0177, 0.0177)),),
    ),
    Entry(
        "fitted_scores",
        "ours",
        Squash(FittedScores({"recent_log_prob_90": 0.5}, bias=((0.4, 0.2, 0.0),)), 2.0),
        "context",
        source="strengths fitted on the teachers' log-probabilities of validation data",
        cost="O(K) a feature after what the features cost",
        # Scores .4, −.8, −2: 2·tanh(−.6) = −1.0741, 2·tanh(−1.2) = −1.6673; 1/(1 + e^−1.0741 + e^−1.6673)
        cases=(Case({"recent_log_prob_90": (0.0, -2.0, -4.0)}, (0.6534, 0.2232, 0.1233)),),
    ),
    Entry(
        "min_ce",
        "published",
        MinCE(),
        "context",
        source=f"{FUSE_LLM}, MinCE",
        cost="O(K) an example after the label's log-probabilities",
        cases=(
            Case({"sequence_loss": (3.0, 0.5, 2.0)}, (0.0, 1.0, 0.0)),
            Case({"sequence_loss": (2.0, 0.5, 0.5)}, (0.0, 1.0, 0.0)),  # a tie goes to the first
        ),
    ),
    Entry(
        "min_ce",
        "conforming",
        Scores({"sequence_loss": -1.0}, budget=4.0, scale="context"),
        "context",
        source=f"{FUSE_LLM}, MinCE, softened to `scores` under a stated influence budget",
        cost="O(K) an example after the label's log-probabilities",
        # 1/(1 + e^−1 + e^−4)
        cases=(Case({"sequence_loss": (1.0, 2.0, 10.0)}, (0.7214, 0.2654, 0.0132)),),
    ),
    Entry(
        "avg_ce",
        "published",
        AvgCE(),
        "context",
        source=f"{FUSE_LLM}, AvgCE",
        cost="O(K) an example after the label's log-probabilities",
        # e/(e + 2)
        cases=(Case({"sequence_loss": (0.0, 30.0, 30.0)}, (0.5761, 0.2119, 0.2119)),),
    ),
    Entry(
        "mopd",
        "published",
        MOPD((0, 1, 2)),
        "context",
        source="routing on a key: TRL, verl and AReaL; `domain_map` is the form that conforms",
        cost="O(K)",
        cases=(Case({"domain": (1.0,), "teachers": (0.0, 0.0, 0.0)}, (0.0, 1.0, 0.0)),),
    ),
    Entry(
        "domain_map",
        "conforming",
        DomainMap((0, 1, 2), budget=4.0),
        "context",
        source="routing on a key (MOPD) with a stated influence",
        cost="O(K)",
        # 1/(1 + 2 e^−4)
        cases=(Case({"domain": (1.0,), "teachers": (0.0, 0.0, 0.0)}, (0.0177, 0.9647, 0.0177)),),
    ),
    Entry(
        "three scales",
        "conforming",
        Project(
            Product((Entropy(budget=1.5), Skill(budget=1.5), PrefixPosterior(budget=3.0))),
            ConformingSet(3, 0.01, 0.97, Order(((0,), (1,), (2,))), 0.0),
        ),
        "context",
        source="framework §3: product of three scales under budgets, projected to floor, cap and safety order",
        cost="O(K²) a token",
        # All alike at every scale: the product is uniform, which the projection keeps.
        cases=(
            Case(
                {
                    "entropy": (2.0, 2.0, 2.0),
                    "validation_loss": (1.0, 1.0, 1.0),
                    "prefix_log_prob": (-9.0, -9.0, -9.0),
                },
                (1 / 3, 1 / 3, 1 / 3),
            ),
        ),
    ),
)
