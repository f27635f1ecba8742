"""The verifier against rules as users write them: all of what is true is VERIFIED, nothing of what is not."""

from __future__ import annotations

import time
from operator import attrgetter

import pytest

from bank.verified import VERIFIED, Bounded
from tiers import spread
from trivium.certification.verify import verify

NEAR = [
    pytest.param(
        case, axiom, specification, id=f"{case.name}-{number}", marks=[pytest.mark.deep] if number or place % 3 else []
    )
    for place, case in enumerate(VERIFIED)
    for number, (axiom, specification) in enumerate(case.near_misses())
]


def test_the_bank_holds_at_least_ten_rules() -> None:
    assert len({case.name for case in VERIFIED}) == len(VERIFIED) >= 10


@pytest.mark.parametrize("case", spread(VERIFIED, 3, attrgetter("name")))
def test_every_axiom_asked_is_verified_within_ten_seconds(case: Bounded) -> None:
    started = time.process_time()
    found = verify(case.make(), case.specification)
    assert time.process_time() - started < 10
    bounded = [axiom for axiom in case.specification.axioms if axiom != "W-F"]
    assert {axiom: found[axiom].verdict for axiom in bounded} == dict.fromkeys(bounded, "VERIFIED"), [
        found[axiom].search for axiom in bounded
    ]


@pytest.mark.parametrize(("case", "axiom", "specification"), NEAR)
def test_a_bound_beyond_the_truth_is_not_verified(case: Bounded, axiom: str, specification: object) -> None:
    result = verify(case.make(), specification, seconds=0.5)[axiom]  # type: ignore[arg-type]
    assert result.verdict == "NOT FALSIFIED"
    assert "reached" in result.search
