"""Symmetric positive semidefinite matrices, as rows of numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.errors import require


def nearest_psd(flat: Tensor) -> Tensor:
    """argmin over symmetric X ≽ 0 of ‖X − M‖_F for each row M [..., K·K]: ½(M + Mᵀ) with negative eigenvalues at zero.

    A row that is one already comes back as it was, up to the rounding of its symmetrization. Cost O(K³) a row, in
    float64, returned in the dtype of ``flat``. Source: Higham, "Computing a nearest symmetric positive semidefinite
    matrix" (1988).

    Raises:
        InputError: a last axis that is not a square number.

    >>> nearest_psd(torch.tensor([1.0, 2.0, 2.0, 1.0]))
    tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """
    size = math.isqrt(flat.shape[-1])
    require(size**2 == flat.shape[-1], "a pairwise feature must hold K·K numbers", flat.shape[-1])
    matrix = flat.double().unflatten(-1, (size, size))
    symmetric = (matrix + matrix.mT) / 2
    values, vectors = torch.linalg.eigh(symmetric)
    lowest = values[..., :1].unsqueeze(-1)
    raised = (vectors * values.clamp_min(0.0).unsqueeze(-2)) @ vectors.mT
    # Within rounding of the cone the matrix stays as it is, so that the map is the identity on what is computed.
    scale = values[..., -1:].abs().unsqueeze(-1)
    rounding = 8 * size * torch.finfo(flat.dtype).eps
    kept = torch.where(lowest >= -rounding * scale, symmetric, raised)
    return kept.flatten(-2).to(flat.dtype)
