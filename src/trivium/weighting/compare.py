"""Where two readings of one function part: row and batch, row and vmap, two captures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from trivium.errors import RuleError
from trivium.weighting.program import Opaque, Program


@dataclass(frozen=True, eq=False)
class Difference:
    """A batch on which a function as it is written gives a row other weights than its graph.

    Attributes:
        features: the batch, [N, width] by name.
        row: the one that differs most, by ``size``.
        line: of the user's file, where batch and row part, if known.
    """

    features: Mapping[str, Tensor]
    row: int
    size: float
    line: int | None

    def error(self, name: str) -> RuleError:
        """Return what a run says that may not start."""
        where = f" (line {self.line})" if self.line else ""
        return RuleError(
            f"rule {name!r} must mean the same on one row [K] as on a batch of rows [..., K]",
            f"weights that differ by {self.size:.3g}{where}"
            if math.isfinite(self.size)
            else "weights of another shape",
            "Reduce and index along the last axis only: x.mean(-1), x[..., i], x.shape[-1].",
        )


def parting_line(one: Program, many: Program, batch: Mapping[str, Tensor]) -> int | None:
    """Return the line at which the graph of a row and that of a batch begin to give different numbers, if known."""
    seen, whole = _Values(one.graph), _Values(many.graph)
    try:
        with torch.no_grad():
            whole.run(*(batch[name] for name in many.inputs))
            rows = []
            for row in range(len(next(iter(batch.values())))):
                seen.run(*(batch[name][row] for name in one.inputs))
                rows.append(dict(seen.values))
    except Exception:  # only the line is lost
        return None
    for a, b in zip(one.graph.graph.nodes, many.graph.graph.nodes, strict=False):
        if a.op == "output" or b.op == "output":
            break
        line = many.lines.get(b.name) or one.lines.get(a.name)
        if a.target != b.target and "placeholder" not in (a.op, b.op) and "get_attr" not in (a.op, b.op):
            return line
        value = whole.values.get(b)
        alone = [values.get(a) for values in rows]
        if not isinstance(value, Tensor) or not all(isinstance(v, Tensor) for v in alone):
            continue
        stacked = torch.stack([v for v in alone if isinstance(v, Tensor)])
        apart = stacked.shape != value.shape and value.shape != stacked.shape[1:]
        if apart or (
            stacked.shape == value.shape and not torch.allclose(stacked.double(), value.double(), 1e-4, 1e-5, True)
        ):
            return line
    return None


class _Values(fx.Interpreter):
    """Keeps the value of every node of the last run."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.values: dict[Any, Any] = {}
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def same(one: Program | Opaque, other: Program | Opaque) -> bool:
    """Return whether two captures are of one function."""
    return isinstance(one, Program) and isinstance(other, Program) and one.digest == other.digest


def first_difference(one: Program, other: Program) -> int | None:
    """Return the line of the user's file at which two captures part, if known."""
    nodes = zip(one.graph.graph.nodes, other.graph.graph.nodes, strict=False)
    for (a, b), (left, right) in zip(nodes, zip(one.listing, other.listing, strict=False), strict=False):
        if left != right:
            return other.lines.get(b.name) or one.lines.get(a.name)
    return None
