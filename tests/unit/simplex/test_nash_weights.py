"""Nash's bargain: its equation, its edges, and that a row does not depend on its batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trivium.errors import InputError
from trivium.simplex.nash import most_influence, nash_weights, ridge


def vectors(count: int, num_teachers: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, num_teachers, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("num_teachers", "width"), [(1, 1), (2, 1), (2, 3), (3, 1), (3, 2), (3, 8), (8, 4), (16, 3)])
@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1.0, 1e3])
def test_no_vector_is_opposed_to_the_mean(num_teachers: int, width: int, scale: float) -> None:
    gram = (g := vectors(2000, num_teachers, width)) @ g.mT * scale
    alpha = nash_weights(gram)
    assert bool((alpha > 0).all())
    assert bool(alpha.isfinite().all())
    w = alpha / alpha.sum(-1, keepdim=True)
    largest = gram.diagonal(dim1=-2, dim2=-1).amax(-1)
    slopes = (gram @ w.unsqueeze(-1)).squeeze(-1).amin(-1)
    assert float((-slopes / largest).max()) <= ridge(num_teachers)
    assert float((w.amax(-1) / w.amin(-1)).log().max()) <= most_influence(num_teachers)


def test_the_equation_holds_where_a_direction_helps_all() -> None:
    g = vectors(500, 4, 6, seed=1).abs()
    gram = g @ g.mT
    alpha = nash_weights(gram)
    assert torch.allclose((gram @ alpha.unsqueeze(-1)).squeeze(-1) * alpha, torch.ones(500, 4, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(st.floats(-1.0, 1.0), st.floats(1e-3, 1.0))
def test_two_vectors_weigh_by_their_lengths_whatever_their_angle(cosine: float, length: float) -> None:
    gram = torch.tensor([[1.0, cosine * length], [cosine * length, length**2]], dtype=torch.float64)
    first, second = nash_weights(gram).tolist()
    # α₁ + cαb = 1/α₁ and cα₁b + b²α₂ = 1/α₂ give b·α₂ = α₁; of opposed vectors too, whose mean is then zero.
    assert second * length == pytest.approx(first, rel=1e-3 if cosine < -1 + 1e-9 else 1e-7)


def test_a_row_is_the_same_in_every_batch() -> None:
    gram = (g := vectors(64, 3, 2, seed=2)) @ g.mT
    alone = torch.stack([nash_weights(row) for row in gram])
    assert torch.equal(nash_weights(gram), alone)
    assert torch.equal(nash_weights(gram.flip(0)).flip(0), alone)


def test_vectors_that_vanish_weigh_alike() -> None:
    assert nash_weights(torch.zeros(2, 3, 3)).tolist() == [[1.0] * 3] * 2


def test_a_vector_that_vanishes_is_raised_to_the_ridge() -> None:
    weights = nash_weights(torch.diag(torch.tensor([1.0, 0.0])))
    assert weights.tolist() == pytest.approx([1.0, ridge(2) ** -0.5], rel=1e-6)


@pytest.mark.parametrize(
    "bad", [torch.zeros(3), torch.zeros(2, 3), torch.tensor([[float("nan")]]), torch.full((2, 2), torch.inf)]
)
def test_what_is_no_gram_matrix_is_refused(bad: Tensor) -> None:
    with pytest.raises(InputError, match="Gram"):
        nash_weights(bad)
