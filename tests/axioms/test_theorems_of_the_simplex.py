"""T0–T6 of the framework: each bound holds for random operators and is attained by an instance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.log_weights import scores
from trivium.axioms import BoundedInfluence, OrdinalSafety
from trivium.scheme import Product
from trivium.simplex import (
    ConformingSet,
    Order,
    hilbert,
    influence,
    influence_to_range,
    log_normalize,
    total_variation,
    tv_of_hilbert,
)
from trivium.simplex.constants import bounded, fixed
from trivium.simplex.projection import conforming_projection

CHAIN = Order(((0,), (1,), (2,)))
TRIPLES = st.integers(1, 5).flatmap(lambda k: st.tuples(*(scores(k) for _ in range(4))))


def logs(*w: float) -> torch.Tensor:
    return torch.tensor(w, dtype=torch.float64).log()


def compose(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return log_normalize(u + v)


def test_t0_the_cap_follows_from_the_floor() -> None:
    """W-N and a floor a give max w ≤ 1 − (K − 1)a, so a cap of that size or more is implied."""
    floor = 0.1
    w = floor + (1 - 3 * floor) * torch.distributions.Dirichlet(torch.full((3,), 0.1)).sample((2000,)).double()
    assert (BoundedInfluence(floor, 1 - 2 * floor).residual(w.log()) <= 1e-6).all()
    assert (w.amax(dim=-1) - (1 - 2 * floor)).max() > -1e-3  # attained


@given(TRIPLES)
def test_t2_the_product_is_a_commutative_group(rows: tuple[list[float], ...]) -> None:
    u, v, t = (log_normalize(torch.tensor(row, dtype=torch.float64)) for row in rows[:3])
    uniform = torch.zeros_like(u)
    assert torch.equal(compose(u, v), compose(v, u))
    assert hilbert(compose(compose(u, v), t), compose(u, compose(v, t))) < 1e-9
    assert hilbert(compose(u, uniform), u) < 1e-9
    assert influence(compose(u, -u)) < 1e-9
    assert hilbert(log_normalize(2.0 * u), compose(u, u)) < 1e-9


@given(TRIPLES)
def test_t3_and_t4_influence_and_regularity_add(rows: tuple[list[float], ...]) -> None:
    u, v, u2, v2 = (log_normalize(torch.tensor(row, dtype=torch.float64)) for row in rows)
    assert influence(compose(u, v)) <= influence(u) + influence(v) + 1e-9
    assert hilbert(compose(u, v), compose(u2, v2)) <= hilbert(u, u2) + hilbert(v, v2) + 1e-9
    for first, second in ((u, v), (u, u2)):
        assert total_variation(first, second) <= tv_of_hilbert(hilbert(first, second)) + 1e-12
    floor, cap = influence_to_range(influence(u).item(), len(rows[0]))
    assert floor - 1e-12 <= u.exp().min()
    assert u.exp().max() <= cap + 1e-12


def test_t3_is_attained_and_floors_do_not_survive_the_product() -> None:
    scale = logs(0.8, 0.1, 0.1)
    both = compose(scale, scale)
    assert influence(both).item() == pytest.approx(2 * influence(scale).item())
    thrice = compose(both, scale)
    assert thrice.exp().max().item() == pytest.approx(0.996, abs=5e-4)
    constants = Product.constants([fixed(scale)] * 3)
    assert constants.cap == pytest.approx(thrice.exp().max().item())
    assert influence_to_range(influence(thrice).item(), 3)[1] == pytest.approx(thrice.exp().max().item())


@pytest.mark.parametrize("distance", [0.1, 1.0, 6.0])
def test_t4_is_attained(distance: float) -> None:
    u = log_normalize(torch.tensor([distance / 4, -distance / 4], dtype=torch.float64))
    v = u.flip(0)
    assert hilbert(u, v).item() == pytest.approx(distance)
    assert total_variation(u, v).item() == pytest.approx(tv_of_hilbert(distance))


def test_t5_a_margin_at_one_scale_is_spent_by_another() -> None:
    disordered, ordered = logs(0.2, 0.6, 0.2), logs(0.5, 0.3, 0.2)
    result = compose(disordered, ordered)
    assert result.exp().tolist() == pytest.approx([0.3125, 0.5625, 0.125])
    axiom = OrdinalSafety(CHAIN)
    assert axiom.holds(axiom.residual(ordered), num_teachers=3).item()
    assert not axiom.holds(axiom.residual(result), num_teachers=3).item()
    assert Product.constants([fixed(disordered), fixed(ordered)]).order_margin(CHAIN) < 0


@pytest.mark.parametrize("surplus", [1e-6, -1e-6])
def test_t5_the_product_is_ordered_iff_the_margin_covers_the_influence(surplus: float) -> None:
    margin, beta = 1.2, 1.2 - surplus
    ordered = ConformingSet(3, order=CHAIN, order_margin=margin).element()
    against = torch.tensor([-beta, 0.0, 0.0], dtype=torch.float64)
    axiom = OrdinalSafety(CHAIN)
    assert axiom.holds(axiom.residual(compose(ordered, against)), num_teachers=3).item() == (surplus > 0)
    assert (Product.constants([fixed(ordered), bounded(3, beta, {})]).order_margin(CHAIN) >= -1e-12) == (surplus > 0)


@given(st.tuples(scores(3), scores(3)))
def test_t5_weakly_ordered_scales_have_an_ordered_product(rows: tuple[list[float], list[float]]) -> None:
    u, v = (torch.tensor(sorted(row, reverse=True), dtype=torch.float64) for row in rows)
    axiom = OrdinalSafety(CHAIN)
    assert axiom.holds(axiom.residual(compose(u, v)), num_teachers=3).item()


def test_t6_repairs_an_operator_without_spoiling_its_constant() -> None:
    """Softmax of 4·x has L = 4·2 in the sup metric of x (attained by opposite steps); after Π it is no larger."""
    conforming_set = ConformingSet(3, 0.05, 0.8, CHAIN, 0.1)
    x = torch.randn(500, 3, dtype=torch.float64)
    step = 1e-3 * torch.randn(500, 3, dtype=torch.float64).sign()
    before, after = (conforming_projection(log_normalize(4 * point), conforming_set) for point in (x, x + step))
    moved = hilbert(before, after)
    assert conforming_set.contains(before).all()
    assert (moved <= 8 * 1e-3 + 1e-12).all()
    assert moved.max() > 4 * 1e-3  # it does move: Π is not a constant


def test_t6_clipping_alone_loses_the_constant_of_normalized_weights() -> None:
    """Clip-and-renormalize leaves the set; Π lands in it. The pair of T6."""
    w = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64)
    clipped = w.clamp(0.1, 0.5)
    axiom = BoundedInfluence(0.1, 0.5)
    assert axiom.residual((clipped / clipped.sum()).log()).item() == pytest.approx(0.714 - 0.5, abs=5e-4)
    assert axiom.holds(axiom.residual(conforming_projection(w.log(), ConformingSet(3, 0.1, 0.5))), 3).item()
    assert math.isclose(conforming_projection(w.log(), ConformingSet(3, 0.1, 0.5)).exp().max().item(), 0.5)
