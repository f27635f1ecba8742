"""A generator of random calls for each entry of the verifier's table: other arguments, layouts and dtypes each time.

A call is a function of features ``x`` [k], ``y`` [k] and ``s`` [1] that ends in the operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Mapping[str, Tensor]], Any]
aten = torch.ops.aten


@dataclass(frozen=True)
class RandomCall:
    """What to run, over how many entries, on which box; ``exact``: no dtype is named in it, so that a run in float64
    is what a run in another dtype approximates."""

    function: Function
    entries: int
    low: float = -2.0
    high: float = 3.0
    exact: bool = True


Generator = Callable[[Random], RandomCall]
CALLS: dict[Any, list[Generator]] = {}


def of(*overloads: Any) -> Callable[[Generator], Generator]:
    """Registers a generator."""

    def register(generator: Generator) -> Generator:
        for overload in overloads:
            CALLS.setdefault(overload, []).append(generator)
        return generator

    return register


FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def number(r: Random, low: float = -2.0, high: float = 2.0) -> float:
    return round(r.uniform(low, high), r.choice([1, 2, 5]))


def vector(r: Random, name: str = "x", plain: bool = False) -> Function:
    """A tensor [k] that depends on features, with or without rounding of its own."""
    scale, shift = number(r, 0.3, 1.5), number(r, -1, 1)
    made: list[Function] = [
        lambda f: f[name],
        lambda f: f[name] * scale + shift,
        lambda f: f[name].flip(0),
        lambda f: f[name] + f["s"],
        lambda f: f[name] - f[name].mean(-1, keepdim=True),
    ]
    return made[0] if plain else r.choice(made)


def layout(r: Random, base: Function, other: Function) -> Function:
    """The same in another shape: a row, a column, a table, a transposed or expanded one."""
    made: list[Function] = [
        base,
        base,
        lambda f: base(f).unsqueeze(0),
        lambda f: base(f).unsqueeze(1),
        lambda f: base(f).unsqueeze(1) - other(f).unsqueeze(0),
        lambda f: (base(f).unsqueeze(1) + other(f).unsqueeze(0)).t(),
        lambda f: base(f).unsqueeze(1).expand(-1, 2),
    ]
    return r.choice(made)


def tensor(r: Random, kinds: str = "f", name: str = "x") -> tuple[Function, bool]:
    """A tensor of features: floating (f), of another floating dtype (c), whole (i), a comparison (b). Second: exact."""
    base = layout(r, vector(r, name), vector(r, "y"))
    kind, cut = r.choice(kinds), number(r)
    if kind == "c":
        dtype = r.choice(FLOATS)
        return (lambda f: aten._to_copy.default(base(f), dtype=dtype)), False
    if kind == "i":
        dtype = r.choice(WHOLE[:4])
        return (lambda f: aten._to_copy.default(base(f), dtype=dtype)), True
    if kind == "b":
        return (lambda f: base(f) > cut), True
    return base, True


def constant(r: Random, k: int) -> Tensor:
    values = torch.tensor([number(r) for _ in range(k)], dtype=r.choice([torch.float32, torch.float64]))
    return values


def one(
    overload: Any, kinds: str = "ff", low: float = -2.0, high: float = 3.0, first: bool = False, **choices: list[Any]
) -> None:
    """An operation on one tensor, with some of its arguments chosen among lists; ``...`` leaves it out.

    ``first``: of several results, the places are not told.
    """

    @of(overload)
    def generate(r: Random) -> RandomCall:
        made, exact = tensor(r, kinds)
        if low > -2.0:
            made, exact = vector(r, plain=True), True
        given = {key: picked for key, values in choices.items() if (picked := r.choice(values)) is not ...}
        exact = exact and "dtype" not in given
        call: Function = lambda f: overload(made(f), **given)  # noqa: E731
        return RandomCall((lambda f: call(f)[0]) if first else call, r.randint(1, 4), low, high, exact)


def two(overload: Any, kinds: str, scalar: bool = False, **choices: list[Any]) -> None:
    """An operation on two, one of which may be a constant or, where it is called so, a number."""

    @of(overload)
    def generate(r: Random) -> RandomCall:
        k = r.randint(1, 4)
        x, first = tensor(r, kinds)
        y, second = tensor(r, kinds, "y")
        given = {key: picked for key, values in choices.items() if (picked := r.choice(values)) is not ...}
        plain = r.choice([number(r), r.choice([-2, 1, 3])])
        fixed = constant(r, k)
        whole = "i" in kinds or "c" in kinds
        if scalar:
            return RandomCall(lambda f: overload(x(f), plain, **given), k, exact=first)
        how = r.randint(0, 3)
        if how == 0:
            return RandomCall(lambda f: overload(x(f), fixed.to(x(f).dtype), **given), k, exact=first)
        if how == 1 and whole:
            return RandomCall(lambda f: overload(fixed, x(f), **given), k, exact=False)
        if how == 2:
            return RandomCall(lambda f: overload(x(f), x(f), **given), k, exact=first)
        return RandomCall(lambda f: overload(x(f), y(f), **given), k, exact=first and second)


_SHIFTED = (0.05, 4.0)
for _name in ["expm1", "exp2", "sigmoid", "tanh", "erf", "atan", "sin", "cos", "exp", "silu"]:
    one(getattr(aten, _name).default)
for _name in ["log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal"]:
    one(getattr(aten, _name).default, "f", *_SHIFTED)
for _name in ["abs", "relu", "neg", "floor", "ceil", "trunc", "round", "sign"]:
    one(getattr(aten, _name).default, "ffi")
one(aten.log_sigmoid_forward.default, first=True)
one(aten.elu.default, alpha=[..., 0.5, 2.0])
one(aten.gelu.default)
one(aten.leaky_relu.default, negative_slope=[..., 0.3, 0.0])
one(aten.softplus.default, beta=[..., 2.0, 0.5], threshold=[..., 1.0, 0.0, 2.5])
one(aten.threshold.default, threshold=[0.1, -1, 1.5], value=[0.3, -2])
one(aten.hardtanh.default, min_val=[..., -0.3, 0], max_val=[..., 0.5, 2])
one(aten.clamp.default, "ffi", min=[-1, -0.5, None], max=[1, 0.3, 2.5])
one(aten.clamp_min.default, "ffi", min=[-1, 0.3, 1])
one(aten.clamp_max.default, "ffi", max=[-1, 0.3, 1])
one(aten.nan_to_num.default, "f", nan=[...])
one(aten.isnan.default, "f")
one(aten.logical_not.default, "fib")
one(aten.bitwise_not.default, "b")
one(aten._to_copy.default, "fibc", dtype=[..., *FLOATS, *WHOLE[:4], torch.bool])
one(aten._softmax.default, "fc", dim=[-1, 0], half_to_float=[False])
one(aten._log_softmax.default, "fc", dim=[-1, 0], half_to_float=[False])
one(aten.logsumexp.default, "f", dim=[[-1], [0]], keepdim=[..., True])
one(aten.sum.default, "fib", dtype=[..., *FLOATS, torch.int64])
one(aten.sum.dim_IntList, "fib", dim=[[-1], [0], None], keepdim=[..., True], dtype=[..., ..., *FLOATS, torch.int64])
one(aten.mean.default, "f", dtype=[..., *FLOATS])
one(aten.mean.dim, "f", dim=[[-1], [0], None], keepdim=[..., True], dtype=[..., ..., *FLOATS])
for _name in ("amax", "amin"):
    one(getattr(aten, _name).default, "ffib", dim=[[-1], [0], []], keepdim=[..., True])
for _name in ("max", "min"):
    one(getattr(aten, _name).default, "ffi")
    one(getattr(aten, _name).dim, "ffi", dim=[-1, 0], keepdim=[..., True])
    one(getattr(aten, "arg" + _name).default, "ffi", dim=[-1, 0, None], keepdim=[False, True])
one(aten.aminmax.default, "ffi", dim=[-1, 0, None], keepdim=[False, True])
for _name in ("all", "any"):
    one(getattr(aten, _name).default, "bfi")
    one(getattr(aten, _name).dim, "bfi", dim=[-1, 0], keepdim=[..., True])
    one(getattr(aten, _name).dims, "bfi", dim=[[-1], [0], None], keepdim=[..., True])
one(aten.sort.default, "ffi", first=True, dim=[-1, 0], descending=[..., True])
one(aten.sort.stable, "ffi", stable=[True], dim=[-1, 0], descending=[..., True])
one(aten.median.default, "f")
one(aten.median.dim, "f", first=True, dim=[-1, 0], keepdim=[..., True])
one(aten.kthvalue.default, "f", first=True, k=[1], dim=[-1, 0], keepdim=[..., True])
one(aten.topk.default, "f", first=True, k=[1], dim=[-1, 0], largest=[..., False])
one(aten.linalg_vector_norm.default, "f", ord=[2, 1, math.inf], dim=[None, [-1], [0]], keepdim=[..., True])
one(aten.linalg_vector_norm.default, "f", dim=[[-1]], dtype=[torch.float64])
one(aten.norm.ScalarOpt_dim, "f", p=[2, 1, None], dim=[[-1], [0]], keepdim=[..., True])
one(aten.var.correction, "f", dim=[[-1], [0], None], correction=[0, 0.5], keepdim=[..., True])
one(aten.std.correction, "f", dim=[[-1], [0], None], correction=[0, 0.5], keepdim=[..., True])
one(aten.cumsum.default, "fi", dim=[-1, 0], dtype=[..., ..., *FLOATS])
one(aten.cummax.default, "f", first=True, dim=[-1, 0])
one(aten.cummin.default, "f", first=True, dim=[-1, 0])
one(aten.prod.default, "fi", dtype=[..., torch.float64])
one(aten.prod.dim_int, "fi", dim=[-1, 0], keepdim=[..., True], dtype=[..., torch.float64])
one(aten.pow.Tensor_Scalar, "ffi", exponent=[2])
one(aten.pow.Tensor_Scalar, "f", exponent=[0, 1, 2, 3, 4, 2.0])
one(aten.pow.Tensor_Scalar, "f", *_SHIFTED, exponent=[0.5, -0.5, -1, -2, 1.5, 0.7, 3.3, -1.5])

for _name in ("add", "sub", "rsub"):
    two(getattr(aten, _name).Tensor, "ffic", alpha=[..., 2, 0.5] if _name == "rsub" else [..., 2])
    two(getattr(aten, _name).Scalar, "ff", scalar=True, alpha=[..., 2, 0.5])
two(aten.add.Tensor, "b")
two(aten.mul.Tensor, "b")
two(aten.mul.Tensor, "fficb")
two(aten.mul.Scalar, "ff", scalar=True)
two(aten.div.Scalar, "ffi", scalar=True)
two(aten.logaddexp.default, "f")
for _name in ("gt", "ge", "lt", "le", "eq", "ne"):
    two(getattr(aten, _name).Tensor, "ffic")
    two(getattr(aten, _name).Scalar, "ffi", scalar=True)
for _name in ("maximum", "minimum"):
    two(getattr(aten, _name).default, "ffic")
for _name in ("logical_and", "logical_or", "logical_xor"):
    two(getattr(aten, _name).default, "bfi")
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    two(getattr(aten, _name).Tensor, "b")
for _name in ("clamp_min", "clamp_max"):
    two(getattr(aten, _name).Tensor, "f")


@of(aten.bitwise_and.Scalar, aten.bitwise_or.Scalar)
def _bitwise_number(r: Random) -> RandomCall:
    x, overload, truth = (
        tensor(r, "b")[0],
        r.choice([aten.bitwise_and.Scalar, aten.bitwise_or.Scalar]),
        r.random() < 0.5,
    )
    return RandomCall(lambda f: overload(x(f), truth), r.randint(1, 4))


def _safe(r: Random) -> Function:
    base, least = layout(r, vector(r, "y"), vector(r)), number(r, 0.3, 1.0)
    return lambda f: base(f).abs() + least


@of(aten.div.Tensor)
def _div(r: Random) -> RandomCall:
    (x, exact), y, k = tensor(r, "ffic"), _safe(r), r.randint(1, 4)
    fixed, how = constant(r, k) + 3, r.randint(0, 3)
    if how == 0:
        return RandomCall(lambda f: aten.div.Tensor(x(f), fixed.to(f["x"])), k, exact=exact)
    if how == 1:
        return RandomCall(lambda f: aten.div.Tensor(y(f), y(f).sum().unsqueeze(0)), k)
    if how == 2:
        return RandomCall(lambda f: aten.div.Tensor(y(f), y(f).amax().unsqueeze(0)), k)
    return RandomCall(lambda f: aten.div.Tensor(x(f), y(f)), k, exact=exact)


@of(aten.div.Tensor_mode, aten.floor_divide.default)
def _whole_div(r: Random) -> RandomCall:
    (x, exact), y = tensor(r, "ffi"), _safe(r)
    mode, by = r.choice([None, "floor", "trunc"]), r.choice([2, 3, 0.7, -1.3])
    if r.random() < 0.5:
        return RandomCall(lambda f: aten.div.Tensor_mode(x(f), y(f), rounding_mode=mode), r.randint(1, 4), exact=exact)
    over = r.choice([y, lambda f: torch.tensor(by)])
    return RandomCall(lambda f: aten.floor_divide.default(x(f), over(f)), r.randint(1, 4), exact=exact)


@of(aten.div.Scalar_mode, aten.floor_divide.Scalar)
def _whole_div_number(r: Random) -> RandomCall:
    (x, exact), by = tensor(r, "ffi"), r.choice([2, 3, 0.7, -1.3])
    mode = r.choice([None, "floor", "trunc"])
    if r.random() < 0.5:
        return RandomCall(lambda f: aten.div.Scalar_mode(x(f), by, rounding_mode=mode), r.randint(1, 4), exact=exact)
    return RandomCall(lambda f: aten.floor_divide.Scalar(x(f), by), r.randint(1, 4), exact=exact)


@of(aten.pow.Scalar)
def _exponential(r: Random) -> RandomCall:
    x, base = tensor(r, "f")[0], r.choice([2, 0.5, 1.0, 1.7, 10])
    return RandomCall(lambda f: aten.pow.Scalar(base, x(f)), r.randint(1, 4))


@of(aten.sub.Tensor)
def _less_extreme(r: Random) -> RandomCall:
    x, how = vector(r), r.randint(0, 2)
    if how == 0:
        return RandomCall(lambda f: aten.sub.Tensor(x(f), torch.logsumexp(x(f), -1, keepdim=True)), r.randint(1, 4))
    pick = r.choice([torch.amax, torch.amin])
    if how == 1:
        return RandomCall(lambda f: aten.sub.Tensor(x(f), pick(x(f), -1, keepdim=True)), r.randint(1, 4))
    return RandomCall(lambda f: aten.sub.Tensor(pick(x(f), -1, keepdim=True), x(f)), r.randint(1, 4))


@of(aten.exp.default)
def _of_log(r: Random) -> RandomCall:
    x = vector(r)
    return RandomCall(lambda f: aten.exp.default(torch.log_softmax(x(f), -1)), r.randint(1, 4))


@of(aten.log.default)
def _log_of_known(r: Random) -> RandomCall:
    x = vector(r)
    inner: Function = r.choice([lambda f: x(f).exp(), lambda f: torch.softmax(x(f), -1), lambda f: x(f).exp() + 0.5])
    return RandomCall(lambda f: aten.log.default(inner(f)), r.randint(1, 4))


@of(aten.maximum.default)
def _budget(r: Random) -> RandomCall:
    x, budget = vector(r), number(r, 0, 2)
    return RandomCall(lambda f: aten.maximum.default(x(f), x(f).amax(-1, keepdim=True) - budget), r.randint(1, 4))


@of(aten.clamp.Tensor)
def _clamp(r: Random) -> RandomCall:
    x, k, high = tensor(r, "f")[0], r.randint(1, 4), number(r, 0, 2)
    return RandomCall(lambda f: aten.clamp.Tensor(x(f), f["s"] - 1, torch.tensor(high).to(f["s"])), k)


@of(aten.lerp.Scalar)
def _lerp_number(r: Random) -> RandomCall:
    x, y, w = vector(r), vector(r, "y"), number(r, -0.5, 1.5)
    return RandomCall(lambda f: aten.lerp.Scalar(x(f), y(f), w), r.randint(1, 4))


@of(aten.lerp.Tensor)
def _lerp(r: Random) -> RandomCall:
    x, y, w = vector(r), vector(r, "y"), vector(r)
    return RandomCall(lambda f: aten.lerp.Tensor(x(f), y(f), torch.sigmoid(w(f))), r.randint(1, 4))


@of(aten.addcmul.default)
def _addcmul(r: Random) -> RandomCall:
    x, y, z, value = vector(r), vector(r, "y"), vector(r), r.choice([1, 0.5, -2])
    return RandomCall(lambda f: aten.addcmul.default(x(f), y(f), z(f), value=value), r.randint(1, 4))


@of(aten.addcdiv.default)
def _addcdiv(r: Random) -> RandomCall:
    x, y, value = vector(r), vector(r, "y"), r.choice([1, 0.5, -2])
    return RandomCall(lambda f: aten.addcdiv.default(x(f), y(f), x(f).abs() + 0.7, value=value), r.randint(1, 4))


@of(aten.where.self)
def _where(r: Random) -> RandomCall:
    condition, (x, first), (y, second) = tensor(r, "b")[0], tensor(r, "ffc"), tensor(r, "ffc", "y")
    plain, k = number(r), r.randint(1, 4)
    if r.random() < 0.3:
        return RandomCall(
            lambda f: aten.where.self(condition(f), x(f), torch.tensor(plain, dtype=x(f).dtype)), k, exact=first
        )
    return RandomCall(lambda f: aten.where.self(condition(f), x(f), y(f)), k, exact=first and second)


@of(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked(r: Random) -> RandomCall:
    cut, (x, exact), value = number(r), tensor(r, "ffi"), r.choice([0, 1, -3])
    overload = r.choice([aten.masked_fill.Scalar, aten.masked_fill.Tensor])
    wide = r.random() < 0.5

    def function(f: Mapping[str, Tensor]) -> Tensor:
        mask = (x(f) if wide else f["s"]) > cut
        filled = value if overload is aten.masked_fill.Scalar else torch.tensor(value, dtype=torch.int64)
        return (
            aten.masked_fill.Tensor(x(f), mask, filled) if isinstance(filled, Tensor) else overload(x(f), mask, filled)
        )

    return RandomCall(function, r.randint(1, 4), exact=exact)


@of(aten.fill.Scalar, aten.fill.Tensor)
def _fill(r: Random) -> RandomCall:
    x, value = tensor(r, "f")[0], number(r)
    if r.random() < 0.3:
        return RandomCall(lambda f: aten.fill.Scalar(x(f), value) + f["s"], r.randint(1, 4))
    return RandomCall(lambda f: aten.fill.Tensor(x(f), f["s"].squeeze(0)), r.randint(1, 4))


def _product(overload: Any, left: Function, right: Function, moving: int) -> Function:
    """Both of the factors depend on features (2), or one of them alone."""

    def function(f: Mapping[str, Tensor]) -> Tensor:
        pair = [left(f), right(f)]
        for place in (0, 1):
            if moving == 1 - place:
                known = torch.linspace(-1.3, 0.9, max(pair[place].numel(), 1)).reshape(pair[place].shape)
                pair[place] = known.to(f["x"].dtype)
        made: Tensor = overload(*pair)
        return made

    return function


def _matrix(f: Mapping[str, Tensor]) -> Tensor:
    return f["x"].unsqueeze(1) - f["y"].unsqueeze(0)


for _overload, _left, _right in (
    (aten.mm.default, _matrix, lambda f: _matrix(f).t()),
    (aten.mm.default, lambda f: f["x"].unsqueeze(0), lambda f: f["y"].unsqueeze(1)),
    (aten.mv.default, _matrix, lambda f: f["x"]),
    (aten.dot.default, lambda f: f["x"], lambda f: f["y"]),
    (aten.dot.default, lambda f: f["x"], lambda f: f["x"]),
):

    @of(_overload)
    def _contract(r: Random, o: Any = _overload, a: Function = _left, b: Function = _right) -> RandomCall:
        k = r.randint(1, 4)
        return RandomCall(_product(o, a, b, r.choice([0, 1, 2])), k)


@of(aten.bmm.default)
def _bmm(r: Random) -> RandomCall:
    k, moving = r.randint(1, 3), r.choice([0, 1])
    return RandomCall(
        _product(aten.bmm.default, lambda f: _matrix(f).unsqueeze(0), lambda f: _matrix(f).unsqueeze(0), moving), k
    )


@of(aten.addmm.default)
def _addmm(r: Random) -> RandomCall:
    k, bias = r.randint(1, 4), constant(r, 4)
    weight = torch.linspace(-1.3, 0.9, k * k).reshape(k, k)
    return RandomCall(lambda f: aten.addmm.default(bias[:k].to(f["x"]), f["x"].unsqueeze(0), weight.to(f["x"])), k)


def _movement(overload: Any, *ways: Callable[[Random, int], tuple[Any, ...]], table: bool = False) -> None:
    """An operation on x [k], or on a table [k, k], with arguments that may depend on k."""

    @of(overload)
    def generate(r: Random) -> RandomCall:
        k = r.randint(2, 4)
        arguments = r.choice(ways)(r, k)
        base, cut = vector(r), number(r)
        source: Function = (lambda f: base(f).unsqueeze(1) - f["y"].unsqueeze(0)) if table else base
        if r.random() < 0.3:
            inner = source
            source = lambda f: inner(f) > cut  # noqa: E731
        return RandomCall(lambda f: overload(source(f), *arguments), k)


_movement(aten.view.default, lambda r, k: ([1, k],), lambda r, k: ([k, 1],))
_movement(aten._unsafe_view.default, lambda r, k: ([k * k],), table=True)
for _name in ("alias", "clone", "detach", "lift_fresh"):
    _movement(getattr(aten, _name).default, lambda r, k: (), table=True)
_movement(aten.t.default, lambda r, k: (), table=True)
_movement(aten.select.int, lambda r, k: (r.choice([0, -1]), r.randrange(k)), lambda r, k: (0, -1), table=True)
_movement(aten.slice.Tensor, lambda r, k: (0, 0, k - 1), lambda r, k: (-1, 1, k, r.choice([1, 2])), table=True)
_movement(aten.expand.default, lambda r, k: ([2, k],), lambda r, k: ([k, -1],))
_movement(aten.unsqueeze.default, lambda r, k: (r.choice([0, 1, -1]),))
_movement(aten.squeeze.default, lambda r, k: ())
_movement(aten.squeeze.dim, lambda r, k: (r.choice([0, -1]),))
_movement(aten.squeeze.dims, lambda r, k: ([0],))
_movement(aten.permute.default, lambda r, k: ([1, 0],), table=True)
_movement(aten.transpose.int, lambda r, k: (0, -1), table=True)
_movement(aten.flip.default, lambda r, k: (r.choice([[0], [1], [0, 1]]),), table=True)
_movement(aten.roll.default, lambda r, k: ([r.randint(-2, 2)], [r.choice([0, 1])]), lambda r, k: ([1],), table=True)
_movement(aten.rot90.default, lambda r, k: (r.randint(-1, 2), [0, 1]), table=True)
_movement(aten.repeat.default, lambda r, k: ([2],), lambda r, k: ([2, 1],))
_movement(aten.diagonal.default, lambda r, k: (r.choice([0, 1]),), table=True)
_movement(aten.unfold.default, lambda r, k: (0, 2, 1))
_movement(aten.tril.default, lambda r, k: (r.choice([0, -1]),), table=True)
_movement(aten.triu.default, lambda r, k: (r.choice([0, 1]),), table=True)
_movement(aten.constant_pad_nd.default, lambda r, k: ([1, 2], 1), lambda r, k: ([0, 1],))
_movement(aten.diag_embed.default, lambda r, k: (r.choice([0, 1]),))
_movement(aten.split.Tensor, lambda r, k: (r.choice([1, 2]),), table=True)
_movement(aten.split_with_sizes.default, lambda r, k: ([1, k - 1],), table=True)
_movement(aten.unbind.int, lambda r, k: (r.choice([0, 1]),), table=True)
_movement(aten.index_select.default, lambda r, k: (0, torch.tensor([k - 1, 0, 0])), table=True)


@of(aten.cat.default)
def _cat(r: Random) -> RandomCall:
    x, y, dim = vector(r), vector(r, "y"), r.choice([0, -1])
    return RandomCall(lambda f: aten.cat.default([x(f), torch.ones(1).to(f["s"]), y(f)], dim), r.randint(1, 4))


@of(aten.stack.default)
def _stack(r: Random) -> RandomCall:
    x, y, dim = vector(r), vector(r, "y"), r.choice([0, 1, -1])
    return RandomCall(lambda f: aten.stack.default([x(f), y(f), x(f)], dim), r.randint(1, 4))


@of(aten.select_scatter.default)
def _select_scatter(r: Random) -> RandomCall:
    k = r.randint(2, 4)
    place = r.randrange(k)
    return RandomCall(lambda f: aten.select_scatter.default(f["x"], f["s"].squeeze(0), 0, place), k)


@of(aten.slice_scatter.default)
def _slice_scatter(r: Random) -> RandomCall:
    k = r.randint(2, 4)
    return RandomCall(lambda f: aten.slice_scatter.default(f["x"], f["y"][1:], 0, 0, k - 1), k)


@of(aten.diagonal_scatter.default)
def _diagonal_scatter(r: Random) -> RandomCall:
    return RandomCall(lambda f: aten.diagonal_scatter.default(_matrix(f), f["y"]), r.randint(2, 4))


def _ranks(r: Random, base: Function) -> Function:
    """Whole numbers below k that depend on features."""
    made: list[Function] = [
        lambda f: base(f).argmax(-1, keepdim=True),
        lambda f: torch.sort(base(f), stable=True).indices,
        lambda f: (base(f).abs() * 0.9).to(torch.int64).clamp(max=1),
        lambda f: -(base(f).abs() * 0.9).to(torch.int64).clamp(max=1),
    ]
    return r.choice(made)


@of(aten.gather.default)
def _gather(r: Random) -> RandomCall:
    k, x, rank = r.randint(2, 4), vector(r), _ranks(r, vector(r, "y"))
    table, fixed = constant(r, k), torch.tensor([k - 1, 0])
    if r.random() < 0.3:
        return RandomCall(lambda f: aten.gather.default(x(f), 0, fixed), k)
    if r.random() < 0.4:
        return RandomCall(lambda f: aten.gather.default(table.to(f["x"]), 0, rank(f).abs()), k)
    return RandomCall(lambda f: aten.gather.default(x(f), -1, rank(f).abs()), k)


@of(aten.index.Tensor)
def _index(r: Random) -> RandomCall:
    k, x, rank = r.randint(2, 4), vector(r), _ranks(r, vector(r, "y"))
    table = torch.linspace(-1, 2, 2 * k * k).reshape(k, 2 * k)
    long = torch.linspace(-1, 2, 3000).sin().reshape(1000, 3)
    made: list[Function] = [
        lambda f: aten.index.Tensor(table.to(f["x"]), [rank(f)]),
        lambda f: aten.index.Tensor(table.to(f["x"]), [None, rank(f)]),
        lambda f: aten.index.Tensor(long.to(f["x"]), [(x(f) * 100).to(torch.int64)]),
        lambda f: aten.index.Tensor(x(f), [rank(f)]),
        lambda f: aten.index.Tensor(_matrix(f), [None, torch.tensor([1, 0])]),
        lambda f: aten.index.Tensor(_matrix(f), [rank(f)]),
    ]
    return RandomCall(r.choice(made), k)


@of(aten.scatter.src, aten.scatter.value)
def _scatter(r: Random) -> RandomCall:
    k, index = r.randint(2, 4), torch.tensor([1, 0])
    if r.random() < 0.5:
        return RandomCall(lambda f: aten.scatter.src(f["x"], 0, index, f["y"]), k)
    return RandomCall(lambda f: aten.scatter.value(f["x"], 0, index[:1], 1.5), k)


@of(aten.index_put.default)
def _index_put(r: Random) -> RandomCall:
    k = r.randint(2, 4)
    return RandomCall(lambda f: aten.index_put.default(f["x"], [torch.tensor([1, 0])], f["s"]), k)
