"""Weights of the shortest mean: against a general solver, by its optimality conditions, and at ties and edges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference.gradients import least_norm
from trivium.errors import InfeasibleError, InputError
from trivium.simplex.min_norm import min_norm_weights

EPS = torch.finfo(torch.float64).eps


def draw(num_teachers: int, width: int, seed: int, spread: float = 0.0) -> Tensor:
    """Gradients [K, P] whose lengths differ by up to e^spread."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_teachers, width, generator=generator, dtype=torch.float64)
    return rows * (spread * torch.rand(num_teachers, 1, generator=generator, dtype=torch.float64)).exp()


def breach(gram: Tensor, alpha: Tensor, cap: float) -> float:
    """How far the conditions of optimality are missed, in units of max_k G_kk."""
    slopes = gram @ alpha
    free = (alpha > 0) & (alpha < cap)
    lower = torch.where(alpha < cap, slopes, torch.inf).min()  # may grow
    upper = torch.where(alpha > 0, slopes, -torch.inf).max()  # may shrink
    assert bool(free.any()) or teachers_at_bounds(alpha, cap)
    return float((upper - lower) / gram.diagonal().max().clamp_min(1e-300))


def teachers_at_bounds(alpha: Tensor, cap: float) -> bool:
    return bool(((alpha == 0) | (alpha == cap)).all())


@pytest.mark.parametrize("cap", [1.0, 0.6, 0.3])
@pytest.mark.parametrize(("num_teachers", "width"), [(2, 5), (3, 1), (4, 2), (5, 9), (8, 3), (16, 20)])
def test_a_general_solver_finds_no_shorter_mean(num_teachers: int, width: int, cap: float) -> None:
    if num_teachers * cap < 1:
        pytest.skip("nothing to find")
    for seed in range(6):
        g = draw(num_teachers, width, seed, spread=3.0 * (seed % 2))
        alpha = min_norm_weights(g @ g.T, cap)
        other, least = least_norm(g.numpy(), cap)
        size = float(g.square().sum(-1).max())
        assert float((alpha @ g).square().sum()) <= least + 1e-9 * size
        if width >= num_teachers and seed % 2 == 0:  # independent, so there is one minimizer
            assert alpha.tolist() == pytest.approx(other.tolist(), abs=1e-5)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6), st.floats(0, 12), st.sampled_from([1.0, 0.6, 0.35]))
def test_every_answer_is_feasible_and_optimal(k: int, width: int, seed: int, spread: float, cap: float) -> None:
    if k * cap < 1:
        return
    g = draw(k, width, seed, spread)
    if seed % 3 == 0:
        g[-1] = g[0]  # ties
    if seed % 5 == 0:
        g[0] = 0.0
    gram = g @ g.T
    alpha = min_norm_weights(gram, cap)
    assert float(alpha.min()) >= 0.0
    assert float(alpha.max()) <= cap
    assert float(alpha.sum()) == pytest.approx(1.0, abs=8 * k * EPS)
    assert breach(gram, alpha, cap) <= 32 * k**2 * EPS
    if cap == 1.0:  # no gradient is opposed to the mean
        assert float((gram @ alpha).min()) >= -16 * k**2 * EPS * float(gram.diagonal().max())


def test_two_gradients_have_the_textbook_answer() -> None:
    # α₁ = ⟨g₂ − g₁, g₂⟩/‖g₁ − g₂‖², clipped
    for g1, g2 in (([2.0, 0.0], [0.0, 1.0]), ([1.0, 1.0], [3.0, 2.0]), ([1.0, 0.0], [-2.0, 0.1])):
        a, b = torch.tensor(g1, dtype=torch.float64), torch.tensor(g2, dtype=torch.float64)
        expected = float(((b - a) @ b / (a - b).square().sum()).clamp(0, 1))
        g = torch.stack([a, b])
        assert float(min_norm_weights(g @ g.T)[0]) == pytest.approx(expected, abs=1e-14)


def test_equal_gradients_and_none_share_evenly() -> None:
    assert min_norm_weights(torch.ones(3, 3)).tolist() == pytest.approx([1 / 3] * 3, abs=1e-15)
    assert min_norm_weights(torch.zeros(4, 4)).tolist() == [0.25] * 4
    assert min_norm_weights(torch.tensor([[5.0]])).tolist() == [1.0]


def test_near_equal_gradients_make_the_weights_jump() -> None:
    g = torch.tensor([[1.0, 0.0], [1.0 + 1e-6, 1e-9]], dtype=torch.float64)
    there, back = min_norm_weights(g @ g.T), min_norm_weights(g.flip(0) @ g.flip(0).T)
    assert there.tolist() == [1.0, 0.0]
    assert back.tolist() == [0.0, 1.0]


def test_a_row_does_not_depend_on_its_batch() -> None:
    g = torch.randn(64, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = g @ g.mT
    whole = min_norm_weights(gram, 0.6)
    for row in (0, 17, 63):
        assert torch.equal(min_norm_weights(gram[row], 0.6), whole[row])
    assert torch.equal(min_norm_weights(gram.view(4, 16, 3, 3), 0.6).view(64, 3), whole)


def test_teachers_may_change_places() -> None:
    g = draw(5, 3, 3)
    order = torch.tensor([3, 1, 4, 0, 2])
    alpha = min_norm_weights(g @ g.T, 0.4)
    assert min_norm_weights(g[order] @ g[order].T, 0.4).tolist() == pytest.approx(alpha[order].tolist(), abs=1e-9)


def test_a_cap_of_one_over_k_leaves_the_uniform_vector() -> None:
    g = draw(4, 6, 0)
    assert min_norm_weights(g @ g.T, 0.25).tolist() == [0.25] * 4
    assert min_norm_weights(g[:3] @ g[:3].T, 1 / 3).tolist() == pytest.approx([1 / 3] * 3)


def test_a_cap_too_small_is_refused_with_the_least_that_is_not() -> None:
    with pytest.raises(InfeasibleError, match=r"at least 0\.3333"):
        min_norm_weights(torch.eye(3), 0.3)


@pytest.mark.parametrize("gram", [torch.zeros(2, 3), torch.tensor([[torch.nan]]), torch.zeros(3)])
def test_what_is_no_gram_matrix_is_refused(gram: Tensor) -> None:
    with pytest.raises(InputError):
        min_norm_weights(gram)
