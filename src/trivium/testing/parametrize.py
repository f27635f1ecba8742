"""Axioms as parameters of a pytest test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trivium.certification.specification import Verdict
from trivium.former import renamed
from trivium.simplex.order import Order
from trivium.testing.checks import checks
from trivium.testing.gradients import GradientRule
from trivium.weighting.base import Operator

if TYPE_CHECKING:
    import pytest


@renamed(teachers="num_teachers", margin="order_margin")
def parametrize_with_axioms(
    rules: Iterable[Operator | GradientRule],
    *,
    num_teachers: int | None = None,
    floor: float | None = None,
    cap: float | None = None,
    influence: float | None = None,
    lipschitz: float | None = None,
    order: str | Order | None = None,
    order_margin: float = 0.0,
    pareto: bool = False,
    seconds: float = 1.0,
    seed: int = 0,
    at_least: Verdict = "NOT FALSIFIED",
) -> pytest.MarkDecorator:
    """Decorate a test that takes ``check``: one test for each rule and axiom, named ``RULE-AXIOM``.

    ``check()`` raises AssertionError where the axiom breaks, with verdict, residual, witness and a command that
    replays it. A rule is certified once, by its first test in a process.

    Args:
        rules: rules, schemes or other operators, and :class:`~trivium.testing.GradientRule` for W-C.
        num_teachers: K; a scheme's own number, otherwise 3.
        floor, cap, influence: W-B is asked with what is given of them, else with what the rule claims.
        lipschitz: L of W-R in nats a unit of the features; the rule's own where left out, if it declares one.
        order: from safest to least safe, ``"a>b=c"`` in the teachers' names, letters by position; W-S.
        order_margin: nats between tiers.
        pareto: whether W-C is asked; a rule that claims it is asked in any case.
        seconds: of search a rule, about.
        seed: of the search.
        at_least: the weakest verdict that passes; ``"PROVED"`` for rules whose constants are to prove everything.

    Raises:
        InputError: no rules, something that is no rule, or bounds that make no sense.
        InfeasibleError: floor, cap, order and margin that no weights meet (T1).
    """
    import pytest

    made = checks(
        rules,
        num_teachers=num_teachers,
        floor=floor,
        cap=cap,
        influence=influence,
        lipschitz=lipschitz,
        order=order,
        order_margin=order_margin,
        pareto=pareto,
        seconds=seconds,
        seed=seed,
        at_least=at_least,
    )
    return pytest.mark.parametrize("check", [pytest.param(check, id=check.id) for check in made])
