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
    values, vectors = eigh(symmetric)
    lowest = values[..., :1].unsqueeze(-1)
    # Summed entry by entry and not by a matrix product, which rounds a matrix by its place in the batch (W-F).
    scaled = (vectors * values.clamp_min(0.0).unsqueeze(-2)).unsqueeze(-2)
    raised = (scaled * vectors.unsqueeze(-3)).sum(dim=-1)
    # Within rounding of the cone the matrix stays as it is, so that the map is the identity on what is computed.
    scale = values[..., -1:].abs().unsqueeze(-1)
    rounding = 8 * size * torch.finfo(flat.dtype).eps
    kept = torch.where(lowest >= -rounding * scale, symmetric, raised)
    return kept.flatten(-2).to(flat.dtype)


def eigh(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [..., K], ascending, and eigenvectors [..., K, K] of symmetric matrices, the same in every batch.

    ``torch.linalg.eigh`` rounds a matrix of odd size by where it lies in memory, hence by its place in the batch, and
    what follows may magnify that (W-F). So an odd one is bordered by a row of zeros and a last eigenvalue above all
    others, and that is taken off again.

    >>> eigh(torch.tensor([[[2.0]], [[-1.0]]]))[0].squeeze(-1)
    tensor([ 2., -1.])
    """
    size = symmetric.shape[-1]
    if size % 2 == 0:
        values, vectors = torch.linalg.eigh(symmetric)
        return values, vectors
    above = 2 * symmetric.abs().sum(dim=-1).amax(dim=-1)
    bordered = symmetric.new_zeros((*symmetric.shape[:-2], size + 1, size + 1))
    bordered[..., :size, :size] = symmetric
    bordered[..., size, size] = torch.where(above > 0, above, 1.0)
    values, vectors = torch.linalg.eigh(bordered)
    return values[..., :size], vectors[..., :size, :size]
