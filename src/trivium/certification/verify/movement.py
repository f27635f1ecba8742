"""Pure movement of data: an operation that only picks entries is applied to their numbers, and the places are read.

Nothing here computes. What is picked by an index that depends on features is bounded over all that it may pick.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import ENTRIES, Enclosure, Unsupported, join, number, select
from trivium.certification.verify.casts import unknown
from trivium.certification.verify.interval import Interval
from trivium.certification.verify.rounding import INTEGERS
from trivium.certification.verify.table import TABLE, Call, OperationEntry, entry, lifted
from trivium.certification.verify.totals import Total

_ATEN = torch.ops.aten
#: Numbers that indices may choose from, over all outputs.
_CANDIDATES = 2_000_000
#: Numbers of a table up to which it is bounded as any tensor is; of longer ones only ranges are told.
_SMALL = 1024
#: Operations on one tensor whose other arguments are constants, all of which count.
_OF_ONE = (
    "view.default _unsafe_view.default alias.default clone.default detach.default lift_fresh.default select.int "
    "slice.Tensor expand.default unsqueeze.default squeeze.default squeeze.dim squeeze.dims permute.default "
    "transpose.int t.default flip.default roll.default rot90.default repeat.default diagonal.default unfold.default "
    "tril.default triu.default constant_pad_nd.default diag_embed.default split.Tensor split_with_sizes.default "
    "unbind.int index_select.default"
)
#: Operations that write a second tensor, or a number, into a copy of the first.
_OF_TWO = "select_scatter.default slice_scatter.default diagonal_scatter.default"


def overloads(names: str) -> list[Any]:
    """Operations by name."""
    return [getattr(getattr(_ATEN, name.split(".")[0]), name.split(".")[1]) for name in names.split()]


def _places(call: Call, count: int, shape: tuple[int, ...], arguments: dict[str, Any], start: int = 0) -> Any:
    numbers = torch.arange(start, start + count).reshape(shape)
    return call.overload(**{"self": numbers, **arguments})


def moved(call: Call, x: Enclosure, places: Any) -> Any:
    """Return what an operation on numbers of places gave, for the entries themselves."""
    if isinstance(places, list | tuple):
        return tuple(moved(call, x, part) for part in places)
    return select(x, places.flatten(), tuple(places.shape))


def _of_one(call: Call, x: Enclosure, **arguments: Any) -> Any:
    given = {key: value for key, value in arguments.items() if key != "memory_format"}
    if any(isinstance(value, Enclosure) for value in given.values()):
        raise Unsupported(f"{call.name} by an index that depends on features")
    padding = given.pop("value", 0)
    fills = call.name.split(".")[1] in ("tril", "triu", "constant_pad_nd", "diag_embed")
    if not fills:
        return moved(call, x, _places(call, x.width, x.shape, given))
    # Place 0 is what is filled in.
    blank = number(x.run, padding, x.dtype)
    places = _places(call, x.width, x.shape, given, start=1)
    return moved(call, join(x.run, [blank.reshaped((1,)), x.reshaped((x.width,))]), places)


def _of_two(call: Call, x: Any, src: Any, **arguments: Any) -> Any:
    one, other = call.lift(x), call.lift(src)
    numbers = torch.arange(one.width + other.width)
    places = call.overload(
        numbers[: one.width].reshape(one.shape), numbers[one.width :].reshape(other.shape), **arguments
    )
    return moved(call, join(call.run, [one, other]), places)


def _register(names: str, bound: Callable[..., Any]) -> None:
    """With all arguments of the schema honoured: they go to the operation itself."""
    for overload in overloads(names):
        keys = frozenset("x" if a.name == "self" else a.name for a in overload._schema.arguments)
        TABLE[overload] = OperationEntry(bound, keys)


_register(_OF_ONE, lambda call, x, **rest: _of_one(call, call.lift(x, x.dtype), **rest))
_register(_OF_TWO, _of_two)


@entry(_ATEN.cat.default)
def _cat(call: Call, tensors: Any, dim: int = 0) -> Any:
    # Operands of no entries and one axis are left out, whatever their shape.
    return _together(call, [t for t in tensors if tuple(t.shape) != (0,)], lambda parts: torch.cat(parts, dim))


@entry(_ATEN.stack.default)
def _stack(call: Call, tensors: Any, dim: int = 0) -> Any:
    return _together(call, list(tensors), lambda parts: torch.stack(parts, dim))


def _together(call: Call, tensors: list[Any], step: Callable[[list[Tensor]], Tensor]) -> Any:
    parts = [call.lift(tensor) for tensor in tensors]
    count = sum(part.width for part in parts)
    if count > ENTRIES:
        raise Unsupported(f"a tensor of {count} numbers a row, more than {ENTRIES}")
    numbers = torch.arange(count).split([part.width for part in parts])
    shaped = [places.reshape(part.shape) for places, part in zip(numbers, parts, strict=True)]
    return moved(call, join(call.run, parts), step(shaped))


def pick_entries(
    x: Any, index: Enclosure, shape: tuple[int, ...], count: int, table: Tensor, dtype: torch.dtype
) -> Enclosure:
    """Entries of x at places that depend on features: hulls over all that may be picked.

    Args:
        x: a Bounds, or a constant tensor of any size.
        index: whole numbers, [·, M'] after broadcasting to one an output.
        shape: of the result, M' entries.
        count: how many each index chooses among, P. Negative ones count from the end.
        table: [M', P], the places in x of the candidates of each output.
    """
    run = index.run
    if table.numel() > _CANDIDATES:
        raise Unsupported(f"a choice among {table.numel()} numbers by an index that depends on features")
    low, high = index.lo.ceil(), index.hi.floor()
    outside = (low < -count) | (high > count - 1)
    n = run.count
    run.mark((outside if len(outside) == 1 else outside[:n]).any(dim=-1), "an index outside of what it indexes")
    low, high = low.clamp(-count, count - 1).long(), high.clamp(-count, count - 1).long()
    # Negative and other places are two ranges; where the sign is open all are.
    open_ = (low < 0) & (high >= 0)
    first = torch.where(open_, 0, torch.where(low < 0, low + count, low))
    last = torch.where(open_, count - 1, torch.where(high < 0, high + count, high))
    last = torch.maximum(first, last)
    if isinstance(x, Enclosure) or x.numel() <= _SMALL:
        return _among(lifted(run, x, dtype), index, shape, table, first, last)
    flat = x.detach()
    if not flat.dtype.is_floating_point and bool((flat.long().abs() > 2**53).any()):
        raise Unsupported("a whole number beyond 2^53")
    if flat.is_complex() or not bool(flat.to(torch.float64).isfinite().all()):
        raise Unsupported("a table with numbers that are not finite")
    values = flat.to(torch.float64).flatten()[table]
    value = _range(values, first, last, smallest=True), _range(values, first, last, smallest=False)
    made = Enclosure(run, value, lambda: unknown((index,), _half(first != last, n)), shape, dtype)
    made.nonnegative = bool((value[0] >= 0).all())
    return made


def _half(rows: Tensor, n: int) -> Tensor:
    return rows if len(rows) == 1 else rows[:n]


def _range(values: Tensor, first: Tensor, last: Tensor, smallest: bool) -> Tensor:
    """min or max of values[m, first…last] for each output m, by a table of doubling windows."""
    pick = torch.minimum if smallest else torch.maximum
    levels = [values]
    width = 1
    while 2 * width <= values.shape[1]:
        last_start = values.shape[1] - 2 * width + 1
        levels.append(pick(levels[-1][:, :last_start], levels[-1][:, width : width + last_start]))
        width *= 2
    padded = torch.stack([torch.nn.functional.pad(level, (0, values.shape[1] - level.shape[1])) for level in levels])
    span = (last - first + 1).double()
    level = torch.log2(span).floor().long().clamp(0, len(levels) - 1)
    level = torch.where(2.0**level > span, level - 1, level)
    row = torch.arange(values.shape[0]).expand_as(first)
    return pick(padded[level, row, first], padded[level, row, last - (2**level) + 1])


def _among(
    x: Enclosure, index: Enclosure, shape: tuple[int, ...], table: Tensor, first: Tensor, last: Tensor
) -> Enclosure:
    run, n = index.run, index.run.count
    places = torch.arange(table.shape[1])
    possible = (places >= first.unsqueeze(-1)) & (places <= last.unsqueeze(-1))  # [2N or 1, M', P]
    low = torch.where(possible, x.lo[:, table], math.inf).amin(-1)
    high = torch.where(possible, x.hi[:, table], -math.inf).amax(-1)
    own = _half(possible, n)

    def slopes() -> Interval | None:
        inner, jump = x.jacobian, unknown((index,), _half(first != last, n))
        if inner is None:
            return jump
        out = ~own.unsqueeze(-1)
        chosen = (
            inner[0][:, table].masked_fill(out, math.inf).amin(dim=2),
            inner[1][:, table].masked_fill(out, -math.inf).amax(dim=2),
        )
        return chosen if jump is None else iv.hull(chosen, jump)

    made = Enclosure(run, (low, high), slopes, shape, x.dtype)
    made.error = torch.where(own, x.error[:, table], 0.0).amax(-1)
    made.nonnegative = x.nonnegative
    if x.constant and (index.width == 1 or index.repeated is not None):  # one of the rows of a table
        rows = slice(int(first.min()), int(last.max()) + 1)
        sums = [Total.between(x.lo[0, row].tolist(), x.hi[0, row].tolist()) for row in table.T[rows]]
        made.total = functools.reduce(Total.either, sums).rounded(float(x.error[0, table].sum(0)[rows].max()))
    return made


def _index_of(call: Call, index: Any) -> Enclosure:
    made = call.lift(index, index.dtype)
    if made.dtype not in INTEGERS:
        raise Unsupported(f"{call.name} by {str(made.dtype).removeprefix('torch.')}")
    return made


@entry(_ATEN.index.Tensor)
def _index(call: Call, x: Any, indices: Any) -> Any:
    moving = [place for place, index in enumerate(indices) if isinstance(index, Enclosure)]
    if not moving:
        operand = call.lift(x, x.dtype)
        return moved(call, operand, call.overload(torch.arange(operand.width).reshape(operand.shape), indices))
    if len(moving) > 1 or any(index is not None for place, index in enumerate(indices) if place != moving[0]):
        raise Unsupported(f"{call.name} by several indices that depend on features")
    index = _index_of(call, indices[moving[0]])
    axis, count = moving[0], x.shape[moving[0]]
    numbers = torch.arange(math.prod(x.shape)).reshape(tuple(x.shape))
    every = [None] * axis
    # The places for each value of the index, beside the output that the index with its own numbers gives.
    which = call.overload(torch.zeros_like(numbers), [*every, torch.zeros(index.shape, dtype=torch.int64)]).shape
    own = torch.arange(index.width).reshape(index.shape)
    outer, inner = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
    owner = own.reshape(*([1] * axis), *index.shape, *([1] * len(inner))).expand(which).flatten()
    columns = numbers.movedim(axis, -1)  # [outer, inner, P]
    spread = columns.reshape(*outer, *([1] * len(index.shape)), *inner, count)
    table = spread.expand(*which, count).reshape(-1, count)
    return pick_entries(x, select(index, owner, (len(owner),)), tuple(which), count, table, call.dtype)


@entry(_ATEN.gather.default)
def _gather(call: Call, x: Any, dim: int, index: Any) -> Any:
    if not isinstance(index, Enclosure):
        operand = call.lift(x, x.dtype)
        return moved(call, operand, torch.arange(operand.width).reshape(operand.shape).gather(dim, index))
    picked = _index_of(call, index)
    if not x.shape:
        raise Unsupported(f"{call.name} from a single number")
    numbers, axis = torch.arange(math.prod(x.shape)).reshape(tuple(x.shape)), dim % len(x.shape)
    count = x.shape[axis]
    rows = numbers.movedim(axis, -1)
    cut = tuple(slice(0, size) for place, size in enumerate(picked.shape) if place != axis)
    table = rows[cut].unsqueeze(axis).expand(*picked.shape, count).reshape(-1, count)
    return pick_entries(x, picked, picked.shape, count, table, call.dtype)


@entry(_ATEN.scatter.src, _ATEN.scatter.value)
def _scatter(call: Call, x: Any, dim: int, index: Any, src: Any = None, value: Any = None) -> Any:
    if isinstance(index, Enclosure) or (index.dim() < 2 and index.flatten().unique().numel() < index.numel()):
        raise Unsupported(f"{call.name} by an index that depends on features, or that repeats")
    one = call.lift(x)
    numbers = torch.arange(one.width).reshape(one.shape)
    if src is None:
        other = call.lift(value).reshaped((1,))
        return moved(call, join(call.run, [one, other]), numbers.scatter(dim, index, one.width))
    if index.dim() > 1:
        raise Unsupported(f"{call.name} along one of several axes")
    other = call.lift(src)
    own = torch.arange(one.width, one.width + other.width).reshape(other.shape)
    return moved(call, join(call.run, [one, other]), numbers.scatter(dim, index, own))


@entry(_ATEN.index_put.default)
def _index_put(call: Call, x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    if accumulate or any(isinstance(index, Enclosure) for index in indices):
        raise Unsupported(f"{call.name} by an index that depends on features, or that adds up")
    one, other = call.lift(x), call.lift(values)
    numbers = torch.arange(one.width + other.width)
    written = numbers[: one.width].reshape(one.shape)
    counted = torch.zeros(one.shape).index_put(indices, torch.ones(()), accumulate=True)
    if bool((counted > 1).any()):
        raise Unsupported(f"{call.name} by an index that repeats")
    places = call.overload(written, indices, numbers[one.width :].reshape(other.shape))
    return moved(call, join(call.run, [one, other]), places)


#: Constants in the shape of a tensor, whose numbers do not matter.
FILLED = frozenset(
    overloads(
        "zeros_like.default ones_like.default full_like.default new_zeros.default new_ones.default new_full.default"
    )
)


@entry(_ATEN.fill.Scalar, _ATEN.fill.Tensor)
def _fill(call: Call, x: Any, value: Any) -> Any:
    """Return one number in the shape of x."""
    filled = call.lift(value)
    return select(filled, torch.zeros(math.prod(call.shape), dtype=torch.int64), call.shape)
