"""Where a rule branches: comparisons, roundings, sorts and peaks seen while it runs.

Every operation of PyTorch that a rule executes passes a dispatch mode. Two things are kept a row: a *key*, which
piece of the rule the row is on (the outcome of a comparison, a floor, an index), and a *distance*, how far the row is
from where that outcome changes. Keys are bisected, distances are minimized; both are hints for a search, so an
operation that is not known here costs nothing but the hint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trivium.certify.falsify.probe import Probe

_COMPARE: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "maximum", "minimum"})
_CLAMP: Final = frozenset({"clamp", "clamp_min", "clamp_max", "hardtanh", "threshold"})
_AT_ZERO: Final = frozenset(
    {"relu", "abs", "sign", "sgn", "sigmoid", "tanh", "erf", "atan", "exp", "pow", "square", "log", "sqrt", "rsqrt"}
    | {"reciprocal", "softplus", "leaky_relu", "logical_not", "heaviside", "log1p", "silu", "gelu", "elu"}
)
_ROUND: Final = frozenset({"floor", "ceil", "round", "trunc", "frac"})
_WIDEST: Final = 64
_MOST: Final = 192


class Trace(TorchDispatchMode):
    """Keys and distances of a batch of ``rows`` rows, a column a place where the rule may branch."""

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows = rows
        self.keys: list[Tensor] = []
        self.distances: list[Tensor] = []
        self.columns = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and note where it branches."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.rstrip("_")
        if self.columns < _MOST:
            self._note(name, args, kwargs or {}, result)
        return result

    def _note(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        first = args[0] if args else None
        if not isinstance(first, Tensor) or name in ("isnan", "detach"):
            return
        if name in _COMPARE and len(args) > 1 and first.dtype is not torch.bool:
            self._add(first - args[1])
        elif name in _CLAMP:
            bounds = [b for b in (*args[1:3], kwargs.get("min"), kwargs.get("max")) if b is not None]
            for bound in bounds:
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
        else:
            outputs = result if isinstance(result, tuple | list) else (result,)
            for output in outputs:
                if isinstance(output, Tensor) and not output.is_floating_point() and first.is_floating_point():
                    self._add(torch.full_like(output, torch.nan, dtype=torch.float64), key=output)

    def _add(self, distance: Tensor, key: Tensor | None = None) -> None:
        key = distance.sign() if key is None else key
        if key.ndim == 0 or key.shape[0] != self.rows or key.numel() > self.rows * _WIDEST:
            return
        self.keys.append(key.reshape(self.rows, -1).double())
        self.distances.append(distance.reshape(self.rows, -1).double())
        self.columns += self.keys[-1].shape[1]


class Precision(TorchDispatchMode):
    """Whether a rule computes in less than float64 somewhere, as with a constant ``torch.tensor([0.5, 0.3])``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.single = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and look at the dtype of its result."""
        result = func(*args, **(kwargs or {}))
        for tensor in (*args, result):
            if isinstance(tensor, Tensor) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                # Numbers such as 2 or 0.5 are the same in every precision, so a table of them rounds nothing.
                self.single |= not bool((tensor == tensor.bfloat16()).all())
        return result


class Traced:
    """What a traced evaluation gives: weights, and keys and distances [N, S] (S = 0 where nothing branches)."""

    def __init__(self, weights: Tensor, log_weights: Tensor, keys: Tensor, distances: Tensor) -> None:
        self.weights, self.log_weights, self.keys, self.distances = weights, log_weights, keys, distances


def traced(probe: Probe, points: Tensor, columns: int | None = None) -> Traced | None:
    """Evaluate a batch under the trace in chunks; None where it raises, or branches in another number of places.

    The columns mean the same in every call as long as the rule runs the same operations, which it does unless it
    branches in Python; ``columns`` is the number expected.
    """
    parts = []
    for chunk in points.split(4096):
        padded = chunk if len(chunk) >= 64 else torch.cat([chunk, chunk[-1:].expand(64 - len(chunk), -1)])
        trace = Trace(len(padded))
        try:
            with trace:
                w, log_w = probe.call(padded)
        except Exception:  # the plain evaluation reports it
            return None
        empty = [torch.zeros(len(padded), 0, dtype=torch.float64)]
        keys, distances = torch.cat(trace.keys or empty, dim=1), torch.cat(trace.distances or empty, dim=1)
        columns = keys.shape[1] if columns is None else columns
        if keys.shape[1] != columns:
            return None
        n = len(chunk)
        parts.append((w[:n], log_w[:n], keys[:n], distances[:n]))
    return Traced(*(torch.cat(column) for column in zip(*parts, strict=True)))
