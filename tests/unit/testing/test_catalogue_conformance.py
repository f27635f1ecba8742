"""Every rule of the catalogue, by the function that users have: PROVED as it conforms, broken as it was published."""

from __future__ import annotations

import pytest

from every_rule import CONFORMING, PUBLISHED, Published, rule_of
from tiers import some
from trivium.axioms import AXIOMS
from trivium.catalogue import ENTRIES
from trivium.catalogue.entry import INFLUENCE, LIPSCHITZ, TEACHERS
from trivium.certification import certify
from trivium.certification.falsify import replay
from trivium.certification.specification import Specification
from trivium.scheme import compose
from trivium.scheme.tree import leaves
from trivium.testing import Check, parametrize_with_axioms
from trivium.weighting import RULES, DomainMap, Entropy, NashMTL, Skill, TorchJD

SCHEME = compose(
    ["code", "prose", "headers"],
    token=[Entropy(budget=2.0)],
    task=[Skill(strength=0.5)],
    context=[DomainMap((0, 1, 2))],
    budget=3.0,
    floor=0.05,
    cap=0.8,
    order="prose>code=headers",
    order_margin=0.1,
)


#: With floor and cap; their rows of the catalogue, below, are all certified always.
WITHIN = some(CONFORMING, 5)
OTHERS = [operator for operator in CONFORMING if operator not in WITHIN]


@parametrize_with_axioms(WITHIN, num_teachers=3, floor=0.05, cap=0.8, seconds=0.2, at_least="PROVED")
def test_a_catalogued_rule_is_proved(check: Check) -> None:
    check()


@pytest.mark.deep
@parametrize_with_axioms(OTHERS, num_teachers=3, floor=0.05, cap=0.8, seconds=0.2, at_least="PROVED")
def test_the_others_are_proved_too(check: Check) -> None:
    check()


#: Solvers are opaque to the search: every call costs.
OPAQUE = (NashMTL, TorchJD)
#: These solve a program a row in a loop, and one search of them takes minutes; test_gradient_rules asks them for W-F.
SLOW = {"torchjd cagrad, conforming", "torchjd pcgrad, conforming"}
OWN = [entry.operator for entry in ENTRIES if entry.form != "published" and entry.key not in SLOW]


@parametrize_with_axioms(
    [operator for operator in OWN if "gram" not in operator.ranges],
    num_teachers=TEACHERS,
    influence=INFLUENCE,
    lipschitz=LIPSCHITZ,
    seconds=0.2,
    at_least="PROVED",
)
def test_a_row_that_is_not_as_published_is_proved(check: Check) -> None:
    check()


# A weighting that solves a quadratic program jumps where gradients cancel, whatever budget is around it.
@parametrize_with_axioms(
    [operator for operator in OWN if "gram" in operator.ranges],
    num_teachers=TEACHERS,
    influence=INFLUENCE,
    seconds=0.2,
    at_least="PROVED",
)
def test_a_row_of_gradients_is_proved_but_for_regularity(check: Check) -> None:
    check()


@parametrize_with_axioms([SCHEME], seconds=0.2, at_least="PROVED")
def test_a_scheme_is_proved_with_what_it_claims(check: Check) -> None:
    check()


@parametrize_with_axioms(
    [entry.form for entry in PUBLISHED if entry.form is not None], num_teachers=3, seconds=0.2, at_least="PROVED"
)
def test_the_conforming_form_of_another_rule_is_proved(check: Check) -> None:
    check()


@pytest.mark.parametrize(
    "published",
    [
        pytest.param(
            p, id=p.rule.formula(), marks=[pytest.mark.deep] if number % 3 or isinstance(p.rule, OPAQUE) else []
        )
        for number, p in enumerate(PUBLISHED)
    ],
)
def test_a_published_rule_breaks_what_is_listed_and_nothing_else(published: Published) -> None:
    seconds = 6.0 if isinstance(published.rule, OPAQUE) else 1.0
    certificate = certify(published.rule, Specification(3, influence=4.0, lipschitz=2.0), seconds=seconds)
    assert {result.axiom for result in certificate.violated} == published.breaks
    for result in certificate.violated:
        assert result.witness is not None
        assert result.witness.breaks(replay(published.rule, result.witness)), result.axiom


def test_no_rule_of_the_catalogue_is_left_out() -> None:
    conforming = {type(rule_of(operator)) for operator in CONFORMING}
    broken = {type(entry.rule) for entry in PUBLISHED}
    rows = {type(leaf) for entry in ENTRIES if entry.form != "published" for leaf in leaves(entry.operator)}
    assert conforming | broken | rows == set(RULES.values())
    for entry in PUBLISHED:
        assert entry.breaks, entry.rule
        assert entry.breaks <= set(AXIOMS), entry.rule
        # What breaks has a form that does not: of its own class, or of another rule.
        assert (type(entry.rule) in conforming) != (entry.form is not None), entry.rule
