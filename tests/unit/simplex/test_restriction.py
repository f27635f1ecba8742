"""Restriction to the serving teachers keeps ratios, and with them influence, regularity, order, floor; not the cap."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from trivium.errors import InfeasibleError, InputError
from trivium.simplex import ConformingSet, Order, conforming_projection, hilbert, influence, restrict
from trivium.simplex.restriction import stand_ins


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Two weight vectors of K teachers, wide scales and ties among them, and a set that is not empty."""
    k = draw(st.integers(1, 6))
    scores = st.lists(st.sampled_from([0.0, 1.0, -3.0, 20.0]) | st.floats(-30, 30), min_size=k, max_size=k)
    teacher_mask = draw(st.lists(st.booleans(), min_size=k, max_size=k).filter(any))
    u, v = (torch.tensor(draw(scores), dtype=torch.float64).log_softmax(-1) for _ in range(2))
    return u, v, torch.tensor(teacher_mask)


@given(cases())
@example((torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), torch.tensor([True])))
def test_it_is_division_by_the_sum_over_those_that_serve(case: tuple[Tensor, Tensor, Tensor]) -> None:
    u, _, teacher_mask = case
    total = math.fsum(math.exp(x) for x, s in zip(u.tolist(), teacher_mask.tolist(), strict=True) if s)
    expected = [math.exp(x) / total if s else 0.0 for x, s in zip(u.tolist(), teacher_mask.tolist(), strict=True)]
    assert restrict(u, teacher_mask).exp().tolist() == pytest.approx(expected, rel=1e-9)


@given(cases())
def test_gaps_influence_distance_and_floor_are_kept(case: tuple[Tensor, Tensor, Tensor]) -> None:
    u, v, teacher_mask = case
    ru, rv = restrict(u, teacher_mask)[teacher_mask], restrict(v, teacher_mask)[teacher_mask]
    gaps, kept = u[teacher_mask].unsqueeze(0) - u[teacher_mask].unsqueeze(1), ru.unsqueeze(0) - ru.unsqueeze(1)
    torch.testing.assert_close(kept, gaps, rtol=0, atol=1e-9)  # so W-S and its margin hold as they did
    assert float(influence(ru)) <= float(influence(u)) + 1e-9
    assert float(hilbert(ru, rv)) <= float(hilbert(u, v)) + 1e-9
    assert bool((ru >= u[teacher_mask] - 1e-12).all())  # each weight rises, so does the least


def test_the_floor_rises_strictly_where_an_absent_teacher_had_weight() -> None:
    found = restrict(torch.tensor([0.2, 0.3, 0.5]).log(), torch.tensor([True, True, False])).exp()
    assert float(found[0]) == pytest.approx(0.4)


@example(2, 1, 0.1, [0.0] * 6)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.01, 0.1), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_a_cap_becomes_b_over_b_and_the_others_floors(m: int, absent: int, a: float, at: list[float]) -> None:
    """No weights in [a, b] exceed the bound, and those with one at b and the others at a attain it."""
    k, b = m + absent, 0.6
    teacher_mask = torch.arange(k) < m
    share = [a + (b - a) * x for x in at[:m]]
    rest = 1.0 - math.fsum(share)
    bound = b / (b + (m - 1) * a)
    if absent * a <= rest <= absent * b:
        w = torch.tensor(share + [rest / absent] * absent, dtype=torch.float64)
        assert float(restrict(w.log(), teacher_mask).exp().max()) <= bound + 1e-12
    left = (1.0 - b - (m - 1) * a) / absent
    if a <= left <= b:
        extreme = torch.tensor([b, *[a] * (m - 1), *[left] * absent], dtype=torch.float64)
        assert float(extreme.sum()) == pytest.approx(1.0)
        assert float(restrict(extreme.log(), teacher_mask).exp().max()) == pytest.approx(bound, rel=1e-12)


def test_rows_have_sets_of_their_own_and_dtype_is_kept() -> None:
    w = torch.full((2, 1, 3), 1 / 3).log()
    found = restrict(w, torch.tensor([[True, True, True], [False, True, False]]).unsqueeze(1))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().squeeze(1), torch.tensor([[1 / 3] * 3, [0.0, 1.0, 0.0]]))


def test_a_row_without_a_teacher_is_refused_and_one_without_weight_is_nan() -> None:
    with pytest.raises(InputError, match="every row must have a teacher that serves it"):
        restrict(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]))
    hard = torch.tensor([1.0, 0.0]).log()
    assert bool(restrict(hard, torch.tensor([False, True])).isnan().any())


@given(cases())
def test_a_stand_in_serves_and_is_oneself_where_one_serves(case: tuple[Tensor, Tensor, Tensor]) -> None:
    _, _, teacher_mask = case
    found = stand_ins(teacher_mask.unsqueeze(0))[0].tolist()
    first = teacher_mask.tolist().index(True)
    assert found == [k if s else first for k, s in enumerate(teacher_mask.tolist())]


@st.composite
def feasible(draw: st.DrawFn) -> tuple[ConformingSet, Tensor, list[int]]:
    """A conforming set with an element of it, and some of its teachers."""
    k = draw(st.integers(1, 6))
    present = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k, unique=True).map(sorted))
    floor, cap = draw(st.floats(0, 1)) / (2 * k), 1 / k + draw(st.floats(0.01, 1)) * (1 - 1 / k)
    tiers = draw(st.permutations(range(k)))
    cut = draw(st.integers(0, k))
    order = Order(tuple(tuple(tier) for tier in (tiers[:cut], tiers[cut:]) if tier)) if draw(st.booleans()) else None
    margin = 0.0 if order is None else draw(st.sampled_from([0.0, 0.01]))
    try:
        found = ConformingSet(k, floor, cap, order, margin)
    except InfeasibleError:
        found = ConformingSet(k, 0.0, 1.0, order, margin)
    scores = torch.tensor(draw(st.lists(st.floats(-8, 8), min_size=k, max_size=k)), dtype=torch.float64)
    return found, conforming_projection(scores.log_softmax(-1), found), present


@given(feasible())
def test_restriction_maps_a_conforming_set_into_that_of_the_serving_teachers(
    case: tuple[ConformingSet, Tensor, list[int]],
) -> None:
    conforming, w, present = case
    among = conforming.among(present)
    assert among.num_teachers == len(present)
    teacher_mask = torch.tensor([k in present for k in range(conforming.num_teachers)])
    assert bool(among.contains(restrict(w, teacher_mask)[present]))


def test_the_order_among_some_keeps_their_tiers() -> None:
    order = Order.parse("d > a = c > b", ["a", "b", "c", "d"])
    assert list(order.among([0, 1, 3]).pairs()) == [(2, 0), (2, 1), (0, 1)]
    assert order.among([2]).tiers == ((0,),)
    assert ConformingSet(4, 0.1, 0.5, order, 0.2).among([1, 2]) == ConformingSet(
        2, 0.1, 0.5 / 0.6, Order(((1,), (0,))), 0.2
    )
