"""The weightings of TorchJD: what multi-objective optimization makes of the teachers' gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.min_norm import min_norm_weights
from trivium.simplex.semidefinite import nearest_psd
from trivium.weighting.base import Features, RawRule
from trivium.weighting.features import BUILT_IN, Range, Scale

Method = Literal["upgrad", "mgda", "dualproj", "cagrad", "pcgrad", "imtl_g", "aligned_mtl"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class TorchJD(RawRule):
    r"""w = v₊/Σ v₊ with v = the method's weights of ``gram`` [..., K·K] and v₊ = max(v, 0).

    Where nothing is positive (cagrad gives v = 0 near the Pareto front), something is not finite, or a solver gives up:
    the weights of the shortest mean, which keep W-C.

    Dividing by the sum changes the length of the step and not its direction, so W-C is that of the method wherever
    v ≥ 0: always for upgrad, mgda, dualproj, cagrad and pcgrad, not for imtl_g and aligned_mtl, whose negative weights
    are dropped. Their own promise and what is computed:

    * *upgrad*, *dualproj*: the projection on the dual cone, (Gv)_k ≥ 0: W-C, and v ≥ 1/K, so no weight is zero. TorchJD
      solves it with G/tr G + 1e-4·I, so W-C is missed by up to 1e-4·tr G·max v.
    * *mgda*: the shortest mean, W-C. TorchJD takes at most 100 Frank–Wolfe steps, so it is missed by what they leave.
      :class:`~trivium.weighting.task.aekd.AEKD` with C = 1 is the exact one.
    * *cagrad*: the largest min_k ⟨g_k, d⟩ over ‖d − g₀‖ ≤ c·‖g₀‖. For c ≥ 1 it holds d = 0, so W-C.
    * *pcgrad*: W-C for K = 2; for more teachers later projections undo earlier ones. TorchJD draws their order at
      random at each call; here it is that of one seed, the same for every row and call, so that W-F holds.
    * *imtl_g*, *aligned_mtl*: equal projections and a balanced spectrum, neither of which is W-C.

    Left out: those that remember earlier batches, so that they are no function of their input (gradvac, sdmgrad,
    excess_mtl, pcd, cr_mogm; nash_mtl, of which :class:`~trivium.weighting.task.nash_mtl.NashMTL` is the exact form
    without memory), that need two batches (modo), or that are random by design.

    Args:
        method: which one.
        raw: v itself, as published: any sign, any sum.
        radius: c of cagrad.
        seed: of pcgrad's order.

    Constants: none; W-N and W-F hold unless ``raw``. Cost: one small program a row, in a loop over rows: 0.1 to 1 ms,
    5 ms for cagrad. Needs ``pip install trivium[gradients]``.
    Source: Quinton & Rey, "Jacobian descent for multi-objective optimization" (2024), and TorchJD's documentation.

    >>> gram = torch.tensor([1.0, -0.5, -0.5, 1.0])
    >>> TorchJD("upgrad").log_weights({"gram": gram}).exp()
    tensor([0.5000, 0.5000])
    """

    method: Method = "upgrad"
    raw: bool = False
    radius: float = 0.5
    seed: int = 0
    scale: Scale = "task"
    name: ClassVar[str] = "torchjd"
    ranges: ClassVar[Mapping[str, Range]] = {"gram": BUILT_IN["gram"]}

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                "the method of rule 'torchjd' must be a weighting that it wraps",
                repr(self.method),
                nearest(str(self.method), METHODS),
            )
        require(0.0 <= self.radius < float("inf"), "the radius of cagrad must be a number ≥ 0", self.radius)

    def weights(self, features: Features) -> Tensor:
        gram = self.admit(features)["gram"]
        teachers = round(gram.shape[-1] ** 0.5)
        weigh = weighting(self.method, self.radius)
        # In float64 anew: what is semidefinite up to the rounding of float32 is not for a solver. Equal rows, as of one
        # batch, are solved once.
        exact = nearest_psd(gram.detach().double().cpu()).reshape(-1, teachers**2)
        flat, which = exact.unique(dim=0, return_inverse=True)
        v = flat.new_empty(len(flat), teachers)
        for place, row in enumerate(flat):
            v[place] = _one(weigh, row.view(teachers, teachers), self.seed if self.method == "pcgrad" else None)
        v = v[which].to(gram.device).reshape(*gram.shape[:-1], teachers)
        if not self.raw:
            shortest = min_norm_weights(exact.view(-1, teachers, teachers)).to(gram.device)
            v = normalized(v, shortest.reshape(v.shape))
        weights: Tensor = v.to(gram.dtype)
        return weights

    def log_weights(self, features: Features) -> Tensor:
        return self.weights(features).clamp_min(0.0).log()

    def constants(self, num_teachers: int) -> Constants | None:
        weighting(self.method, self.radius)  # installed?
        return (
            None
            if self.raw
            else bounded(num_teachers, float("inf") if num_teachers > 1 else 0.0, {"gram": float("inf")})
        )

    def formula(self) -> str:
        option = f", c = {self.radius:g}" if self.method == "cagrad" else ""
        return f"{self.method}(gram{option})" + (" unnormalized" if self.raw else "")


def normalized(v: Tensor, otherwise: Tensor) -> Tensor:
    """max(v, 0)/Σ max(v, 0) over the last axis; ``otherwise`` where nothing is positive, or something is not finite.

    >>> normalized(torch.tensor([[3.0, -1.0, 1.0], [-1.0, 0.0, 0.0]]), torch.tensor([0.5, 0.5, 0.0]))
    tensor([[0.7500, 0.0000, 0.2500],
            [0.5000, 0.5000, 0.0000]])
    """
    kept = torch.where(v.isfinite().all(dim=-1, keepdim=True), v.clamp_min(0.0), 0.0)
    largest = kept.amax(dim=-1, keepdim=True)
    kept = torch.where(largest > 0, kept / largest, otherwise)  # by the largest first: a sum may underflow
    return kept / kept.sum(dim=-1, keepdim=True)


@cache
def weighting(method: Method, radius: float = 0.5) -> Callable[[Tensor], Tensor]:
    """TorchJD's own weighting, G [K, K] → v [K].

    Raises:
        InputError: TorchJD, or a solver that the method needs, is not installed.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise _missing("torchjd", error) from None
    makers: dict[str, Callable[[], Any]] = {
        "upgrad": aggregation.UPGradWeighting,
        "mgda": aggregation.MGDAWeighting,
        "dualproj": aggregation.DualProjWeighting,
        "cagrad": lambda: aggregation.CAGradWeighting(c=radius),
        "pcgrad": aggregation.PCGradWeighting,
        "imtl_g": aggregation.IMTLGWeighting,
        "aligned_mtl": aggregation.AlignedMTLWeighting,
    }
    try:
        made: Callable[[Tensor], Tensor] = makers[method]()
    except ImportError as error:
        raise _missing(f"what {method} needs", error) from None
    return made


def _one(weigh: Callable[[Tensor], Tensor], gram: Tensor, seed: int | None) -> Tensor:
    """v [K]; NaN where its solver gives up."""
    with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            return weigh(gram)
        except Exception:  # quadprog, cvxpy and LAPACK each raise their own for a matrix that no scaling saves
            return gram.new_full((len(gram),), torch.nan)


def _missing(what: str, error: ImportError) -> InputError:
    said = " ".join(str(error).split())
    return InputError(f"{what} must be installed for the rule 'torchjd'", said, "pip install 'trivium[gradients]'")
