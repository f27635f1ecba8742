from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.errors import InputError
from trivium.simplex.semidefinite import nearest_psd
from trivium.weighting.features import BUILT_IN

MATRICES = st.integers(1, 5).flatmap(
    lambda k: st.lists(st.floats(-2, 2, width=32), min_size=k * k, max_size=k * k).map(lambda row: torch.tensor(row))
)


@given(MATRICES)
def test_the_result_is_symmetric_semidefinite_and_a_fixed_point(flat: torch.Tensor) -> None:
    found = nearest_psd(flat.double())
    size = round(len(flat) ** 0.5)
    matrix = found.view(size, size)
    assert torch.equal(matrix, matrix.T) or (matrix - matrix.T).abs().max() < 1e-14
    assert torch.linalg.eigvalsh(matrix).min() >= -1e-12
    assert torch.allclose(nearest_psd(found), found, atol=1e-13)


@given(MATRICES, st.integers(0, 99))
def test_no_semidefinite_matrix_is_nearer(flat: torch.Tensor, seed: int) -> None:
    size = round(len(flat) ** 0.5)
    found = nearest_psd(flat.double())
    distance = (found - flat.double()).norm()
    factor = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    other = (factor @ factor.T).flatten()
    for share in (1e-4, 1e-2, 1.0):
        nearby = (1 - share) * found + share * other
        assert (nearby - flat.double()).norm() >= distance - 1e-12


def test_a_gram_matrix_is_kept_to_the_bit() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    gram = (gradients @ gradients.T).flatten()
    assert torch.equal(nearest_psd(gram), gram)


def test_what_is_no_square_is_refused() -> None:
    with pytest.raises(InputError, match="K·K"):
        nearest_psd(torch.zeros(3))


def test_the_width_of_a_feature_follows_from_its_kind() -> None:
    assert [BUILT_IN[name].width(3) for name in ("entropy", "domain", "gram")] == [3, 1, 9]
