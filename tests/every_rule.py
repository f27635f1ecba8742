"""Every rule of ``RULES`` once as it conforms, and every published form that does not with what it breaks."""

from __future__ import annotations

from dataclasses import dataclass

from trivium.catalogue import ENTRIES
from trivium.scheme import ClampInfluence, Squash
from trivium.scheme.tree import leaves
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
    Gap,
    Hardness,
    Margin,
    MinCE,
    NashMTL,
    NemoRL,
    Operator,
    PrefixPosterior,
    Rule,
    Scores,
    Skill,
    Static,
    TorchJD,
)


@dataclass(frozen=True)
class Published:
    """A rule as published, and the axioms that it breaks for three teachers at β ≤ 4 nats and L = 2.

    ``form`` is its conforming form, if it is one of another rule.
    """

    rule: Rule
    breaks: frozenset[str]
    form: Rule | None = None


#: For three teachers, PROVED with 0.05 ≤ w ≤ 0.8.
CONFORMING: list[Operator] = [
    Entropy(budget=2.0),
    Margin(strength=2.0),
    Disagreement(strength=2.0),
    Gap(strength=2.0, prefer="far"),
    Hardness(strength=1.0, reference=0.25),
    Scores({"entropy": -0.5, "margin": 1.0}, budget=2.0),
    EBKD(normalized=True, smoothing=4.0),
    ClampInfluence(CAMKD(stable=True), 2.0),
    *(NemoRL(score, per_row=True, budget=2.0) for score in ("ce", "entropy", "max_prob")),
    Skill(strength=0.5, budget=2.0),
    Static((3.0, 2.0, 1.0)),
    ClampInfluence(AEKD(), 2.0),
    ClampInfluence(NashMTL(), 2.0),
    ClampInfluence(TorchJD("upgrad"), 2.0),
    PrefixPosterior(tau=0.5, budget=2.0, prior=(0.5, 0.3, 0.2)),
    DomainMap((2, 0, -1, 1), budget=2.0),
    AvgCE(),
    MMKD(3, 2, budget=2.0, lipschitz=2.0),
    AMTSS(3, 2, budget=1.0),
]

PUBLISHED: list[Published] = [
    Published(EBKD(), frozenset({"W-N", "W-P", "W-B", "W-R"})),
    # Not W-R at L = 2: each log-weight moves by at most 2·p_j; what exceeds it is the rounding of 1 − p_j beside one.
    Published(CAMKD(), frozenset({"W-N", "W-P", "W-B"})),
    Published(NemoRL("ce"), frozenset({"W-F", "W-B"})),
    Published(NemoRL("entropy"), frozenset({"W-F", "W-B"})),
    Published(NemoRL("max_prob"), frozenset({"W-F"})),
    Published(MMKD(3, 1, seed=1), frozenset({"W-B"})),
    Published(AEKD(), frozenset({"W-P", "W-B", "W-R"})),
    Published(NashMTL(), frozenset({"W-B", "W-R"})),
    Published(TorchJD("upgrad", raw=True), frozenset({"W-N", "W-B", "W-R"})),
    Published(MinCE(), frozenset({"W-P", "W-B", "W-R"}), Scores({"sequence_loss": -2.0}, 2.0, "context")),
    Published(MOPD((2, 0, 1)), frozenset({"W-P", "W-B", "W-R"}), DomainMap((2, 0, 1), 2.0)),
]


def rule_of(operator: Operator) -> Rule:
    """The rule, without the limit around it."""
    inner = operator.part if isinstance(operator, ClampInfluence | Squash) else operator
    assert isinstance(inner, Rule)
    return inner


def _each() -> dict[str, Operator]:
    listed = [*CONFORMING, *(published.rule for published in PUBLISHED if published.form is not None)]
    rows = [entry.operator for entry in ENTRIES if len(list(leaves(entry.operator))) == 1]
    return {next(leaves(operator)).name: operator for operator in reversed([*listed, *rows])}


#: One instance of each class, the conforming one where there is one; of a rule that is not listed here its row's.
ONE_OF_EACH: dict[str, Operator] = _each()
