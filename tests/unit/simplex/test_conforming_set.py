from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from reference.log_weights import orders
from trivium.errors import InfeasibleError, InputError
from trivium.simplex import ConformingSet, Order

CHAIN = Order(((0,), (1,), (2,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"floor": 0.4}, "floor 0.4 with 3 teachers: lower it to 0.333"),
        ({"cap": 0.3}, "cap 0.3 with 3 teachers: raise it to 0.334"),
        ({"floor": 0.5, "cap": 0.2}, "lower it to 0.333 and cap 0.2 with 3 teachers: raise it to 0.334"),
        (
            {"floor": 0.2, "order": CHAIN, "order_margin": 1.0},
            "floor 0.2 with 3 teachers and margin 1: lower it to 0.09",
        ),
        ({"cap": 0.5, "order": CHAIN, "order_margin": 1.0}, "cap 0.5 with 3 teachers and margin 1: raise it to 0.666"),
        ({"cap": 0.5, "order": CHAIN, "order_margin": 1.0}, "lower the margin to 0.48"),
    ],
)
def test_an_empty_set_names_the_least_relaxation(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InfeasibleError) as caught:
        ConformingSet(3, **arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_teacher_has_weight_one() -> None:
    assert ConformingSet(1, floor=1.0).contains(torch.zeros(1)).item()
    with pytest.raises(InfeasibleError, match=r"cap 0\.9 with 1 teacher: raise it to 1"):
        ConformingSet(1, cap=0.9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_teachers": 0},
        {"floor": -0.1},
        {"floor": math.nan},
        {"cap": 1.1},
        {"order_margin": 1.0},
        {"order_margin": -1.0, "order": CHAIN},
        {"order_margin": math.inf, "order": CHAIN},
        {"num_teachers": 2, "order": CHAIN},
    ],
)
def test_values_out_of_range(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        ConformingSet(**{"num_teachers": 3, **arguments})  # type: ignore[arg-type]
    assert not isinstance(caught.value, InfeasibleError)


@pytest.mark.parametrize("num_teachers", [*range(1, 50), 999])
def test_floor_and_cap_at_exactly_one_over_k_are_feasible(num_teachers: int) -> None:
    conforming_set = ConformingSet(num_teachers, floor=1 / num_teachers, cap=1 / num_teachers)
    assert conforming_set.contains(conforming_set.element()).item()
    assert conforming_set.contains(conforming_set.element().float()).item()


CASES = st.integers(1, 5).flatmap(
    lambda k: st.tuples(orders(k), st.floats(0.0, 0.6), st.floats(0.1, 1.0), st.sampled_from([0.0, 0.3, 1.0, 4.0]))
)


@given(CASES)
def test_feasibility_agrees_with_a_linear_program(
    case: tuple[tuple[tuple[int, ...], ...], float, float, float],
) -> None:
    tiers, floor, cap, margin = case
    order = Order(tiers)
    num_teachers = order.num_teachers
    ordered = []
    for j, k in order.pairs():
        row = [0.0] * num_teachers
        height = order.ranks(num_teachers)[j] - order.ranks(num_teachers)[k]
        row[j], row[k] = -1.0, math.exp(margin * height)
        ordered.append(row)
    # Slack program: how far the constraints must give way; 0 iff feasible.
    program = linprog(
        [1.0] + [0.0] * num_teachers,
        A_ub=[[-1.0, *(-1.0 if i == k else 0.0 for i in range(num_teachers))] for k in range(num_teachers)]
        + [[-1.0, *(1.0 if i == k else 0.0 for i in range(num_teachers))] for k in range(num_teachers)]
        + [[0.0, *row] for row in ordered],
        b_ub=[-floor] * num_teachers + [cap] * num_teachers + [0.0] * len(ordered),
        A_eq=[[0.0] + [1.0] * num_teachers],
        b_eq=[1.0],
        bounds=[(0, None)] * (num_teachers + 1),
    )
    if 0 < program.fun < 1e-6:
        return  # on the boundary, where the program's own tolerance decides
    try:
        conforming_set = ConformingSet(num_teachers, floor, cap, order, margin)
    except InfeasibleError as error:
        assert program.fun > 0
        # The advice works when it is followed to the letter.
        lower = re.search(r"floor \S+ with .*?: lower it to ([\d.e-]+)", str(error))
        higher = re.search(r"cap \S+ with .*?: raise it to ([\d.e-]+)", str(error))
        advised = ConformingSet(
            num_teachers,
            float(lower[1].rstrip(".")) if lower else floor,
            float(higher[1].rstrip(".")) if higher else cap,
            order,
            margin,
        )
        assert advised.contains(advised.element()).item()
        smaller = re.search(r"lower the margin to ([\d.e-]+)", str(error))
        assert (smaller is not None) == (margin > 0 and floor * num_teachers <= 1 <= cap * num_teachers)
        if smaller:
            ConformingSet(num_teachers, floor, cap, order, float(smaller[1].rstrip(".")))
    else:
        assert program.fun == pytest.approx(0.0, abs=1e-9)
        assert conforming_set.contains(conforming_set.element()).item()


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
def test_a_strict_chain_has_the_closed_form_limits(margin: float) -> None:
    total = (math.exp(3 * margin) - 1) / (math.exp(margin) - 1)
    floor, cap = 1 / total, math.exp(2 * margin) / total
    ConformingSet(3, floor, cap, CHAIN, margin)
    with pytest.raises(InfeasibleError):
        ConformingSet(3, floor * 1.0001, 1.0, CHAIN, margin)
    with pytest.raises(InfeasibleError):
        ConformingSet(3, 0.0, cap * 0.9999, CHAIN, margin)


def test_a_large_margin_does_not_overflow() -> None:
    conforming_set = ConformingSet(3, order=CHAIN, order_margin=1000.0)
    assert conforming_set.contains(conforming_set.element()).item()
    with pytest.raises(InfeasibleError, match="lower it to 0"):
        ConformingSet(3, floor=0.01, order=CHAIN, order_margin=1000.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_contains_tells_a_breach_from_rounding(dtype: torch.dtype) -> None:
    conforming_set = ConformingSet(3, floor=0.1, cap=0.7, order=Order(((0,), (1, 2))), order_margin=0.5)
    step = 1e-6 if dtype == torch.float64 else 1e-5
    rows = torch.tensor(
        [
            [0.7, 0.2, 0.1],
            [0.5, 0.25, 0.25],
            [0.7 + step, 0.2 - step, 0.1],
            [0.7, 0.2 + step, 0.1 - step],
            [0.25, 0.5, 0.25],
            [0.6, 0.2, 0.1],
            [math.nan, 0.2, 0.1],
        ],
        dtype=torch.float64,
    )
    expected = [True, True, False, False, False, False, False]
    assert conforming_set.contains(rows.log().to(dtype)).tolist() == expected
    assert conforming_set.contains(rows.log().to(dtype).reshape(7, 1, 3)).shape == (7, 1)


def test_two_zero_weights_are_in_order() -> None:
    conforming_set = ConformingSet(3, order=CHAIN, order_margin=0.5)
    assert conforming_set.contains(torch.tensor([0.0, -math.inf, -math.inf])).item()
    assert not conforming_set.contains(torch.tensor([-math.inf, 0.0, -math.inf])).item()


def test_contains_refuses_other_teachers() -> None:
    with pytest.raises(InputError, match="3 teachers"):
        ConformingSet(3).contains(torch.zeros(2))


def test_it_prints_as_a_formula() -> None:
    assert str(ConformingSet(3, 0.05, 0.9, Order(((0,), (1, 2))), 0.5)) == (
        "C(0.05 ≤ w ≤ 0.9, order 0>1=2, margin 0.5 nats)"
    )
    assert str(ConformingSet(2)) == "C(0 ≤ w ≤ 1)"
