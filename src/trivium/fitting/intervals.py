"""How sure strengths are: a one-step bootstrap over documents."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.fitting.likelihood import Likelihood

#: Bootstrap draws, and tokens from which second derivatives are taken.
DRAWS, CURVED = 1_000, 20_000
_STEP = 1e-4


def one_step(likelihood: Likelihood, penalty: float, x: Tensor, seed: int = 0) -> Tensor:
    """x under documents drawn again, [draws, P]: x_b = x + H⁻¹·(ḡ_b − ḡ), one Newton step from x on the drawn
    documents.

    ḡ_b is the gradient of the mean log-likelihood of the drawn documents at x and ḡ that of all, which the penalty
    balances where the fit has converged; −H is the penalized second derivative, by central differences of the gradient
    (on some documents where there are many tokens). The objective is not concave: a direction in which H is not
    positive is held to the penalty's own curvature. Documents are drawn within domains. Cost: 2·P gradients.
    """
    part = likelihood.data.drawn(CURVED, seed)
    curved = likelihood if part is likelihood.data else Likelihood(likelihood.family, part, likelihood.shape)
    size = len(x)
    rows = []
    for place in range(size):
        step = torch.zeros(size, dtype=torch.float64)
        step[place] = _STEP
        ahead, behind = curved.gradient(x + step, penalty)[1], curved.gradient(x - step, penalty)[1]
        rows.append((behind - ahead) / (2 * _STEP))
    curvature = torch.stack(rows)
    values, vectors = torch.linalg.eigh((curvature + curvature.T) / 2)
    inverse = vectors @ torch.diag(1 / values.clamp_min(max(penalty, 1e-6))) @ vectors.T
    slopes, sizes = likelihood.by_document(x)
    data = likelihood.data
    whole = slopes.sum(0) / sizes.sum()
    documents = data.document.unique()
    domain = torch.zeros(len(documents), dtype=torch.long)
    domain[torch.searchsorted(documents, data.document)] = data.domain
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(DRAWS):
        counts = torch.zeros(len(documents), dtype=torch.float64)
        for number in range(len(data.domains)):
            mine = (domain == number).nonzero().flatten()
            if len(mine):
                picked = mine[torch.randint(len(mine), (len(mine),), generator=draw)]
                counts += torch.bincount(picked, minlength=len(documents))
        found.append(x + inverse @ (counts @ slopes / (counts @ sizes) - whole))
    return torch.stack(found)
