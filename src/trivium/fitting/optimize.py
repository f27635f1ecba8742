"""Maximizing a likelihood that is smooth almost everywhere and not concave: quasi-Newton steps from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.fitting.likelihood import Likelihood

#: Tokens on which starts are tried, and on which the best goes on, before all are used; fewer are all used at once.
TRIED = (4_000, 20_000)
#: Random starts, seeded, beside zero: strengths of a third of a nat up to three; and steps away from the best reached.
SIZES, DRAWS, KEPT, HOPS = (0.3, 1.0, 3.0), 8, 6, 12

#: From x to the value and its slope.
Slope = Callable[[Tensor], tuple[float, Tensor]]


def maximize(likelihood: Likelihood, penalty: float, starts: Sequence[Tensor] = (), seed: int = 0) -> Tensor:
    """x with the largest mean log-likelihood less (λ/2)·‖x‖² that any start leads to, [P] float64.

    Zero, random starts and those given are climbed from; where there are many tokens, on some documents first, and only
    the best of those goes on with all. Of few tokens the best are followed over the kinks (:func:`crawl`), and the best
    of all is left some times by a random step, to see whether it is climbed back to.
    """
    draw = torch.Generator().manual_seed(seed)
    size = likelihood.shape.size

    def drawn(spread: float) -> Tensor:
        return spread * torch.randn(size, generator=draw, dtype=torch.float64)

    tried = [*starts, torch.zeros(size, dtype=torch.float64)]
    if likelihood.data.drawn(TRIED[0], seed) is likelihood.data:
        tried += [drawn(spread) for spread in SIZES for _ in range(DRAWS)]
        return _thorough(likelihood, penalty, tried, drawn)
    tried += [drawn(spread) for spread in SIZES[:2]]
    for most in TRIED:
        part = likelihood.data.drawn(most, seed)
        trial = Likelihood(likelihood.family, part, likelihood.shape)
        tried = [max((climb(trial, penalty, x, precision=1e-6, rounds=2) for x in tried), key=_value)[0]]
    # What is best of a few documents need not be best of all: the given starts are compared on all.
    begun = max([*tried, *starts], key=lambda x: likelihood.gradient(x, penalty)[0])
    return climb(likelihood, penalty, begun, precision=1e-8, rounds=2)[0]


def climb(
    likelihood: Likelihood, penalty: float, start: Tensor, steps: int = 300, precision: float = 1e-11, rounds: int = 4
) -> tuple[Tensor, float]:
    """(x, value) of one ascent by L-BFGS (SciPy), begun anew at its end while that still gains.

    The squash has kinks where two teachers lead together, and the projection where a weight meets a bound; over many
    tokens they are faint. A memory built across one misleads the next step, so it is dropped where the ascent stops.

    Args:
        precision: relative gain of a step below which it stops.
        rounds: how often it is begun at most.
    """
    from scipy.optimize import minimize

    def objective(numbers: Any) -> tuple[float, Any]:
        value, slope = likelihood.gradient(torch.from_numpy(numbers), penalty)
        return -value, -slope.numpy()

    options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 20, "ftol": precision, "gtol": 1e-7}
    x, value = start, -torch.inf
    for _ in range(rounds):
        found = minimize(objective, x.numpy(), jac=True, method="L-BFGS-B", options=options)
        gained = -float(found.fun) - value
        if gained > 0:
            x, value = torch.from_numpy(found.x.copy()), -float(found.fun)
        if gained < min(1e-5, 1000 * precision):
            break
    return x, value


def crawl(slope: Slope, start: Tensor, steps: int = 400, least: float = 1e-10) -> tuple[Tensor, float]:
    """(x, value) of one ascent by BFGS with a weak Wolfe line search by bisection, which converges on ridges where
    L-BFGS stops (Lewis and Overton 2013, Nonsmooth optimization via quasi-Newton methods, algorithm 2.6).

    Args:
        least: gain of ten steps together below which it stops.
    """
    x, (value, up) = start, slope(start)
    metric, values = torch.eye(len(x), dtype=torch.float64), [value]
    for _ in range(steps):
        direction = metric @ up
        rise = float(direction @ up)
        if rise <= 1e-20:
            break
        low, high, size = 0.0, float("inf"), 1.0
        for _ in range(40):
            there, ahead = slope(x + size * direction)
            if there < value + 1e-4 * size * rise:
                high = size
            elif float(ahead @ direction) > 0.9 * rise:
                low = size
            else:
                break
            size = (low + high) / 2 if high < float("inf") else 2 * size
        if there <= value:
            break
        moved, turned = size * direction, up - ahead
        x, value, up = x + moved, there, ahead
        bend = float(moved @ turned)
        if bend > 1e-300:
            skew = torch.eye(len(x), dtype=torch.float64) - torch.outer(moved, turned) / bend
            metric = skew @ metric @ skew.T + torch.outer(moved, moved) / bend
        values.append(value)
        if len(values) > 10 and values[-1] - values[-11] < least:
            break
    return x, value


def _thorough(
    likelihood: Likelihood, penalty: float, starts: Sequence[Tensor], drawn: Callable[[float], Tensor]
) -> Tensor:
    def slope(x: Tensor) -> tuple[float, Tensor]:
        return likelihood.gradient(x, penalty)

    reached = sorted((climb(likelihood, penalty, x, precision=1e-6, rounds=2) for x in starts), key=_value)
    best = max((crawl(slope, x, least=1e-8) for x, _ in reached[-KEPT:]), key=_value)
    for hop in range(HOPS):
        left = climb(likelihood, penalty, best[0] + drawn((0.1, 0.3, 1.0)[hop % 3]), precision=1e-6, rounds=2)
        if left[1] > best[1] - 1e-2:
            best = max(best, crawl(slope, left[0], least=1e-8), key=_value)
    return crawl(slope, best[0])[0]


def _value(pair: tuple[Tensor, float]) -> float:
    return pair[1]
