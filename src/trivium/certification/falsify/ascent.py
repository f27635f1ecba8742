"""Climbing a residual from many starts: evolution with steps of every size, and gradients where there are any."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certification.falsify.points import Points
from trivium.certification.falsify.probe import Probe

#: A batch of points [N, D] to the value to climb [N]; what it evaluates it also observes.
Climb = Callable[[Tensor], Tensor]
#: Points [N, D], w and log w [N, K] to the value to climb [N].
Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def climb(value: Climb, parents: Tensor, points: Points, *, generations: int, children: int) -> Tensor:
    """Return the parents [M, D] after some generations of (1 + λ) selection on each of M islands.

    A child differs from its parent in one, some or all coordinates, by a step whose size is log-uniform over nine
    decades; some coordinates jump to a level, copy another teacher (ties) or another island (recombination).
    """
    box, generator = points.box, points.generator
    m, d = parents.shape
    if d == 0 or m == 0:
        return parents
    best = value(parents)
    rows = torch.arange(m)
    for _ in range(generations):
        offspring = _mutate(parents, points, children)
        if children >= 4:
            offspring[:, 0] = parents[torch.randint(m, (m,), generator=generator)]  # migration
            cross = torch.rand(m, d, generator=generator) < 0.5
            offspring[:, 1] = torch.where(cross, parents[torch.randint(m, (m,), generator=generator)], parents)
        offspring = box.snap(offspring)
        reached = value(offspring.reshape(-1, d)).reshape(m, -1)
        champion = reached.argmax(dim=1)
        better = reached[rows, champion] > best
        parents = torch.where(better[:, None], offspring[rows, champion], parents)
        best = torch.where(better, reached[rows, champion], best)
    return parents


def _mutate(parents: Tensor, points: Points, children: int) -> Tensor:
    box, generator = points.box, points.generator
    m, d = parents.shape
    shape = (m, children, d)
    size = 10 ** (-9 * torch.rand((m, children, 1), generator=generator, dtype=torch.float64))
    share = torch.rand((m, children, 1), generator=generator)
    touched = torch.rand(shape, generator=generator) < torch.where(share < 0.4, torch.full_like(share, 1.5 / d), share)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64) * size * box.span
    whole = torch.where(box.integer, torch.where(noise.abs() < 1, noise.sign(), noise), noise)
    offspring = torch.where(touched, parents[:, None] + whole, parents[:, None])
    kind = torch.rand((m, children, 1), generator=generator)
    levels = points.picks(m * children).reshape(shape)
    offspring = torch.where(touched & (kind < 0.15), levels, offspring)
    tied = points.tied(parents.repeat_interleave(children, dim=0)).reshape(shape)
    return torch.where((kind > 0.92) & (kind < 1.0), tied, offspring)


def ascend(score: Score, parents: Tensor, probe: Probe, *, steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return every point visited while following the gradient of a score by autograd, [M · steps, D].

    Normalized steps of 2^−t of the span, so flat stretches are crossed as well as steep ones. Empty where the
    operator cannot be differentiated: the other searches do not need it.
    """
    box = probe.box
    current, visited = parents, []
    free = torch.where(box.integer, 0.0, 1.0)
    for step in range(steps):
        gradient = _gradient(score, current, probe, dtype)
        if gradient is None:
            break
        length = 0.5 ** (1 + step * 24 / max(1, steps)) * box.span * free
        current = box.snap(current + length * gradient.sign())
        visited.append(current)
    return torch.cat(visited) if visited else parents[:0]


def _gradient(score: Score, points: Tensor, probe: Probe, dtype: torch.dtype) -> Tensor | None:
    """∂ score/∂ point [M, D] with NaN as zero, or None."""
    leaf = points.clone().requires_grad_(True)
    probe.clock.check()
    try:
        with torch.enable_grad():
            weights, log_weights, _ = probe.evaluate(leaf, dtype)
            (gradient,) = torch.autograd.grad(score(leaf, weights, log_weights).sum(), leaf)
    except Exception:  # not differentiable, whatever the reason
        return None
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
