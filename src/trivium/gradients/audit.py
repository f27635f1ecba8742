"""W-B, W-S and W-C asked of the weights in effect, and what a modification of gradients preserves.

With per-teacher factors c_k (clipping) and ω_k = w_k·c_k:

====  ==========================================  ==================================================================
id    preserved by per-teacher factors            preserved by one factor for all
====  ==========================================  ==================================================================
W-F   yes, if c_k is a function of the same row   yes
W-N   no: Σ ω ≤ 1, with equality iff no factor    no; the step is shorter, nothing else
      is below one
W-P   yes, for c_k > 0                            yes
W-B   cap yes; floor only as a·min c; influence   cap yes; floor as a·c; influence yes
      within β(w) + log(max c/min c)
W-S   iff the margin is at least log(c_k/c_j)     yes
      for every teacher j safer than k
W-C   no: a witness is two opposed gradients,     yes: residual times c
      balanced by w, of which the longer is cut
====  ==========================================  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from trivium.axioms import BoundedInfluence, Normalization, OrdinalSafety, ParetoCompatibility
from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.geometry import influence
from trivium.simplex.order import Order


@final
@dataclass(frozen=True)
class Audit:
    """The axioms that the weights in effect keep.

    Attributes:
        residuals: by axiom id, [...]; ≤ 0 holds.
        holds: by axiom id, bool [...], with the tolerance of the axiom.
        mass: Σ ω [...].
        influence: log(max ω/min ω) [...], +∞ where some ω ≤ 0.
    """

    residuals: dict[str, Tensor]
    holds: dict[str, Tensor]
    mass: Tensor
    influence: Tensor


@renamed(margin="order_margin")
def audit(
    omega: Tensor,
    *,
    floor: float | None = None,
    cap: float | None = None,
    order: Order | None = None,
    order_margin: float = 0.0,
    gradients: Tensor | None = None,
) -> Audit:
    """Return the axioms asked of effective weights ω [..., K] as they are, of any sign and sum.

    W-N always; W-B where a floor or a cap is given; W-S where an order is, of max(ω, 0); W-C where the gradients
    [..., K, P] are, those before modification, since the question is whose loss rises along the direction taken.

    Raises:
        InputError: shapes or parameters that the axioms refuse.

    >>> found = audit(torch.tensor([0.5, 0.1]), floor=0.2)
    >>> {axiom: bool(kept) for axiom, kept in found.holds.items()}
    {'W-N': False, 'W-B': False}
    """
    require(omega.is_floating_point() and omega.ndim >= 1, "effective weights must be [..., K] numbers", omega.dtype)
    num_teachers = omega.shape[-1]
    logs = omega.clamp_min(0.0).log()
    residuals: dict[str, Tensor] = {"W-N": (omega.double().sum(dim=-1) - 1).abs().to(omega.dtype)}
    asked: dict[str, Axiom] = {"W-N": Normalization()}
    scales = {"W-N": 1.0}
    if floor is not None or cap is not None:
        bounds = BoundedInfluence(floor or 0.0, 1.0 if cap is None else cap)
        asked["W-B"], scales["W-B"] = bounds, 1.0
        residuals["W-B"] = torch.maximum(bounds.floor - omega.amin(dim=-1), omega.amax(dim=-1) - bounds.cap)
    if order is not None:
        safety = OrdinalSafety(order, order_margin)
        asked["W-S"], scales["W-S"] = safety, 16.0
        residuals["W-S"] = safety.residual(logs)
    if gradients is not None:
        pareto = ParetoCompatibility()
        asked["W-C"] = pareto
        residuals["W-C"] = pareto.residual(omega, gradients)
        # Where ω is larger than one, so is what its rounding does to a slope.
        largest = max(1.0, float(omega.abs().max()))
        scales["W-C"] = largest * float(gradients.double().square().sum(dim=-1).max())
    holds = {id_: axiom.holds(residuals[id_], num_teachers, omega.dtype, scales[id_]) for id_, axiom in asked.items()}
    return Audit(residuals, holds, omega.sum(dim=-1), influence(logs))
