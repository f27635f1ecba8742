"""Maximizing a likelihood that is smooth almost everywhere and not concave: L-BFGS from several starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.fitting.likelihood import Likelihood

#: Tokens on which starts are tried, and on which the best goes on, before all are used; fewer are all used at once.
TRIED = (4_000, 20_000)
#: Random starts, seeded, beside zero: strengths of a third of a nat up to three.
SIZES, DRAWS = (0.3, 1.0, 3.0), 3


def maximize(likelihood: Likelihood, penalty: float, starts: Sequence[Tensor] = (), seed: int = 0) -> Tensor:
    """x with the largest mean log-likelihood less (λ/2)·‖x‖² that any start leads to, [P] float64.

    Zero, random starts and those given are climbed from; where there are many tokens, on some documents first, and only
    the best of those goes on with all.
    """
    draw = torch.Generator().manual_seed(seed)
    size = likelihood.shape.size
    tried = [*starts, torch.zeros(size, dtype=torch.float64)]
    for most in TRIED:
        part = likelihood.data.drawn(most, seed)
        if part is likelihood.data:
            break
        if len(tried) <= len(starts) + 1:
            tried += [s * torch.randn(size, generator=draw, dtype=torch.float64) for s in SIZES[:2]]
        trial = Likelihood(likelihood.family, part, likelihood.shape)
        best = max((climb(trial, penalty, x, precision=1e-6) for x in tried), key=lambda pair: pair[1])[0]
        tried = [best]
    else:
        # What is best of a few documents need not be best of all: the given starts are compared on all.
        begun = max([*tried, *starts], key=lambda x: likelihood.gradient(x, penalty)[0])
        return climb(likelihood, penalty, begun, precision=1e-8)[0]
    if len(tried) > 1:
        tried += [s * torch.randn(size, generator=draw, dtype=torch.float64) for s in SIZES for _ in range(DRAWS)]
    return max((climb(likelihood, penalty, x) for x in tried), key=lambda pair: pair[1])[0]


def climb(
    likelihood: Likelihood, penalty: float, start: Tensor, steps: int = 300, precision: float = 1e-11
) -> tuple[Tensor, float]:
    """(x, value) of one ascent by L-BFGS (SciPy), begun anew at its end while that still gains.

    The squash has kinks where two teachers lead together, and the projection where a weight meets a bound; over many
    tokens they are faint. A memory built across one misleads the next step, so it is dropped where the ascent stops.

    Args:
        precision: relative gain a step below which it stops.
    """
    from scipy.optimize import minimize

    def objective(numbers: Any) -> tuple[float, Any]:
        value, slope = likelihood.gradient(torch.from_numpy(numbers), penalty)
        return -value, -slope.numpy()

    options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 20, "ftol": precision, "gtol": 1e-7}
    x, value = start, -torch.inf
    for _ in range(1 if precision > 1e-7 else 4):
        found = minimize(objective, x.numpy(), jac=True, method="L-BFGS-B", options=options)
        gained = -float(found.fun) - value
        if gained > 0:
            x, value = torch.from_numpy(found.x.copy()), -float(found.fun)
        if gained < 1e-8:
            break
    return x, value
