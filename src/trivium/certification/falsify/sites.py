"""Where a captured rule branches: comparisons, roundings, orders and indices, read as nodes of its graph.

Two things are known of a row at each such node: a *key*, which piece of the rule the row is on (the outcome of a
comparison, a floor, an index), and a *distance*, how far it is from where that outcome changes. Keys are bisected,
distances are minimized; both are hints for a search, so an operation that is not known here costs nothing but the hint.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, fx

from trivium.certification.falsify.probe import Probe
from trivium.weighting.program import Program

_COMPARE: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "maximum", "minimum"})
_CLAMP: Final = frozenset({"clamp", "clamp_min", "clamp_max", "hardtanh", "threshold"})
_AT_ZERO: Final = frozenset(
    {"relu", "abs", "sign", "sgn", "sigmoid", "tanh", "erf", "atan", "exp", "pow", "square", "log", "sqrt", "rsqrt"}
    | {"reciprocal", "softplus", "leaky_relu", "logical_not", "heaviside", "log1p", "silu", "gelu", "elu"}
)
_ROUND: Final = frozenset({"floor", "ceil", "round", "trunc", "frac"})
_PEAK: Final = frozenset({"amax", "amin", "max", "min", "argmax", "argmin", "sort", "topk"})
#: Numbers of one operation, and of all operations, that are looked at; numbers of a constant that are tried as levels.
_WIDEST: Final = 64
_MOST: Final = 192
_LEVELS: Final = 64
#: Types of arguments that may hold a number of the rule; dimensions and sizes are ``int``.
_NUMBERS: Final = frozenset({"number", "Optional[number]", "float", "Tensor"})


class VisitedSites(NamedTuple):
    """Keys and distances [N, S] of a batch, a column a place where the rule may branch."""

    keys: Tensor
    distances: Tensor


class _Reader(fx.Interpreter):
    """Runs a graph on one row and notes where it branches."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.keys: list[Tensor] = []
        self.distances: list[Tensor] = []
        self.columns = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_function(target, args, kwargs)
        if self.columns < _MOST and args and isinstance(args[0], Tensor):
            self._note(name_of(target), args, kwargs, result)
        return result

    def _note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        first = args[0]
        if name in _COMPARE and len(args) > 1 and first.dtype is not torch.bool:
            self._add(first - args[1])
        elif name in _CLAMP:
            for bound in (*args[1:3], kwargs.get("min"), kwargs.get("max")):
                if bound is not None:
                    self._add(first - bound)
        elif name in _AT_ZERO and first.is_floating_point():
            self._add(first)
        elif name in _ROUND and first.is_floating_point():
            self._add(first - first.round(), key=first.floor() + (first.round() == first))
        elif name in ("remainder", "fmod", "floor_divide") or kwargs.get("rounding_mode"):
            turns = first / args[1]
            self._add(turns - turns.round(), key=turns.floor())
        elif name == "div" and isinstance(args[1], Tensor):
            self._add(args[1])
        elif first.is_floating_point():
            if name in _PEAK and first.ndim == 1 and len(first) > 1:
                gaps = first.sort().values.diff()
                peak = first.argmin() if "min" in name else first.argmax()
                self._add(gaps[:1] if "min" in name else gaps[-1:], key=peak.reshape(1))
            for output in result if isinstance(result, tuple | list) else (result,):
                if isinstance(output, Tensor) and not output.is_floating_point():
                    self._add(torch.full_like(output, math.nan, dtype=torch.float64), key=output)

    def _add(self, distance: Tensor, key: Tensor | None = None) -> None:
        if 0 < distance.numel() <= _WIDEST:
            self.keys.append((distance.sign() if key is None else key).reshape(-1).double())
            self.distances.append(distance.reshape(-1).double())
            self.columns += distance.numel()


class Sites:
    """The places where one program branches, evaluated under ``vmap`` as the program itself is."""

    def __init__(self, probe: Probe, program: Program, dtype: torch.dtype) -> None:
        self.probe, self.dtype = probe, dtype

        def row(*features: Tensor) -> tuple[Tensor, Tensor]:
            reader = _Reader(program.graph)
            reader.run(*features)
            none = features[0].new_zeros(0, dtype=torch.float64)
            return torch.cat([none, *reader.keys]), torch.cat([none, *reader.distances])

        self._row, self._inputs = torch.vmap(row), program.inputs

    def __call__(self, points: Tensor) -> VisitedSites:
        """Keys and distances at points [N, D]."""
        parts = []
        for chunk in points.split(4096):
            self.probe.clock.check()
            features = self.probe.box.split(chunk, self.dtype)
            self.probe.rows += len(chunk)
            self.probe.calls += 1
            with torch.no_grad():
                parts.append(self._row(*(features[name] for name in self._inputs)))
        return VisitedSites(torch.cat([keys for keys, _ in parts]), torch.cat([distances for _, distances in parts]))


def name_of(target: Any) -> str:
    """``softmax`` of ``aten._softmax.default``."""
    overload = isinstance(target, torch._ops.OpOverload)
    return target._schema.name.removeprefix("aten::").strip("_") if overload else ""


def numbers(program: Program) -> list[float]:
    """Distinct finite numbers in a graph, at most 64: thresholds are where a rule jumps, so they are worth probing."""
    found: dict[float, None] = {}
    for node in program.graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
                if isinstance(value, int | float) and str(argument.type) in _NUMBERS:
                    found.setdefault(float(value))
    for value in program.constants.values():
        if value.numel() <= _LEVELS and not value.is_complex():
            found.update(dict.fromkeys(value.double().flatten().tolist()))
    return [value for value in found if math.isfinite(value)][:_LEVELS]


def branch_form(program: Program) -> tuple[str, ...]:
    """Return what a graph computes in real arithmetic: its operations with their numbers, without conversions
    of dtype."""
    steps = []
    for node in program.graph.graph.nodes:
        if node.op != "call_function" or (name_of(node.target) in ("to_copy", "clone") and _floats(node)):
            continue
        plain = [arg for arg in (*node.args, *node.kwargs.values()) if isinstance(arg, int | float | str)]
        steps.append(f"{node.target} {plain}")
    return tuple(steps)


def _floats(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()
