"""Every rule of the catalogue, by the function that users have: all that is asked of it is PROVED."""

from __future__ import annotations

from trivium.scheme import compose
from trivium.testing import Check, parametrize_with_axioms
from trivium.weighting import (
    RULES,
    Disagreement,
    DomainMap,
    Entropy,
    Gap,
    Margin,
    PrefixPosterior,
    Rule,
    Skill,
    Static,
)

CATALOGUE: list[Rule] = [
    Entropy(budget=2.0),
    Margin(strength=2.0),
    Disagreement(strength=2.0),
    Gap(strength=2.0, prefer="far"),
    Skill(strength=0.5, budget=2.0),
    Static((3.0, 2.0, 1.0)),
    PrefixPosterior(tau=0.5, budget=2.0, prior=(0.5, 0.3, 0.2)),
    DomainMap((2, 0, -1, 1), budget=2.0),
]
SCHEME = compose(
    ["code", "prose", "headers"],
    token=[Entropy(budget=2.0)],
    task=[Skill(strength=0.5)],
    context=[DomainMap((0, 1, 2))],
    budget=3.0,
    floor=0.05,
    cap=0.8,
    order="prose>code=headers",
    margin=0.1,
)


@parametrize_with_axioms(CATALOGUE, teachers=3, floor=0.05, cap=0.8, seconds=0.2, at_least="PROVED")
def test_a_catalogued_rule_is_proved(check: Check) -> None:
    check()


@parametrize_with_axioms([SCHEME], seconds=0.2, at_least="PROVED")
def test_a_scheme_is_proved_with_what_it_claims(check: Check) -> None:
    check()


def test_no_rule_of_the_catalogue_is_left_out() -> None:
    assert {type(rule) for rule in CATALOGUE} == set(RULES.values())
