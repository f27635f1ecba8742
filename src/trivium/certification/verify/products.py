"""Products of matrices and vectors along the axes of a row."""

from __future__ import annotations

from typing import Any

import torch

from trivium.certification.verify.arithmetic import add, multiply
from trivium.certification.verify.bounds import ENTRIES, Enclosure, Unsupported, select
from trivium.certification.verify.interval import magnitude
from trivium.certification.verify.reductions import linear_map, summed
from trivium.certification.verify.rounding import FLOATS, passed
from trivium.certification.verify.table import Call, entry, needs_float

_ATEN = torch.ops.aten


def contracted(call: Call, x: Any, y: Any) -> Enclosure:
    """Return a product of matrices or vectors: linear where one of them is constant, else a sum of products."""
    if not isinstance(x, Enclosure) or not isinstance(y, Enclosure):
        moving, fixed = (x, y) if isinstance(x, Enclosure) else (y, x)
        if moving.dtype not in FLOATS or fixed.dtype != moving.dtype:
            raise Unsupported(f"{call.name} of whole numbers, or of two dtypes")
        if not bool(fixed.isfinite().all()):
            raise Unsupported("a constant that is not finite")
        exact = fixed.detach().to(torch.float64)
        rows = []
        for place in range(moving.width):
            one = torch.zeros(moving.width, dtype=torch.float64)
            one[place] = 1.0
            one = one.reshape(moving.shape)
            pair = (one, exact) if isinstance(x, Enclosure) else (exact, one)
            rows.append(call.overload(*pair).flatten())
        return linear_map(moving, torch.stack(rows), call.shape, call.product_unit)
    return _of_both(call, x, y)


def _of_both(call: Call, x: Enclosure, y: Enclosure) -> Enclosure:
    """Return row i of one times column j of the other, from numbers of places that the operation is not asked for."""
    needs_float(x, call.name)
    inner = x.shape[-1]
    left = torch.arange(x.width).reshape(-1, inner)
    right = torch.arange(y.width).reshape(y.shape) if len(y.shape) > 1 else torch.arange(y.width).reshape(-1, 1)
    if len(x.shape) > 2 or len(y.shape) > 2:
        raise Unsupported(f"{call.name} of two stacks of matrices that depend on features")
    rows, columns = len(left), right.shape[1]
    if rows * columns * inner > ENTRIES:
        raise Unsupported(f"{call.name} of {rows * columns * inner} products")
    shape = (rows, columns, inner)
    one = select(x, left.unsqueeze(1).expand(shape).flatten(), shape)
    other = select(y, right.T.unsqueeze(0).expand(shape).flatten(), shape)
    products = multiply(one, other)
    made = Call(call.run, call.overload, call.name, call.dtype, (rows, columns), call.product_unit)
    found = summed(made, products, [2])
    if x.dtype is torch.float32:
        reach = passed(magnitude(one.wide_box), magnitude(other.wide_box)).reshape(-1, rows * columns, inner).sum(-1)
        found.error = found.error + 2 * call.product_unit * reach
    return found.reshaped(call.shape)


@entry(_ATEN.mm.default)
def _mm(call: Call, x: Any, mat2: Any) -> Enclosure:
    return contracted(call, x, mat2)


@entry(_ATEN.bmm.default)
def _bmm(call: Call, x: Any, mat2: Any) -> Enclosure:
    return contracted(call, x, mat2)


@entry(_ATEN.mv.default)
def _mv(call: Call, x: Any, vec: Any) -> Enclosure:
    return contracted(call, x, vec)


@entry(_ATEN.dot.default)
def _dot(call: Call, x: Any, tensor: Any) -> Enclosure:
    return contracted(call, x, tensor)


@entry(_ATEN.addmm.default)
def _addmm(call: Call, x: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Enclosure:
    if beta != 1 or alpha != 1:
        raise Unsupported(f"{call.name} with beta={beta}, alpha={alpha}")
    inner = Call(call.run, _ATEN.mm.default, call.name, call.dtype, call.shape, call.product_unit)
    return add(contracted(inner, mat1, mat2), call.lift(x))
