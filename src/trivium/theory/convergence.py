"""T12: under the Polyak–Łojasiewicz condition SGD with steps ∝ 1/t has an excess of at most ν/(t + γ)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import require
from trivium.theory.rows import Curve, Report, TheoremRow
from trivium.theory.smt import Statement, proved_once, solver

_ARGUMENT = (
    "L-smoothness and E‖noise‖² ≤ σ² give E F(θ_{t+1}) ≤ F − η(1 − Lη/2)‖∇F‖² + Lη²σ²/2. With η ≤ 1/L and "
    "‖∇F‖² ≥ 2μ(F − F*): E[F_{t+1} − F*] ≤ (1 − μη)·E[F_t − F*] + Lη²σ²/2.",
    "With η_t = 2/(μ(t + γ)), γ = 2L/μ (so that η_0 = 1/L) and ν = max(γ(F_0 − F*), 2Lσ²/μ²), E[F_t − F*] ≤ ν/(t + γ) "
    "holds at t = 0, and SMT proves the step from t to t + 1.",
)


@dataclass(frozen=True)
class Rate:
    """The bound of T12 for one problem.

    Args:
        smooth: L > 0, a Lipschitz constant of the gradient.
        pl: μ in (0, L], with ‖∇F‖² ≥ 2μ(F − F*).
        noise: σ² ≥ 0, a bound of E‖g − ∇F‖².
        excess: F_0 − F* ≥ 0.

    Raises:
        InputError: a constant outside its range.
    """

    smooth: float
    pl: float
    noise: float
    excess: float

    def __post_init__(self) -> None:
        require(0 < self.smooth < math.inf, "the smoothness constant must be positive and finite", self.smooth)
        require(0 < self.pl <= self.smooth, "the PL constant must lie in (0, L]", self.pl)
        require(0 <= self.noise < math.inf, "the noise variance must be a finite number ≥ 0", self.noise)
        require(0 <= self.excess < math.inf, "the first excess must be a finite number ≥ 0", self.excess)

    @property
    def gamma(self) -> float:
        """γ = 2L/μ."""
        return 2 * self.smooth / self.pl

    @property
    def nu(self) -> float:
        """ν = max(γ(F_0 − F*), 2Lσ²/μ²)."""
        return max(self.gamma * self.excess, 2 * self.smooth * self.noise / self.pl**2)

    def step(self, t: int) -> float:
        """η_t = 2/(μ(t + γ)) ≤ 1/L."""
        return 2 / (self.pl * (t + self.gamma))

    def bound(self, t: int) -> float:
        """E[F_t − F*] ≤ ν/(t + γ).

        >>> rate = Rate(smooth=1.0, pl=0.5, noise=0.0, excess=3.0)
        >>> rate.bound(0), rate.bound(4)
        (3.0, 1.5)
        """
        return self.nu / (t + self.gamma)


def objective(x: Tensor) -> Tensor:
    """x² + 3 sin²x: not convex, F* = 0, 8-smooth, PL with μ = 1/32 (Karimi, Nutini and Schmidt 2016)."""
    return x**2 + 3 * x.sin() ** 2


def slope(x: Tensor) -> Tensor:
    """Its derivative 2x + 3 sin 2x."""
    return 2 * x + 3 * (2 * x).sin()


_SMOOTH, _PL, _SIGMA, _START = 8.0, 1 / 32, 1.0, 3.0
_STEPS, _CHAINS = 4000, 1000


def examine() -> Report:
    """T12: the induction proved, the assumptions checked, the rate measured beside the bound."""
    rate = Rate(_SMOOTH, _PL, _SIGMA**2, float(objective(torch.tensor(_START, dtype=torch.float64))))
    steps, seen = _measure(rate)
    rows = (
        proved_once("If E[F_t − F*] ≤ ν/(t + γ), so at t + 1", _induction(), "SMT, all t, ν, γ ≥ 2; descent on paper"),
        _assumptions(),
        _below(rate, steps, seen),
        _order(rate, steps, seen),
    )
    curves = (
        Curve("mean excess", "step", "F − F*", tuple(map(float, steps)), tuple(round(x, 6) for x in seen)),
        Curve("bound ν/(t + γ)", "step", "F − F*", tuple(map(float, steps)), tuple(rate.bound(t) for t in steps)),
    )
    title = "Under the Polyak–Łojasiewicz condition SGD with steps ∝ 1/t converges as O(1/t)"
    return Report("T12", title, rows, _ARGUMENT, curves)


def _induction() -> Statement:
    """s = t + γ ≥ 2, μη = 2/s, Lη²σ²/2 = (2Lσ²/μ²)/s² ≤ ν/s²; all multiplied by s²(s + 1) > 0."""
    s, excess, nu, noise = solver().Reals("s excess nu noise")
    premises = [s >= 2, nu >= 0, noise >= 0, noise <= nu, excess * s <= nu]
    return premises, ((1 - 2 / s) * excess + noise / s**2) * (s + 1) <= nu


def _assumptions() -> TheoremRow:
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    x = x[x != 0]
    ratio = float((slope(x) ** 2 / (2 * objective(x))).min())
    curvature = 2 + 6 * (2 * x).cos()
    low, high = float(curvature.min()), float(curvature.max())
    return TheoremRow(
        "x² + 3 sin²x is 8-smooth and PL with μ = 1/32, and not convex",
        "CHECKED",
        "400,000 points of [−20, 20]; beyond, ‖∇F‖² ≥ (2|x| − 3)² outgrows F",
        f"least ‖∇F‖²/(2F) = {ratio:.3f} ≥ 0.031, F″ from −{-low:.0f} to {high:.0f}",
        ratio >= _PL and high <= _SMOOTH + 1e-9 and low < 0,
        {"pl": ratio},
    )


def _measure(rate: Rate) -> tuple[list[int], list[float]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.full((_CHAINS,), _START, dtype=torch.float64)
    marks = sorted({round(10 ** (i * math.log10(_STEPS) / 40)) for i in range(41)} | {0})
    seen = [float(objective(x).mean())]
    for t in range(_STEPS):
        noise = _SIGMA * torch.randn(_CHAINS, generator=generator, dtype=torch.float64)
        x = x - rate.step(t) * (slope(x) + noise)
        if t + 1 in marks:
            seen.append(float(objective(x).mean()))
    return marks, seen


def _below(rate: Rate, steps: list[int], seen: list[float]) -> TheoremRow:
    worst = max(value / rate.bound(t) for t, value in zip(steps, seen, strict=True) if t > 0)
    return TheoremRow(
        "SGD stays below the bound",
        "CHECKED",
        f"{_CHAINS:,} runs from x = 3, σ = 1, {_STEPS:,} steps",
        f"mean F − F* = {seen[-1]:.2g} at the end, bound {rate.bound(_STEPS):.2g}; never above the bound",
        worst <= 1,
        {"last": seen[-1], "bound": rate.bound(_STEPS), "worst_ratio": worst},
    )


def _order(rate: Rate, steps: list[int], seen: list[float]) -> TheoremRow:
    """(t + γ)·mean excess settles: the rate itself is of order 1/t, not faster."""
    scaled = [(t + rate.gamma) * value for t, value in zip(steps, seen, strict=True) if t >= _STEPS / 2]
    return TheoremRow(
        "… and the measured rate is of that order",
        "CHECKED",
        "(t + γ)·mean(F − F*) over the second half of the steps",
        f"settles near {scaled[-1]:.0f}, the bound allows ν = {rate.nu:.0f}",
        max(scaled) / min(scaled) < 1.3,
        {"least": min(scaled), "most": max(scaled), "nu": rate.nu},
    )
