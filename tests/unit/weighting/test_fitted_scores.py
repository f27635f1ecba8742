"""Fitted scores against plain arithmetic, and their declared constants against samples of the whole box."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.certification import certify
from trivium.certification.calculus import known
from trivium.certification.specification import Specification
from trivium.errors import InputError
from trivium.scheme import Squash, compose
from trivium.scheme.tree import leaves
from trivium.simplex.order import Order
from trivium.training.build import build_scheme
from trivium.training.recipe import parse_recipe
from trivium.weighting import FittedScores, Operator

F64 = torch.float64
COLUMNS = {"trust": (-1.0, 3.0)}


def drawn(seed: int, tasks: int, num_teachers: int, size: float) -> FittedScores:
    draw = torch.Generator().manual_seed(seed)
    names = ("entropy", "recent_log_prob_90", "trust")
    numbers = (size * torch.randn(3, generator=draw, dtype=F64)).tolist()
    bias = (size * torch.randn(tasks, num_teachers, generator=draw, dtype=F64)).tolist()
    return FittedScores(dict(zip(names, numbers, strict=True)), tuple(map(tuple, bias)), COLUMNS)


def sampled(rule: Operator, rows: int, num_teachers: int, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, box in rule.ranges.items():
        unit = torch.rand(rows, box.width(num_teachers), generator=draw, dtype=F64)
        unit = torch.where(torch.rand(unit.shape, generator=draw) < 0.3, unit.round(), unit)
        value = box.low + (box.high - box.low) * unit
        found[name] = value.round() if box.integer else value
    return found


def test_a_row_by_hand() -> None:
    rule = FittedScores({"entropy": -0.5, "trust": 2.0}, ((0.0, 0.0), (1.0, 0.0)), COLUMNS)
    row = {"entropy": torch.tensor([2.0, 4.0]), "trust": torch.tensor([0.5, 0.25]), "task": torch.tensor([1.0])}
    gap = (-1.0 + 1.0 + 1.0) - (-2.0 + 0.5)
    assert float(rule.log_weights(row).diff()) == pytest.approx(-gap, abs=1e-6)


@given(
    seed=st.integers(0, 10**6),
    tasks=st.integers(1, 3),
    num_teachers=st.integers(2, 5),
    size=st.sampled_from([0.0, 0.02, 0.5, 20.0]),
    budget=st.sampled_from([0.0, 0.1, 2.0, 8.0, 40.0]),
)
def test_declared_constants_hold_on_the_box(
    seed: int, tasks: int, num_teachers: int, size: float, budget: float
) -> None:
    rule = Squash(drawn(seed, tasks, num_teachers, size), budget) if budget else drawn(seed, tasks, num_teachers, size)
    declared = known(rule, num_teachers)
    assert declared is not None
    assert budget == 0 or declared.influence <= budget
    u, v = sampled(rule, 200, num_teachers, seed), sampled(rule, 200, num_teachers, seed + 1)
    near = {n: (x if rule.ranges[n].integer else x + 1e-3 * (v[n] - x)) for n, x in u.items()}
    w = rule.log_weights(u)
    assert bool((w.unsqueeze(-1) - w.unsqueeze(-2) >= declared.log_ratio - 1e-9).all())
    for other in (v, near):
        moved = w - rule.log_weights(other)
        far = sum(declared.lipschitz[n] * (u[n] - other[n]).abs().amax(-1) for n in u)
        assert bool((moved.amax(-1) - moved.amin(-1) <= far + 1e-9).all())


def test_influence_and_regularity_are_attained() -> None:
    rule = FittedScores({"entropy": -0.25})
    low, high = torch.tensor([0.0, 12.0], dtype=F64), torch.tensor([12.0, 0.0], dtype=F64)
    w = rule.log_weights({"entropy": low})
    assert float(w[0] - w[1]) == pytest.approx(rule.constants(2).influence, rel=1e-12)
    near = torch.tensor([6.0 + 1e-4, 6.0 - 1e-4], dtype=F64)
    moved = rule.log_weights({"entropy": near}) - rule.log_weights({"entropy": near.flip(0)})
    assert float(moved[1] - moved[0]) == pytest.approx(rule.constants(2).total_lipschitz * 2e-4, rel=1e-6)
    assert float(rule.log_weights({"entropy": high})[0]) < float(w[0])


def test_biases_that_the_features_cannot_overturn_keep_a_margin() -> None:
    rule = FittedScores({"margin": 0.25}, ((1.5, 0.5, 0.0), (1.25, 0.5, 0.0)), scale="task")
    order = Order.parse("a > b > c", ("a", "b", "c"))
    assert rule.constants(3).order_margin(order) == pytest.approx(0.25, abs=1e-9)
    squashed = Squash(rule, 6.0)
    found = known(squashed, 3)
    assert found is not None
    margin = found.order_margin(order)
    assert 0.1 < margin < 0.25
    scheme = compose(("a", "b", "c"), task=[squashed])
    specification = Specification(3, ("a", "b", "c"), influence=6.0, lipschitz=3.0, order=order, order_margin=margin)
    certificate = certify(scheme, specification, seconds=0.5)
    assert {result.verdict for result in certificate.results} == {"PROVED"}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"strengths": {}}, "strengths or a bias"),
        ({"strengths": {"entrpy": 1.0}}, "entropy"),
        ({"strengths": {"domain": 1.0}}, "a number a teacher"),
        ({"strengths": {"trust": 1.0}}, "trust"),
        ({"strengths": {"entropy": math.inf}}, "finite"),
        ({"strengths": {"margin": 1.0}, "columns": {"margin": (0.0, 1.0)}}, "built in"),
        ({"strengths": {}, "bias": ((0.0, 1.0), (0.0,))}, "for every task"),
        ({"strengths": {}, "bias": ((0.0, math.nan),)}, "finite numbers"),
    ],
)
def test_what_is_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        FittedScores(**given)


def test_a_bias_is_for_the_teachers_there_are() -> None:
    with pytest.raises(InputError, match="2 numbers for 3 teachers"):
        FittedScores({}, bias=((0.0, 1.0),)).constants(3)


def recipe(bias: Any) -> Any:
    return parse_recipe(
        {
            "student": {"tokenizer": "t", "config": {"model_type": "llama"}},
            "teachers": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
            "data": {
                "domains": [
                    {"name": "x", "task": "code", "train": "x", "validation": "x"},
                    {"name": "y", "task": "text", "train": "y", "validation": "y"},
                ]
            },
            "scheme": {"task": [{"rule": "fitted_scores", "squash": 2.0, "options": {"strengths": {}, "bias": bias}}]},
        }
    )


def test_a_recipe_names_tasks_and_teachers() -> None:
    scheme = build_scheme(recipe({"text": {"b": 1.0, "a": 0.0}, "code": {"a": 0.5, "b": 0.25}}))
    weights = scheme.log_weights({"task": torch.tensor([[1.0], [0.0]]), "teachers": torch.zeros(2)})
    assert [rule.bias for rule in leaves(scheme)] == [((0.5, 0.25), (0.0, 1.0))]
    assert float(weights[0].diff()) == pytest.approx(2 * math.tanh(0.5), abs=1e-6)


@pytest.mark.parametrize("bias", [{"code": {"a": 0.0, "b": 0.0}}, {"code": 1.0, "text": 2.0}])
def test_a_recipe_gives_every_task_a_bias(bias: Any) -> None:
    with pytest.raises(InputError, match="every task"):
        build_scheme(recipe(bias))
