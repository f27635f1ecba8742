"""W-C as a check: rules that weight teachers by their gradients, where no feature box exists to search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from trivium.axioms import ParetoCompatibility
from trivium.testing.cases import gradients


@dataclass(frozen=True)
class GradientRule:
    """Weights at the task scale from the teachers' gradients.

    Attributes:
        function: gradients [K, P] → weights [K]; not logarithms, since effective weights may be zero.
        name: what the tests call it.
    """

    function: Callable[[Tensor], Tensor]
    name: str


def breach(rule: GradientRule, num_teachers: int) -> str | None:
    """Return what a test says where the rule breaks W-C at one of :func:`~trivium.testing.cases.gradients`, or None.

    Cost: 16 calls of the rule in float64.

    >>> uniform = GradientRule(lambda g: g.new_full((len(g),), 1 / len(g)), "uniform")
    >>> breach(uniform, 1) is None, breach(uniform, 2) is None
    (True, False)
    """
    axiom, worst = ParetoCompatibility(), None
    for case, g in gradients(num_teachers).items():
        weights = rule.function(g.clone())
        if weights.shape != (num_teachers,):
            return f"{case} gradients: the weights must be of shape ({num_teachers},), received {tuple(weights.shape)}"
        residual = axiom.residual(weights, g)
        scale = float(g.square().sum(dim=-1).max())
        if not bool(axiom.holds(residual, num_teachers, scale=max(scale, 1e-300))):
            size = float(residual) / max(scale, 1e-300)
            if worst is None or not size <= worst[0]:
                worst = (size, case, float(residual), weights.tolist(), g.tolist())
    if worst is None:
        return None
    _, case, size, w, rows = worst
    shown = ", ".join(f"{value:.6g}" for value in w)
    return (
        f"residual  {size:.6g}: to first order some teacher's loss rises\n"
        f"witness   {case} gradients {rows}, weights ({shown})\n"
        f"replay    g = torch.tensor({rows}, dtype=torch.float64)\n"
        "          trivium.axioms.ParetoCompatibility().residual(YOUR_RULE(g), g)"
    )
