from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reference.log_weights import orders, scores
from reference.projection import isotonic_by_quadratic_program, nearest_conforming, objective
from trivium.errors import InputError
from trivium.simplex import ConformingSet, Order, hilbert, influence, log_normalize
from trivium.simplex.isotonic import isotonic_regression
from trivium.simplex.projection import ZERO_DEPTH, conforming_projection


def conforming_sets(num_teachers: int) -> st.SearchStrategy[ConformingSet]:
    """Feasible sets: floor and cap are stated as shares of what T1 allows, from slack to a single point."""

    def build(tiers: tuple[tuple[int, ...], ...], margin: float, low: float, high: float, free: bool) -> ConformingSet:
        order = None if free else Order(tiers)
        margin = 0.0 if free else margin
        centre = ConformingSet(num_teachers, order=order, order_margin=margin).element().exp()
        largest_floor, smallest_cap = centre.min().item(), centre.max().item()
        return ConformingSet(
            num_teachers, low * largest_floor, smallest_cap + (1 - high) * (1 - smallest_cap), order, margin
        )

    share = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)
    return st.builds(build, orders(num_teachers), st.sampled_from([0.0, 0.2, 1.5]), share, share, st.booleans())


CASES = st.integers(1, 6).flatmap(lambda k: st.tuples(conforming_sets(k), scores(k, zeros=True), scores(k)))


def rows(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


CHAIN = ConformingSet(3, 0.05, 0.8, Order(((0,), (1,), (2,))), 0.3)


@given(CASES)
@example((CHAIN, [-math.inf, -math.inf, 0.0], [0.0, 0.0, 0.0]))
@example((ConformingSet(2), [0.0, -math.inf], [0.0, 0.0]))
def test_it_lands_in_the_set_stays_there_and_keeps_members(
    case: tuple[ConformingSet, list[float], list[float]],
) -> None:
    conforming_set, values, _ = case
    projected = conforming_projection(rows(values), conforming_set)
    assert projected.isfinite().all()
    assert conforming_set.contains(projected).item()
    again = conforming_projection(projected, conforming_set)
    if influence(projected) <= ZERO_DEPTH:
        assert hilbert(again, projected) <= 1e-11
    else:  # a weight that counts as zero may move, by less than e^-700
        assert (again.exp() - projected.exp()).abs().max() <= 1e-15
    member = conforming_set.element()
    assert hilbert(conforming_projection(member, conforming_set), member) <= 1e-11


def test_a_weight_of_e_to_the_minus_600_is_a_weight() -> None:
    """Catches a depth of zero weights that is less than promised; the other tests ask the depth itself."""
    log_w = rows([0.0, -600.0, -690.0]).log_softmax(-1)
    assert hilbert(conforming_projection(log_w, ConformingSet(3)), log_w) <= 1e-11


@given(CASES)
def test_it_is_non_expansive(case: tuple[ConformingSet, list[float], list[float]]) -> None:
    conforming_set, values, others = case
    u, v = rows([max(value, -600.0) for value in values]), rows(others)
    near = u + torch.linspace(-1e-3, 1e-3, len(values), dtype=torch.float64)
    for other in (v, near):
        moved = hilbert(conforming_projection(u, conforming_set), conforming_projection(other, conforming_set))
        assert moved <= hilbert(u, other) + 1e-10


@given(CASES)
def test_it_keeps_the_order_of_teachers_that_are_equally_safe(
    case: tuple[ConformingSet, list[float], list[float]],
) -> None:
    conforming_set, values, _ = case
    projected, ranks = conforming_projection(rows(values), conforming_set), conforming_set.ranks
    for j in range(len(values)):
        for k in range(len(values)):
            if values[j] >= values[k] and ranks[j] >= ranks[k]:
                assert projected[j] >= projected[k] - 1e-12


def random_case(seed: int) -> tuple[torch.Tensor, ConformingSet]:
    random = np.random.default_rng(seed)
    num_teachers = int(random.integers(1, 7))
    levels = random.integers(0, num_teachers, num_teachers)
    order = Order(tuple(tuple(np.flatnonzero(levels == level).tolist()) for level in np.unique(levels)))
    margin = float(random.choice([0.0, 0.1, 0.7]))
    if seed % 3 == 0:
        order, margin = None, 0.0
    centre = ConformingSet(num_teachers, order=order, order_margin=margin).element().exp()
    floor = float(random.choice([0.0, 0.2, 0.7, 0.95])) * centre.min().item()
    cap = centre.max().item() + float(random.choice([1.0, 0.5, 0.1])) * (1 - centre.max().item())
    log_w = log_normalize(torch.tensor(random.normal(0, random.choice([0.5, 2.0, 4.0]), num_teachers)))
    if seed % 5 == 0:
        log_w = log_normalize(log_w.round())  # ties
    return log_w, ConformingSet(num_teachers, floor, cap, order, margin)


@pytest.mark.parametrize("seed", range(60))
def test_it_is_the_minimizer_a_general_solver_finds(seed: int) -> None:
    log_w, conforming_set = random_case(seed)
    w = log_w.exp().tolist()
    tiers = conforming_set.order.tiers if conforming_set.order else ()
    found = nearest_conforming(w, conforming_set.floor, conforming_set.cap, tiers, conforming_set.order_margin)
    ours = conforming_projection(log_w, conforming_set).exp().numpy()
    assert conforming_set.contains(torch.tensor(ours).log()).item()
    assert np.abs(ours - found).max() < 2e-5
    assert objective(ours, w) <= objective(found, w) + 1e-8


def test_clipping_and_renormalizing_is_something_else() -> None:
    w = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64)
    clipped = w.clamp(0.1, 0.5)
    assert (clipped / clipped.sum()).max().item() == pytest.approx(0.714, abs=5e-4)
    projected = conforming_projection(w.log(), ConformingSet(3, floor=0.1, cap=0.5)).exp()
    assert projected.tolist() == pytest.approx([0.5, 0.25, 0.25])


def test_a_zero_weight_is_the_limit_of_small_ones() -> None:
    for conforming_set in (CHAIN, ConformingSet(3, 0.05, 0.8)):
        for zeros in ([0.0, -math.inf, -1.0], [-math.inf, 0.0, -math.inf]):
            small = rows([max(value, -300.0) for value in zeros])
            exact = conforming_projection(rows(zeros), conforming_set)
            assert torch.allclose(exact, conforming_projection(small, conforming_set), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("conforming_set", [CHAIN, ConformingSet(3, 0.05, 0.8)], ids=str)
def test_batches_equal_rows_in_every_dtype(dtype: torch.dtype, conforming_set: ConformingSet) -> None:
    log_w = (5 * torch.randn(4, 7, 3)).to(dtype)
    projected = conforming_projection(log_w, conforming_set)
    assert projected.dtype == dtype
    assert conforming_set.contains(projected).all()
    one_by_one = [conforming_projection(row, conforming_set) for row in log_w.reshape(-1, 3)]
    assert torch.equal(projected.reshape(-1, 3), torch.stack(one_by_one))


def test_many_teachers_are_handled_in_pieces() -> None:
    conforming_set = ConformingSet(150, 1e-4, 0.1, Order(tuple((k,) for k in range(150))), 0.01)
    projected = conforming_projection(5 * torch.randn(120, 150, dtype=torch.float64), conforming_set)
    assert conforming_set.contains(projected).all()


def test_an_empty_batch_stays_empty() -> None:
    assert conforming_projection(torch.zeros(0, 3), CHAIN).shape == (0, 3)


@pytest.mark.parametrize("bad", [[math.nan, 0.0, 0.0], [math.inf, 0.0, 0.0], [-math.inf] * 3])
def test_unusable_weights_are_refused(bad: list[float]) -> None:
    with pytest.raises(InputError, match="no NaN"):
        conforming_projection(torch.tensor([[0.0, 0.0, 0.0], bad]), CHAIN)
    with pytest.raises(InputError, match="3 teachers"):
        conforming_projection(torch.zeros(2), CHAIN)


def test_it_takes_a_few_milliseconds_for_a_batch_of_tokens() -> None:
    log_w = torch.randn(2048, 3)
    conforming_projection(log_w, CHAIN)
    started = []
    for _ in range(5):
        start = time.perf_counter()
        conforming_projection(log_w, CHAIN)
        started.append(time.perf_counter() - start)
    assert min(started) < 0.05  # about 2.5 ms on an idle core; the limit is for a loaded machine


@pytest.mark.parametrize("seed", range(12))
def test_isotonic_regression_agrees_with_a_quadratic_program(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 9))
    x, weights = random.normal(0, 2, count), np.exp(random.normal(0, 2, count))
    if seed % 2:
        x = x.round()
    ours = isotonic_regression(torch.tensor(x), torch.tensor(weights))
    assert np.abs(ours.numpy() - isotonic_by_quadratic_program(x, weights)).max() < 1e-4


def test_isotonic_regression_pools_and_is_exactly_monotone() -> None:
    x = torch.randn(300, 20, dtype=torch.float64) * 10
    weights = torch.exp(torch.linspace(0, 300, 20, dtype=torch.float64))
    fitted = isotonic_regression(x, weights)
    assert (fitted.diff(dim=-1) >= 0).all()
    assert torch.allclose((fitted * weights).sum(-1), (x * weights).sum(-1))  # means are kept
    ascending = x.sort(dim=-1).values
    assert torch.equal(isotonic_regression(torch.cat([ascending, x]), weights)[:300], ascending)
