"""How far rounding may move the log weights of a captured rule, derived from its graph.

Each operation returns its exact result off by a few units in the last place of what it handles, and an error there
moves log w_k by the derivative of log w_k in that result. To first order the whole is off by at most

    e_k = Σ_nodes Σ_entries |∂ log w_k / ∂ node| · ulps(node) · eps(node) · magnitude(node),

the running error analysis of Higham, *Accuracy and Stability of Numerical Algorithms* (2002), §3.3, with derivatives
from automatic differentiation instead of a bound an operation.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.sites import name_of
from trivium.weighting.program import Program

#: Operations whose result is one of their inputs, or exact.
_EXACT: Final = frozenset(
    {"neg", "abs", "relu", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "amax", "amin", "max", "min"}
    | {"sort", "topk", "where", "gather", "index", "index_select", "select", "slice", "cat", "stack", "expand", "view"}
    | {"clone", "reshape", "permute", "transpose", "t", "squeeze", "unsqueeze", "alias", "detach", "floor", "ceil"}
    | {"round", "sign", "trunc", "flip", "roll", "diagonal", "full", "full_like", "zeros_like", "ones_like"}
    | {"slice_scatter", "masked_fill"}
)
#: Operations that add up their first argument, which may be far larger than the sum.
_SUMS: Final = frozenset({"sum", "mean", "cumsum", "var", "std", "logsumexp", "logcumsumexp", "linalg_vector_norm"})
_PRODUCTS: Final = frozenset({"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "linear", "matmul"})
_ULPS: Final = 4.0


class _Errors(fx.Interpreter):
    """Runs a graph with an error added to each result, or notes how large each may be."""

    def __init__(self, graph: fx.GraphModule, errors: dict[str, Tensor] | None) -> None:
        super().__init__(graph)
        self.errors, self.sizes = errors, dict[str, Tensor]()

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if node.op != "call_function" or not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        name = name_of(node.target)
        if name in _EXACT or not node.target:
            return result
        if self.errors is not None:
            return result + self.errors[node.name].to(result.dtype) if node.name in self.errors else result
        inputs = [self.env[part] for part in node.all_input_nodes if part in self.env]
        inputs = [value for value in inputs if isinstance(value, Tensor) and value.is_floating_point()]
        if inputs:
            size = _size(name, result, inputs) * torch.finfo(result.dtype).eps
            if name == "to_copy" and torch.finfo(inputs[0].dtype).eps <= torch.finfo(result.dtype).eps:
                size = size if inputs[0].dtype is not result.dtype else torch.zeros_like(size)
            self.sizes[node.name] = size + torch.where(result == 0, 0.0, torch.finfo(result.dtype).smallest_normal)
        return result


def _size(name: str, result: Tensor, inputs: list[Tensor]) -> Tensor:
    """ulps · magnitude of a result, float64."""
    value = result.double().abs()
    if name in _SUMS:
        return (inputs[0].double().abs().sum() + value) * (_ULPS + inputs[0].numel())
    if name in _PRODUCTS:
        a, b = inputs[-2:] if len(inputs) > 1 else inputs * 2
        inner = a.shape[-1]
        return (inner * a.double().abs().amax() * b.double().abs().amax() + value) * (_ULPS + inner)
    if name == "softmax":  # exp(x - max): the difference is rounded by its own magnitude
        return value * (_ULPS + value.numel() + value.clamp(min=1e-300).log().abs())
    if name == "log_softmax":
        return (value + inputs[0].double().abs()) * _ULPS + value.numel()
    return value * _ULPS


def errors(program: Program, box: Box, points: Tensor, dtype: torch.dtype) -> Tensor:
    """max_k e_k, doubled for a difference of two log weights, at points [N, D]: nats [N]."""

    def row(*features: Tensor) -> Tensor:
        first = _Errors(program.graph, None)
        first.run(*features)

        def moved(added: dict[str, Tensor]) -> Tensor:
            outputs: tuple[Tensor, ...] = _Errors(program.graph, added).run(*features)
            return outputs[1].double()

        zeros = {name: torch.zeros_like(size) for name, size in first.sizes.items()}
        if not zeros:
            return features[0].new_zeros((), dtype=torch.float64)
        slopes = torch.func.jacrev(moved)(zeros)
        total = sum(
            (slopes[name].abs() * size).nan_to_num(nan=0.0, posinf=0.0).reshape(len(slopes[name]), -1).sum(1)
            for name, size in first.sizes.items()
        )
        return 2 * total.amax()  # type: ignore[no-any-return]

    features = box.split(points, dtype)
    try:
        with torch.no_grad():
            return torch.vmap(row)(*(features[name] for name in program.inputs))
    except Exception:  # an input at which the rule raises, or an operation without a derivative
        return torch.zeros(len(points), dtype=torch.float64)
