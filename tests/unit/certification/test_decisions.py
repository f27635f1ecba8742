"""Decisions: proved exactly when the derived constants imply what was asked."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trivium.certification.calculus import derive
from trivium.certification.decisions import Decision, decide
from trivium.certification.specification import Specification
from trivium.scheme import ClampInfluence, Product, Project
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.weighting import Entropy, Margin, Operator, PrefixPosterior, Static, rule

ORDER = Order(((0,), (1,), (2,)))


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def mine(entropy: Tensor) -> Tensor:
    return torch.softmax(-entropy, dim=-1)


def decisions(operator: Operator, **asked: object) -> dict[str, Decision]:
    return decide(derive(operator, 3), Specification(3, **asked))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "operator", [Entropy(), ClampInfluence(Product((Entropy(), Margin())), 2.0), Static((1.0, 2.0, 3.0))]
)
def test_built_ins_are_functions_normalized_and_positive(operator: Operator) -> None:
    assert all(decision.proved for decision in decisions(operator).values())


ASKED = {"floor": 0.0, "cap": 1.0, "influence": 100.0, "lipschitz": 100.0, "order": ORDER}


def test_of_a_captured_rule_that_declares_nothing_its_form_alone_is_proved() -> None:
    assert [axiom for axiom, decision in decisions(mine, **ASKED).items() if decision.proved] == ["W-F"]


def test_nothing_is_proved_of_an_opaque_rule() -> None:
    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def branching(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1) if float(entropy.sum()) > 1.0 else torch.ones_like(entropy)

    found = decisions(branching, **ASKED)
    assert not any(decision.proved for decision in found.values())
    assert "opaque: it branches on values" in found["W-F"].lines[0]
    projected = decisions(Project(branching, ConformingSet(3, 0.05, 0.9, ORDER, 0.0)), **{**ASKED, "floor": 0.05})
    assert {axiom for axiom, decision in projected.items() if decision.proved} == {"W-N", "W-P", "W-B", "W-S"}


def test_a_projection_proves_all_but_regularity_of_a_captured_part() -> None:
    projected = Project(mine, ConformingSet(3, 0.05, 0.9, ORDER, 0.0))
    found = decisions(projected, floor=0.05, cap=0.9, lipschitz=5.0, order=ORDER)
    assert {axiom for axiom, decision in found.items() if decision.proved} == {"W-F", "W-N", "W-P", "W-B", "W-S"}


@pytest.mark.parametrize(("asked", "proved"), [(2.0, True), (2.0 - 1e-9, False), (0.0, False)])
def test_regularity_is_compared_with_the_sum_over_features(asked: float, proved: bool) -> None:
    assert decisions(Entropy(), lipschitz=asked)["W-R"].proved is proved


@pytest.mark.parametrize("name", ["floor", "cap", "influence"])
def test_a_bound_is_proved_up_to_the_derived_one_and_no_further(name: str) -> None:
    constants = derive(Margin(), 3).constants
    known = getattr(constants, name)
    tighter = 1e-6 if name == "floor" else -1e-6
    assert decisions(Margin(), **{name: known})["W-B"].proved
    beyond = decisions(Margin(), **{name: known + tighter})["W-B"]
    assert not beyond.proved
    assert beyond.residual == pytest.approx(1e-6, rel=1e-3)


def test_bounds_are_proved_of_all_that_is_asked_or_not_at_all() -> None:
    assert not decisions(Margin(), floor=0.1, cap=0.4)["W-B"].proved


def test_the_order_of_fixed_weights_is_proved_with_its_margin() -> None:
    weights = Static((math.exp(2.0), math.e, 1.0))
    assert decisions(weights, order=ORDER, order_margin=0.999)["W-S"].proved
    assert not decisions(weights, order=ORDER, order_margin=1.001)["W-S"].proved
    assert not decisions(Static((1.0, 2.0, 3.0)), order=ORDER)["W-S"].proved


def test_an_order_of_one_tier_asks_nothing() -> None:
    assert decisions(mine, order=Order(((0, 1, 2),)))["W-S"].proved


def test_a_weight_below_what_floats_hold_is_proved_positive_as_a_logarithm() -> None:
    decision = decisions(PrefixPosterior(budget=None))["W-P"]
    assert decision.proved
    assert "logarithm" in decision.lines[0]


def test_every_decision_gives_its_argument() -> None:
    asked = {"floor": 0.01, "cap": 0.9, "influence": 4.0, "lipschitz": 9.0, "order": ORDER}
    for axiom, decision in decisions(Entropy(), **asked).items():
        assert decision.lines
        assert all(line.startswith(axiom) for line in decision.lines)
