"""S1, S2, S3, S6, the I-projection and feasibility against linear programs and a conic solver."""

import math

import numpy as np
import pytest
import torch

from reference import safety as reference
from trivium.errors import InfeasibleError, InputError
from trivium.safety import (
    attacked_mass,
    binary_kl,
    feasibility,
    largest_mass,
    least_mass,
    order_holds,
    safe_projection,
    student_mass,
    uniform_mass,
)
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection


def random_set(draw: np.random.Generator) -> ConformingSet:
    """Floor, cap, order with ties and margin at random, never empty."""
    num_teachers = int(draw.integers(1, 6))
    tiers, margin = None, 0.0
    if draw.random() < 0.7:
        level = draw.integers(0, 3, num_teachers)
        tiers = tuple(tuple(np.flatnonzero(level == n).tolist()) for n in range(3) if (level == n).any())
        margin = float(draw.choice([0.0, 0.3, 1.5]))
    order = None if tiers is None else Order(tiers)
    whole = ConformingSet(num_teachers, order=order, order_margin=margin)
    inside = whole.element().exp()
    floor = float(draw.choice([0.0, 0.5, 1.0])) * float(inside.min())
    cap = 1 - float(draw.choice([0.0, 0.5, 1.0])) * (1 - float(inside.max()))
    return ConformingSet(num_teachers, floor * (1 - 1e-9), min(1.0, cap * (1 + 1e-9)), order, margin)


def check_extremes(cases: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(cases):
        goal = random_set(draw)
        u = draw.random(goal.num_teachers) ** 3
        tiers = None if goal.order is None else goal.order.tiers
        arguments = (u, goal.floor, goal.cap, tiers, goal.order_margin)
        rows = torch.from_numpy(u).unsqueeze(0)
        assert float(largest_mass(rows, goal)) == pytest.approx(reference.extreme_mass(*arguments, 1.0), abs=1e-7), goal
        assert float(least_mass(rows, goal)) == pytest.approx(reference.extreme_mass(*arguments, -1.0), abs=1e-7), goal


def check_projection(cases: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(cases):
        q = draw.dirichlet(np.full(6, 0.7)) + 1e-4
        q /= q.sum()
        unsafe = np.zeros(6, dtype=bool)
        unsafe[: draw.integers(1, 5)] = True
        limit = float(draw.choice([0.02, 0.2, 0.6]))
        rows = torch.from_numpy(q).log().unsqueeze(0)
        y = safe_projection(rows, torch.from_numpy(unsafe).unsqueeze(0), limit).exp()[0]
        np.testing.assert_allclose(y.numpy(), reference.safe_projection(q, unsafe, limit), atol=2e-4, rtol=0)


def test_the_most_and_the_least_are_those_of_a_linear_program() -> None:
    check_extremes(60, 0)


@pytest.mark.deep
def test_the_most_and_the_least_are_those_of_a_linear_program_in_2000_cases() -> None:
    check_extremes(2000, 1)


def test_the_projection_is_that_of_a_conic_solver() -> None:
    check_projection(8, 0)


@pytest.mark.deep
def test_the_projection_is_that_of_a_conic_solver_in_300_cases() -> None:
    check_projection(300, 1)


def test_no_weights_exceed_s2_and_the_bound_is_attained() -> None:
    torch.manual_seed(0)
    goal = ConformingSet(4, 0.05, 0.6, Order(((0,), (1, 2), (3,))), 0.2)
    u = torch.rand(500, 4, dtype=torch.float64)
    w = conforming_projection(4 * torch.randn(500, 4, dtype=torch.float64), goal).exp()
    assert bool(((w * u).sum(-1) <= largest_mass(u, goal) + 1e-9).all())
    assert bool(((w * u).sum(-1) >= least_mass(u, goal) - 1e-9).all())


def test_s1_holds_where_the_order_does_and_fails_where_it_does_not() -> None:
    """Its premise matters: S1 is asked where it holds, and one position where it does not breaks it."""
    torch.manual_seed(1)
    order = Order(((0,), (1,), (2,)))
    u = torch.rand(2000, 3, dtype=torch.float64)
    w = conforming_projection(4 * torch.randn(2000, 3, dtype=torch.float64), ConformingSet(3, order=order)).exp()
    q, holds = (w * u).sum(-1), order_holds(u, order)
    assert 0.1 < holds.double().mean() < 0.3
    assert bool((q[holds] <= uniform_mass(u)[holds] + 1e-9).all())
    assert bool((q[~holds] > uniform_mass(u)[~holds]).any())


def test_averaged_masses_would_be_a_false_bound() -> None:
    """Two positions, each with one unsafe teacher: weights that follow it put all on U, averages say one half."""
    u = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    goal = ConformingSet(2)
    assert float(largest_mass(u, goal).mean()) == 1.0
    assert float(largest_mass(u.mean(0, keepdim=True), goal)) == pytest.approx(0.5)


def test_s6_holds_whatever_an_adversary_does_to_the_weights() -> None:
    torch.manual_seed(2)
    for goal in (ConformingSet(3, 0.1, 0.7), ConformingSet(3, 0.05, 0.9, Order(((0,), (1,), (2,))), 0.4)):
        u = torch.rand(500, 3, dtype=torch.float64) * torch.tensor([0.1, 0.1, 1.0])
        w = conforming_projection(6 * torch.randn(500, 3, dtype=torch.float64), goal).exp()
        bound = attacked_mass(u, goal, [2])
        assert bool(((w * u).sum(-1) <= bound + 1e-9).all())
    plain = attacked_mass(torch.zeros(1, 3), ConformingSet(3, 0.1, 0.7), [2])
    assert float(plain) == pytest.approx(min(0.7, 1 - 2 * 0.1))
    with pytest.raises(InputError, match="honest"):
        attacked_mass(u, goal, [0, 1, 2])


def test_s3_bounds_every_student_and_is_attained() -> None:
    torch.manual_seed(3)
    q, p = torch.rand(300, 5).double().softmax(-1), (3 * torch.randn(300, 5).double()).softmax(-1)
    kl = (q * (q / p).log()).sum(-1)
    bound = student_mass(q[:, 0], kl)
    assert bool((p[:, 0] <= bound + 1e-9).all())
    two = student_mass(torch.tensor([0.2]), binary_kl(torch.tensor([0.2]), torch.tensor([0.35])))
    assert float(two) == pytest.approx(0.35, abs=1e-7)
    assert float(student_mass(torch.tensor([0.1]), torch.tensor([torch.nan]))) == 1.0
    assert bool((bound <= q[:, 0] + (kl / 2).sqrt() + 1e-9).all())  # Pinsker is looser


def test_a_projection_keeps_safe_rows_and_ratios_on_both_sides() -> None:
    log_q = torch.tensor([[0.5, 0.2, 0.3], [0.01, 0.01, 0.98]]).log()
    unsafe = torch.tensor([[True, True, False]] * 2)
    y = safe_projection(log_q, unsafe, 0.07).exp()
    torch.testing.assert_close(y, torch.tensor([[0.05, 0.02, 0.93], [0.01, 0.01, 0.98]]))
    assert bool(safe_projection(log_q, unsafe, 0.0).exp()[:, :2].eq(0).all())
    with pytest.raises(InputError, match="beside its unsafe set"):
        safe_projection(torch.tensor([[0.0, -math.inf]]), torch.tensor([[True, False]]), 0.5)


def test_a_limit_below_what_a_floor_forces_names_the_least_relaxation() -> None:
    u = torch.tensor([[0.0, 0.3], [0.0, 0.1]], dtype=torch.float64)
    goal = ConformingSet(2, floor=0.25)
    found = feasibility(u, goal, 0.03)
    assert found.least == pytest.approx(0.05)
    assert found.relaxations == ("Raise the limit to 0.05", "lower the floor to 0.15")
    with pytest.raises(
        InfeasibleError, match=r"0\.03; received 0\.05 .* Raise the limit to 0\.05; or lower the floor to 0\.15"
    ):
        found.require()
    assert feasibility(u, ConformingSet(2, floor=0.15), 0.03).holds
    assert feasibility(u, goal, 0.05).holds
    capped = feasibility(u, ConformingSet(2, cap=0.6), 0.02)
    assert capped.relaxations[1] == "raise the cap to 0.9"
    uniform = feasibility(u, ConformingSet(2, 0.5), 0.05)
    assert uniform.least == pytest.approx(0.1)


@pytest.mark.deep
def test_feasibility_is_that_of_a_linear_program_in_300_cases() -> None:
    draw = np.random.default_rng(5)
    decided = []
    for _ in range(300):
        goal = random_set(draw)
        u = draw.random((4, goal.num_teachers)) ** 2
        tiers = None if goal.order is None else goal.order.tiers
        least = np.mean(
            [reference.extreme_mass(row, goal.floor, goal.cap, tiers, goal.order_margin, -1.0) for row in u]
        )
        limit = float(draw.choice([0.8, 1.2])) * least
        found = feasibility(torch.from_numpy(u), goal, limit)
        assert found.holds == (least <= limit)
        decided.append(found.holds)
    assert 100 < sum(decided) < 200
