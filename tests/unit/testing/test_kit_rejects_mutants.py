"""The kit accepts what conforms and rejects every mutant of it."""

from __future__ import annotations

from operator import attrgetter

import pytest

from tiers import spread
from trivium.axioms import AXIOMS
from trivium.testing import Check, checks, parametrize_with_axioms
from trivium.testing.gradients import GradientRule
from trivium.testing.mutants import MUTANTS, Mutant, reference

OPERATOR, QUESTION = reference()
ASKED = {
    "num_teachers": QUESTION.num_teachers,
    "floor": QUESTION.floor,
    "cap": QUESTION.cap,
    "lipschitz": QUESTION.lipschitz,
    "order": QUESTION.order,
    "order_margin": QUESTION.order_margin,
}


@parametrize_with_axioms([OPERATOR], **ASKED, seconds=0.2)  # type: ignore[arg-type]
def test_the_reference_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize("mutant", spread(MUTANTS, 3, attrgetter("name"), attrgetter("axiom")))
def test_a_mutant_is_rejected_by_the_check_of_its_axiom(mutant: Mutant) -> None:
    made = checks([mutant.make(OPERATOR, QUESTION)], **ASKED, seconds=0.5)  # type: ignore[arg-type]
    check = next(check for check in made if check.axiom == mutant.axiom)
    with pytest.raises(AssertionError, match=rf"breaks {mutant.axiom}") as failure:
        check()
    for word in ("verdict   VIOLATED", "residual ", "witness ", "replay "):
        assert word in str(failure.value)


def test_every_axiom_has_a_mutant() -> None:
    assert {mutant.axiom for mutant in MUTANTS} == set(AXIOMS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_weights_of_least_norm_pass_the_check_of_gradients() -> None:
    """For two teachers the closed form; its direction raises no loss."""
    from torch import Tensor

    def least_norm(g: Tensor) -> Tensor:
        apart = g[1] - g[0]
        share = (apart @ g[1] / apart.square().sum().clamp(min=1e-300)).clamp(0.0, 1.0)
        return share.new_tensor([1.0, 0.0]) * share + share.new_tensor([0.0, 1.0]) * (1 - share)

    (check,) = checks([GradientRule(least_norm, "least_norm")], num_teachers=2)
    assert check.id == "least_norm-W-C"
    check()


def test_weights_of_another_shape_fail_the_check_of_gradients() -> None:
    (check,) = checks([GradientRule(lambda g: g.sum(dim=-1)[:1], "one_weight")], num_teachers=2)
    with pytest.raises(AssertionError, match=r"shape \(2,\)"):
        check()
