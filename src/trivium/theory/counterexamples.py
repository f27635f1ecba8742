"""T14: bounded Lipschitz weights, a realizable target and smooth log-probabilities do not give KL → 0.

Both students are Bernoulli models p_θ = (σ(z(θ)), 1 − σ(z(θ))) of one parameter, trained by ``torch.optim.SGD`` on
KL(q‖p_θ). The weights may be any constants: they enter through q alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trivium.errors import require
from trivium.theory.rows import Curve, Report, TheoremRow

_ARGUMENT = (
    "First: dKL/dθ = (p − q_1)·z′(θ) with z = θ², and z′(0) = 0. The gradient vanishes at θ₀ = 0 whatever is sampled: "
    "neither gradient descent nor SGD with any steps leaves it, although θ = √(log 3) has KL = 0. Being a local "
    "maximum of KL in θ, it would be left under noise added to θ itself; noise of sampling never arrives there.",
    "Second: z = 0.4(θ³ − 3θ) has a strict local maximum at θ = −1, z(−1) = 0.8. For q_1 > σ(0.8) = 0.690 that is a "
    "strict local minimum of KL: dKL/dθ = 0 and d²KL/dθ² = (p − q_1)·z″(−1) > 0. z takes every real value, so q is "
    "realizable.",
    "T11 holds in both runs: the gradient does go to zero. What fails is the step from there to KL → 0, which T12 "
    "takes under the Polyak–Łojasiewicz condition; here ‖∇F‖² = 0 < 2μ(F − F*) for every μ > 0.",
)
#: Steps recorded of a run, about.
RECORDED = 40


@dataclass(frozen=True)
class Student:
    """p_θ = (σ(z(θ)), 1 − σ(z(θ))) with a target q = (q_1, 1 − q_1).

    Attributes:
        formula: z as a line.
        logit: z, elementwise.
        target: q_1.
    """

    formula: str
    logit: Callable[[Tensor], Tensor]
    target: float

    def kl(self, theta: Tensor) -> Tensor:
        """KL(q‖p_θ) in nats, elementwise in θ."""
        z, q = self.logit(theta), self.target
        entropy = -q * math.log(q) - (1 - q) * math.log(1 - q)
        return -q * logsigmoid(z) - (1 - q) * logsigmoid(-z) - entropy


FLAT = Student("θ²", lambda theta: theta**2, 0.75)
TRAP = Student("0.4(θ³ − 3θ)", lambda theta: 0.4 * (theta**3 - 3 * theta), 0.9)


@dataclass(frozen=True)
class Path:
    """A run: recorded steps, and at each of them θ and KL of every start."""

    steps: tuple[int, ...]
    theta: Tensor
    kl: Tensor


def descend(
    student: Student, starts: list[float], steps: int, rate: Callable[[int], float], sampled: int = 0, seed: int = 0
) -> Path:
    """Gradient descent, or SGD, from several starts at once.

    Args:
        starts: θ₀ of each run.
        steps: ≥ 1.
        rate: η_t for t = 0, 1, …
        sampled: tokens drawn from q at each step and start, whose negative log-likelihood is the loss; 0 takes the
            expectation, which is gradient descent on KL(q‖p_θ).
        seed: of the draws, which are Python's and therefore the same with every version of torch.

    Returns:
        At most 42 recorded steps, evenly spaced in their logarithm, 0 and the last among them.
    """
    require(steps >= 1, "a run must have at least one step", steps)
    source = random.Random(seed)
    theta = torch.tensor(starts, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=1.0)
    marks = sorted({round(steps ** (i / RECORDED)) for i in range(RECORDED + 1)} | {0})
    thetas, kls = [theta.detach().clone()], [student.kl(theta.detach())]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.zero_grad()
        if sampled:
            drawn = [sum(source.random() < student.target for _ in range(sampled)) / sampled for _ in starts]
            share, z = torch.tensor(drawn, dtype=torch.float64), student.logit(theta)
            loss = -(share * logsigmoid(z) + (1 - share) * logsigmoid(-z))
        else:
            loss = student.kl(theta)
        loss.sum().backward()
        optimizer.step()
        if step + 1 in marks:
            thetas.append(theta.detach().clone())
            kls.append(student.kl(theta.detach()))
    return Path(tuple(marks), torch.stack(thetas), torch.stack(kls))


def robbins_monro(first: float, period: float) -> Callable[[int], float]:
    """η_t = first/(1 + t/period): Σ η = ∞, Σ η² < ∞."""
    return lambda step: first / (1 + step / period)


def examine() -> Report:
    """T14: both students run, with curves."""
    rows, curves = [], []
    for found_rows, found_curves in (_flat(), _trap()):
        rows += found_rows
        curves += found_curves
    title = "A realizable target, smooth log-probabilities and bounded Lipschitz weights do not give KL → 0"
    return Report("T14", title, tuple(rows), _ARGUMENT, tuple(curves))


def _flat() -> tuple[list[TheoremRow], list[Curve]]:
    exact = descend(FLAT, [0.0, 0.1], 2000, lambda step: 0.1)
    noisy = descend(FLAT, [0.0] * 8, 600, robbins_monro(0.5, 100.0), sampled=1)
    stuck, free = float(exact.kl[-1, 0]), float(exact.kl[-1, 1])
    still = bool((exact.theta[:, 0] == 0).all() and (noisy.theta == 0).all())
    setting = "z = θ², q = (.75, .25), torch SGD"
    rows = [
        TheoremRow(
            "Gradient descent and SGD reach KL = 0",
            "REFUTED",
            f"{setting}, from θ₀ = 0: 2,000 exact steps; 600 steps on sampled tokens, 8 runs",
            f"θ never moves, KL stays {stuck:.3f}",
            still and abs(stuck - 0.131) < 5e-4,
            {"kl": stuck},
        ),
        TheoremRow(
            "… and the target is realizable",
            "ATTAINED",
            f"{setting}, from θ₀ = 0.1, 2,000 exact steps",
            f"θ = {float(exact.theta[-1, 1]):.4f}, KL below 1e-9",
            free < 1e-9 and math.isclose(float(exact.theta[-1, 1]), math.sqrt(math.log(3)), rel_tol=1e-4),
            {"kl": free},
        ),
    ]
    return rows, [_curve("z = θ² from θ₀ = 0", exact, 0), _curve("z = θ² from θ₀ = 0.1", exact, 1)]


def _trap() -> tuple[list[TheoremRow], list[Curve]]:
    starts = [-1.8 + 2.2 * i / 31 for i in range(32)]  # from −1.8 to 0.4
    path = descend(TRAP, starts, 2000, robbins_monro(0.5, 200.0), sampled=8)
    exact = descend(TRAP, [-1.6, 2.0], 2000, lambda step: 0.1)
    theta, kl = path.theta[-1], path.kl[-1]
    caught = bool(((theta + 1).abs() < 0.05).all())
    at = torch.tensor(-1.0, dtype=torch.float64)
    around = TRAP.kl(at + torch.tensor([-0.01, 0.0, 0.01], dtype=torch.float64))
    p = float(torch.sigmoid(TRAP.logit(at)))
    curvature, local = (p - TRAP.target) * 0.4 * 6 * -1.0, float(around[1])
    measured = float((around[0] + around[2] - 2 * around[1]) / 1e-4)
    setting = "z = 0.4(θ³ − 3θ), q = (.9, .1)"
    rows = [
        TheoremRow(
            "θ = −1 is a strict local minimum with KL > 0",
            "ATTAINED",
            f"{setting}, second derivative on paper and by differences",
            f"KL = {local:.4f}, curvature {curvature:.3f} > 0",
            local > 0.1 and curvature > 0 and abs(measured - curvature) < 1e-2 and bool((around >= around[1]).all()),
            {"kl": local, "curvature": curvature, "by_differences": measured},
        ),
        TheoremRow(
            "SGD with Robbins–Monro steps reaches KL = 0",
            "REFUTED",
            f"{setting}, torch SGD on 8 sampled tokens a step, 2,000 steps from 32 starts in [−1.8, 0.4]",
            f"all 32 end at θ = −1 within 0.05, KL = {float(kl.mean()):.3f}",
            caught and float(kl.min()) > 0.1,
            {"mean_kl": float(kl.mean()), "furthest": float((theta + 1).abs().max())},
        ),
        TheoremRow(
            "… and the target is realizable",
            "ATTAINED",
            f"{setting}, torch SGD from θ₀ = 2, 2,000 exact steps",
            f"θ = {float(exact.theta[-1, 1]):.4f}, KL below 1e-9",
            float(exact.kl[-1, 1]) < 1e-9,
            {"kl": float(exact.kl[-1, 1])},
        ),
    ]
    curves = [
        _curve("z = 0.4(θ³ − 3θ), SGD from θ₀ = −1.8", path, 0),
        _curve("z = 0.4(θ³ − 3θ), SGD from θ₀ = 0.4", path, 31),
        _curve("z = 0.4(θ³ − 3θ), gradient descent from θ₀ = 2", exact, 1),
    ]
    return rows, curves


def _curve(name: str, path: Path, run: int) -> Curve:
    values = tuple(round(value, 6) for value in path.kl[:, run].tolist())
    return Curve(name, "step", "KL(q‖p_θ), nats", tuple(float(step) for step in path.steps), values)
