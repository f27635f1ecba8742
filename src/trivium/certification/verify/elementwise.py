"""Entries for arithmetic and what is composed of it, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import torch

from trivium.certification.verify.activations import normal_share
from trivium.certification.verify.arithmetic import add, constant, divide, lerp, multiply, negative, subtract
from trivium.certification.verify.bounds import Enclosure, Unsupported
from trivium.certification.verify.casts import cast, stepped
from trivium.certification.verify.functions import sigmoid, softplus
from trivium.certification.verify.interval import magnitude
from trivium.certification.verify.rounding import FLOATS, own
from trivium.certification.verify.selection import larger, smaller
from trivium.certification.verify.table import Call, entry, needs_float, needs_number

_ATEN = torch.ops.aten


def _scaled(call: Call, x: Enclosure, alpha: Any) -> Enclosure:
    if alpha == 1:
        return x
    if isinstance(alpha, bool) or x.dtype is torch.bool:
        raise Unsupported(f"{call.name} with alpha={alpha}")
    return multiply(x, constant(x, alpha))


@entry(_ATEN.add.Tensor, _ATEN.add.Scalar)
def _add(call: Call, x: Any, other: Any, alpha: Any = 1) -> Enclosure:
    x, other = call.operands(x, other)
    if x.dtype is torch.bool:  # or
        return larger(x, _scaled(call, other, alpha))
    return add(x, _scaled(call, other, alpha))


@entry(_ATEN.sub.Tensor, _ATEN.sub.Scalar)
def _subtract(call: Call, x: Any, other: Any, alpha: Any = 1) -> Enclosure:
    x, other = call.operands(x, other)
    needs_number(x, call.name)
    return subtract(x, _scaled(call, other, alpha))


@entry(_ATEN.rsub.Tensor, _ATEN.rsub.Scalar)
def _subtract_from(call: Call, x: Any, other: Any, alpha: Any = 1) -> Enclosure:
    x, other = call.operands(x, other)
    needs_number(x, call.name)
    return subtract(other, _scaled(call, x, alpha))


@entry(_ATEN.neg.default)
def _negative(call: Call, x: Any) -> Enclosure:
    operand = call.lift(x)
    needs_number(operand, call.name)
    return negative(operand)


@entry(_ATEN.mul.Tensor, _ATEN.mul.Scalar)
def _multiply(call: Call, x: Any, other: Any) -> Enclosure:
    x, other = call.operands(x, other)
    if x.dtype is torch.bool:  # and
        return smaller(x, other)
    return multiply(x, other)


@entry(_ATEN.div.Tensor, _ATEN.div.Scalar)
def _divide(call: Call, x: Any, other: Any) -> Enclosure:
    return divide(call.lift(x), call.lift(other))


@entry(_ATEN.div.Tensor_mode, _ATEN.div.Scalar_mode)
def _divide_whole(call: Call, x: Any, other: Any, rounding_mode: Any) -> Enclosure:
    if rounding_mode is None:
        return divide(call.lift(x), call.lift(other))
    if rounding_mode not in ("floor", "trunc"):
        raise Unsupported(f"{call.name} with rounding_mode={rounding_mode}")
    return _whole_quotient(call, x, other, torch.floor if rounding_mode == "floor" else torch.trunc)


@entry(_ATEN.floor_divide.default, _ATEN.floor_divide.Scalar)
def _floor_divide(call: Call, x: Any, other: Any) -> Enclosure:
    return _whole_quotient(call, x, other, torch.floor)


def _whole_quotient(call: Call, x: Any, other: Any, step: Any) -> Enclosure:
    """Of real numbers, taken for one of the whole numbers on either side where rounding may decide."""
    x, other = call.operands(x, other)
    needs_number(x, call.name)
    kind = x.dtype
    if kind not in FLOATS:
        x, other = (cast(part, torch.float64) for part in (x, other))
    return stepped(divide(x, other), step, kind)


@entry(_ATEN.silu.default)
def _silu(call: Call, x: Any) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    return multiply(operand, sigmoid(operand))


@entry(_ATEN.gelu.default)
def _gelu(call: Call, x: Any) -> Enclosure:
    """x·N(x), which the kernel computes as x/2·(1 + erf(x/√2))."""
    operand = call.lift(x)
    needs_float(operand, call.name)
    return multiply(operand, normal_share(operand))


@entry(_ATEN.softplus.default)
def _softplus(call: Call, x: Any, beta: Any = 1, threshold: Any = 20) -> Enclosure:
    """log(1 + e^{βx})/β, and x itself where βx is above the threshold."""
    operand = call.lift(x)
    needs_float(operand, call.name)
    if not 0 < beta < math.inf:
        raise Unsupported(f"softplus with beta={beta}")
    if beta == 1:
        return softplus(operand, float(threshold))
    factor = constant(operand, beta)
    return divide(softplus(multiply(operand, factor), float(threshold)), factor)


@entry(_ATEN.logaddexp.default)
def _log_add_exp(call: Call, x: Any, other: Any) -> Enclosure:
    """x + log(1 + e^(y − x))."""
    x, other = call.operands(x, other)
    needs_float(x, call.name)
    made = add(x, softplus(subtract(other, x)))
    size = torch.maximum(magnitude(x.wide_box), magnitude(other.wide_box))
    made.error = made.error + own(x.dtype, size, 8.0)
    made.modulo = None
    return made


@entry(_ATEN.lerp.Scalar, _ATEN.lerp.Tensor)
def _lerp(call: Call, x: Any, end: Any, weight: Any) -> Enclosure:
    x, end, weight = (call.lift(part) for part in (x, end, weight))
    needs_float(x, call.name)
    return lerp(x, end, weight)


@entry(_ATEN.addcmul.default)
def _add_product(call: Call, x: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Enclosure:
    x, tensor1, tensor2 = (call.lift(part) for part in (x, tensor1, tensor2))
    needs_float(x, call.name)
    multiply(tensor1, tensor2)  # which may come first, and overflow
    return add(x, multiply(_scaled(call, tensor1, value), tensor2))


@entry(_ATEN.addcdiv.default)
def _add_quotient(call: Call, x: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Enclosure:
    x, tensor1, tensor2 = (call.lift(part) for part in (x, tensor1, tensor2))
    needs_float(x, call.name)
    divide(tensor1, tensor2)  # which may come first, and overflow
    return add(x, divide(_scaled(call, tensor1, value), tensor2))


@entry(_ATEN._to_copy.default)
def _to_copy(call: Call, x: Any, dtype: Any = None) -> Enclosure:
    return call.lift(x, x.dtype if dtype is None else dtype)


@entry(_ATEN.nan_to_num.default)
def _nan_to_num(call: Call, x: Any) -> Enclosure:
    """Itself: a sub-box where a number may be none, or infinite, is marked."""
    return call.lift(x)
