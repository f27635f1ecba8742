"""What the table says of functions of one number, activations with parameters among them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import Enclosure, Unsupported
from trivium.certification.verify.casts import stepped
from trivium.certification.verify.functions import (
    _BELL,
    SMOOTH,
    _exp,
    absolute,
    bend,
    bump,
    exp,
    log,
    log1p,
    power,
    power_of,
    reciprocal,
    relu,
    rising,
    smooth,
    sqrt,
    unary,
)
from trivium.certification.verify.interval import Interval, lower, upper
from trivium.certification.verify.table import Call, entry, needs_float, needs_number

_ATEN = torch.ops.aten
_ONE = torch.ones(1, 1, dtype=torch.float64)


def leaky(x: Enclosure, slope: float) -> Enclosure:
    """x, or slope·x below zero."""
    if not 0 <= slope <= 1:
        raise Unsupported("leaky_relu with this slope")

    def value(box: Interval) -> Interval:
        ends = [torch.where(end > 0, end, end * slope) for end in box]
        return lower(ends[0]), upper(ends[1])

    return unary(x, value, lambda box: bend(box, slope, 1.0), units=2)


def elu(x: Enclosure, alpha: float) -> Enclosure:
    """x, or α·(e^x − 1) below zero."""
    if not 0 <= alpha < math.inf:
        raise Unsupported("elu with this alpha")

    def function(z: Tensor) -> Tensor:
        return torch.where(z > 0, z, alpha * torch.expm1(z))

    def slope(box: Interval) -> Interval:
        low, high = iv.mul(_exp((box[0], box[1].clamp_max(0.0))), (_ONE * alpha, _ONE * alpha))
        one = torch.ones_like(low)
        low = torch.where(box[0] >= 0, one, torch.where(box[1] > 0, torch.minimum(low, one), low))
        return low, torch.where(box[0] >= 0, one, torch.where(box[1] > 0, torch.maximum(high, one), high))

    return unary(x, rising(function), slope)


def normal_share(x: Enclosure) -> Enclosure:
    """N(x) = (1 + erf(x/√2))/2, off by an absolute half ulp of one."""

    def value(box: Interval) -> Interval:
        return rising(lambda z: 0.5 * torch.special.erfc(-z / math.sqrt(2)), 0.0, 1.0)((lower(box[0]), upper(box[1])))

    def slope(box: Interval) -> Interval:
        bell = bump(lambda z: torch.exp(-z * z / 2))((lower(box[0], 4), upper(box[1], 4)))
        low, high = iv.mul(bell, (lower(_BELL, 4), upper(_BELL, 4)))
        return low.clamp_min(0.0), high

    return unary(x, value, slope, size=torch.ones_like(x.box[0]))


def _register(overload: object, function: Callable[[Enclosure], Enclosure], whole: bool = False) -> None:
    def bound(call: Call, x: object) -> Enclosure:
        operand = call.lift(x)
        (needs_number if whole else needs_float)(operand, call.name)
        return function(operand)

    entry(overload)(bound)


for _name in SMOOTH:
    _register(getattr(_ATEN, _name).default, lambda x, name=_name: smooth(name, x))  # type: ignore[misc]
_register(_ATEN.exp.default, exp)
_register(_ATEN.log.default, log)
_register(_ATEN.log2.default, lambda x: log(x, 2.0))
_register(_ATEN.log10.default, lambda x: log(x, 10.0))
_register(_ATEN.log1p.default, log1p)
_register(_ATEN.sqrt.default, sqrt)
_register(_ATEN.rsqrt.default, lambda x: reciprocal(sqrt(x)))
_register(_ATEN.reciprocal.default, reciprocal)
_register(_ATEN.abs.default, absolute, whole=True)
_register(_ATEN.relu.default, relu, whole=True)
_register(_ATEN.sign.default, lambda x: stepped(x, torch.sign, x.dtype), whole=True)
for _step in (torch.floor, torch.ceil, torch.trunc, torch.round):
    _register(
        getattr(_ATEN, _step.__name__).default,
        lambda x, step=_step: x if x.whole else stepped(x, step, x.dtype),  # type: ignore[misc]
        whole=True,
    )


@entry(_ATEN.pow.Tensor_Scalar)
def _power(call: Call, x: object, exponent: float) -> Enclosure:
    if isinstance(exponent, bool):
        raise Unsupported("a power whose exponent is a truth value")
    operand = call.lift(x)
    needs_number(operand, call.name)
    return power(operand, float(exponent))


@entry(_ATEN.pow.Scalar)
def _power_of(call: Call, x: float, exponent: object) -> Enclosure:
    return power_of(call.lift(exponent), float(x))


@entry(_ATEN.log_sigmoid_forward.default)
def _log_sigmoid(call: Call, x: object) -> tuple[Enclosure | None, ...]:
    operand = call.lift(x)
    needs_float(operand, call.name)
    slope = rising(torch.sigmoid, 0.0, 1.0)

    def ranged(box: Interval) -> Interval:
        return iv.neg(rising(lambda z: z.clamp(min=0.0) + torch.log1p(torch.exp(-z.abs())), 0.0)(iv.neg(box)))

    made = unary(operand, ranged, lambda box: slope(iv.neg(box)))
    return made, None


@entry(_ATEN.leaky_relu.default)
def _leaky_relu(call: Call, x: object, negative_slope: float = 0.01) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    return leaky(operand, float(negative_slope))


@entry(_ATEN.elu.default)
def _elu(call: Call, x: object, alpha: float = 1) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    return elu(operand, float(alpha))
