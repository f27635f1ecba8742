"""A captured graph, read on sub-boxes of its features instead of on numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

# Entries register themselves.
from trivium.certification.verify import activations, elementwise, movement, ordering, products, reductions  # noqa: F401
from trivium.certification.verify.bounds import ENTRIES, Enclosure, SubBoxes, Unsupported
from trivium.certification.verify.movement import FILLED
from trivium.certification.verify.rounding import FLOATS, INTEGERS, KINDS
from trivium.certification.verify.table import TABLE, Call, bind, lifted
from trivium.weighting.features import Range
from trivium.weighting.program import Program

#: Half an ulp of a float32 product of matrices, by the setting that was on at capture.
_PRODUCTS = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
#: Numbers that one run may hold in its largest intermediate.
_HELD = 1_500_000
_ATEN = torch.ops.aten
#: Constants that are one number everywhere.
_OF_NUMBER = frozenset(
    [_ATEN.full.default, _ATEN.full_like.default, _ATEN.new_full.default, _ATEN.scalar_tensor.default]
)
#: Numbers of a constant up to which it is told apart what it is in real arithmetic.
_SMALL = 256


class Reading:
    """A program over K teachers, as bounds of one of its outputs over sub-boxes.

    What depends on no feature is evaluated once, by its own operations; equal operations on equal operands are one.

    Attributes:
        low, high: [D], the whole box; a feature with a value a teacher takes K coordinates, a shared one takes one.
        cost: of one sub-box, in entries of Jacobians. rows: sub-boxes that a run may hold.

    Raises:
        Unsupported: an operation, overload, argument or dtype that is not in the table.
    """

    def __init__(self, program: Program, ranges: Mapping[str, Range], num_teachers: int, output: int = 0) -> None:
        self.program, self.num_teachers = program, num_teachers
        self.columns: dict[str, list[int]] = {}
        low: list[float] = []
        high: list[float] = []
        for name, interval in ranges.items():
            width = interval.width(num_teachers)
            self.columns[name] = list(range(len(low), len(low) + width))
            low += [interval.low] * width
            high += [interval.high] * width
        # Rounding is then part of the graph; between whole numbers the box is only filled in.
        self._whole = {n for n, r in ranges.items() if r.integer and r.low == round(r.low) and r.high == round(r.high)}
        self.low, self.high = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        self._constants: dict[Any, Any] = {}
        self._reals: dict[int, tuple[Tensor, Tensor]] = {}
        self._steps: list[tuple[Any, Any, dict[str, Any]]] = []
        self._same: dict[Any, Any] = {}
        self._product_unit = _PRODUCTS.get(program.environment["float32 matmul precision"], 2.0**-8)
        with torch.no_grad():
            self._result = self._plan(output)
        k, d = num_teachers, max(1, self.dimension)
        sizes = [_size(node) for node, _, _ in self._steps]
        wide = max([k * k, *(_size(node) * _partners(node) for node, _, _ in self._steps)])
        self.operations = len(self._steps)
        self.cost = sum(8 + size * d for size in sizes) + 4 * (8 + k * d) + k * k * d
        self.rows = max(16, min(4096, _HELD // (wide * d)))

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.low)

    def _plan(self, output: int) -> Any:
        graph = self.program.graph.graph
        needed = self._needed(next(node for node in graph.nodes if node.op == "output").args[0][output])
        inputs = dict(zip((n for n in graph.nodes if n.op == "placeholder"), self.program.inputs, strict=True))
        self._features = {node: name for node, name in inputs.items() if node in needed}
        keys: dict[str, Any] = {}
        for node in graph.nodes:
            if node not in needed or node.op == "placeholder":
                continue
            if node.op == "get_attr":
                self._constants[node] = self.program.constants[str(node.target)]
                continue
            args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda one: self._same.get(one, one))
            key = f"{node.target} {args} {kwargs}"
            if key in keys:
                self._same[node] = keys[key]
                continue
            keys[key] = node
            self._step(node, args, kwargs)
        place = next(node for node in graph.nodes if node.op == "output").args[0][output]
        return self._same.get(place, place)

    def _needed(self, place: Any) -> set[Any]:
        """Return all that an output rests on."""
        found, open_ = set(), [place]
        while open_:
            node = open_.pop()
            if isinstance(node, fx.Node) and node not in found:
                found.add(node)
                open_ += node.all_input_nodes
        return found

    def _step(self, node: Any, args: Any, kwargs: Any) -> None:
        parts: list[Any] = []
        fx.node.map_arg((args, kwargs), parts.append)
        if node.target in FILLED and all(self._known(part) for part in parts[1:]):
            shape = parts[0].meta["val"]
            args = (torch.zeros(tuple(shape.shape), dtype=shape.dtype), *args[1:])
            parts = parts[1:]
        if all(self._known(part) for part in parts):
            args, kwargs = fx.node.map_arg((args, kwargs), lambda one: self._constants[one])
            try:
                made = self._constants[node] = node.target(*args, **kwargs)
            except Exception as error:
                raise Unsupported(f"{node.target} of constants: {' '.join(str(error).split())[:120]}") from error
            if isinstance(made, Tensor) and made.dtype in FLOATS and made.numel() <= _SMALL and node.target in TABLE:
                self._real(node.target, args, kwargs, made)
            elif isinstance(made, Tensor) and made.dtype in FLOATS and node.target in _OF_NUMBER:
                numbers = [part for part in (*args, *kwargs.values()) if isinstance(part, float)]
                exact = torch.full((1, made.numel()), *(numbers or [math.nan])[:1], dtype=torch.float64)
                if len(numbers) == 1 and made.numel() <= _SMALL and bool(exact.isfinite().all()):
                    self._reals[id(made)] = exact, exact
            return
        if node.target is operator.getitem:
            self._steps.append((node, None, {"x": args[0], "place": args[1]}))
            return
        meta = node.meta["val"]
        for value in meta if isinstance(meta, list | tuple) else [meta]:
            if value is not None and value.dtype not in KINDS:
                raise Unsupported(f"{node.target} gives {str(value.dtype).removeprefix('torch.')}")
            if value is not None and value.numel() > ENTRIES:
                raise Unsupported(f"{node.target} gives {value.numel()} numbers a row, more than {ENTRIES}")
        self._steps.append((node, TABLE.get(node.target), bind(node.target, tuple(args), kwargs)))

    def _real(self, target: Any, args: Any, kwargs: Any, made: Tensor) -> None:
        """What a small constant is in real arithmetic: 0.7·[2, 1, 0] is 1.4, 0.7, 0, whatever float32 makes of it."""
        run = SubBoxes(self.low[:0][None], self.high[:0][None], self._reals)
        call = Call(run, target, str(target), made.dtype, tuple(made.shape), self._product_unit)
        try:
            found = TABLE[target].bound(call, **bind(target, tuple(args), kwargs))
        except (Unsupported, TypeError, RuntimeError, IndexError, AttributeError):
            return  # then its own numbers are the real ones
        fits = isinstance(found, Enclosure) and found.constant and found.shape == tuple(made.shape)
        if fits and not bool(run.bad.any()):
            off = (made.to(torch.float64).reshape(1, -1) - found.lo).abs()
            if bool((found.hi - found.lo <= 1e-12 * (1 + off)).all()) and bool(off.isfinite().all()):
                self._reals[id(made)] = found.value

    def _known(self, node: Any) -> bool:
        return node in self._constants

    def run(self, low: Tensor, high: Tensor) -> tuple[Enclosure, SubBoxes]:
        """Return the weights over the sub-boxes [N, D]."""
        result, run = self.enclose(low, high)
        if result.dtype not in FLOATS:
            raise Unsupported(f"it returns {str(result.dtype).removeprefix('torch.')} numbers")
        least, most = result.wide_box
        run.mark(~(least.isfinite() & most.isfinite()).all(dim=-1), "weights that are unbounded")
        return result, run

    def enclose(self, low: Tensor, high: Tensor) -> tuple[Enclosure, SubBoxes]:
        """Return the output, whatever it is, over the sub-boxes [N, D]."""
        run = SubBoxes(low, high, self._reals)
        values: dict[Any, Any] = dict(self._constants)
        for node, name in self._features.items():
            values[node] = _feature(run, self.columns[name], node.meta["val"].dtype)
            values[node].whole = name in self._whole
        for node, entry, bound in self._steps:
            given = fx.node.map_arg(bound, lambda one: values[one])
            if entry is None:
                values[node] = given["x"][given["place"]]
                if values[node] is None:
                    raise Unsupported(f"{node.args[0].target} by its output {node.args[1]}")
                continue
            meta = node.meta["val"]
            first = meta[0] if isinstance(meta, list | tuple) else meta
            call = Call(run, node.target, str(node.target), first.dtype, tuple(first.shape), self._product_unit)
            try:
                values[node] = entry.bound(call, **given)
            except (TypeError, RuntimeError, IndexError, AttributeError) as error:
                said = " ".join(str(error).split())[:120]
                raise Unsupported(f"{call.name} as it is called here: {said}") from error
            _as_promised(call.name, values[node], meta)
        result = values[self._result]
        return (lifted(run, result, result.dtype) if isinstance(result, Tensor) else result), run

    def describe(self, low: Tensor, high: Tensor) -> str:
        """Return a sub-box [D] in words."""
        parts = []
        for name, columns in self.columns.items():
            ends = [f"{low[c]:.4g}" if low[c] == high[c] else f"{low[c]:.4g} … {high[c]:.4g}" for c in columns]
            parts.append(f"{name} = ({', '.join(ends)})" if len(ends) > 1 else f"{name} = {ends[0]}")
        return ", ".join(parts)


def _feature(run: SubBoxes, columns: list[int], dtype: torch.dtype) -> Enclosure:
    low = torch.cat([run.low[:, columns], run.centre[:, columns]])
    high = torch.cat([run.high[:, columns], run.centre[:, columns]])
    steep = torch.zeros(len(columns), run.dimension, dtype=torch.float64)
    steep[range(len(columns)), columns] = 1.0
    steep = steep.expand(run.count, -1, -1)
    made = Enclosure(run, (low, high), lambda: (steep, steep), (len(columns),), dtype)
    made.nonnegative = bool((low >= 0).all())
    return made


def _as_promised(name: str, made: Any, meta: Any) -> None:
    """Shape and dtype must be those of the graph; whole numbers are whole."""
    if isinstance(meta, list | tuple):
        if not isinstance(made, tuple) or len(made) != len(meta):
            raise Unsupported(f"{name} gives {len(meta)} results")
        for one, promised in zip(made, meta, strict=True):
            if one is not None:
                _as_promised(name, one, promised)
        return
    if not isinstance(made, Enclosure) or made.shape != tuple(meta.shape) or made.dtype != meta.dtype:
        found = f"{made.dtype} {list(made.shape)}" if isinstance(made, Enclosure) else type(made).__name__
        raise Unsupported(f"{name} gives {meta.dtype} {list(meta.shape)} and was bounded as {found}")
    if made.dtype in INTEGERS:
        made.lo, made.hi = made.lo.ceil(), made.hi.floor()
    made.check(name)


def _size(node: Any) -> int:
    """Return numbers of its first result."""
    meta = node.meta.get("val")
    first = meta[0] if isinstance(meta, list | tuple) else meta
    return int(first.numel()) if isinstance(first, Tensor) else 1


def _partners(node: Any) -> int:
    """Return how many entries each is held against: all pairs in a softmax or a sort."""
    pairs = ("softmax", "logsumexp", "sort", "topk", "median", "kthvalue", "gather", "index", "div")
    operand = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
    known = isinstance(operand, Tensor) and any(pair in str(node.target) for pair in pairs)
    return max(operand.shape, default=1) if known and operand is not None else 1
