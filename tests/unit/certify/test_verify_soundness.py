"""Random programs of the operations that are bounded: no sampled value, slope, sum or ratio leaves its enclosure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trivium.certify.verify import interval
from trivium.certify.verify.bounds import Bounds
from trivium.certify.verify.elementwise import log_of, scores_of
from trivium.certify.verify.goals import steepest
from trivium.certify.verify.program import Program
from trivium.certify.verify.simplex import differences
from trivium.weighting.base import UserRule
from trivium.weighting.features import Range

Expression = Callable[[Mapping[str, Tensor]], Tensor]
RANGES = {"a": Range(-2, 3), "b": Range(0, 1), "s": Range(-1, 2, False, True)}

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "atan": torch.atan,
    "sin": torch.sin,
    "cos": torch.cos,
    "relu": torch.relu,
    "abs": torch.abs,
    "neg": torch.neg,
    "square": torch.square,
    "cube": lambda x: x**3,
    "fourth": lambda x: x.clamp(-3, 3) ** 4,
    "softplus": functional.softplus,
    "silu": functional.silu,
    "softsign": functional.softsign,
    "leaky_relu": functional.leaky_relu,
    "hardtanh": functional.hardtanh,
    "log1p": lambda x: torch.log1p(x.abs()),
    "log": lambda x: torch.log(0.2 + x.abs()),
    "log2": lambda x: torch.log2(0.2 + x.abs()),
    "sqrt": lambda x: torch.sqrt(x.square() + 0.1),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1),
    "reciprocal": lambda x: 1 / (0.5 + x.abs()),
    "power": lambda x: (0.3 + x.abs()) ** -1.5,
    "root": lambda x: (0.1 + x.abs()) ** 0.7,
    "exponential": lambda x: 1.5 ** x.clamp(-5, 5),
}
ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(dim=-1, keepdim=True),
    "amax": lambda x: x.amax(-1, keepdim=True),
    "min": lambda x: x.min(-1, keepdim=True).values,
    "logsumexp": lambda x: torch.logsumexp(x, -1, keepdim=True),
    "norm": lambda x: x.norm(dim=-1, keepdim=True),
    "std": lambda x: x.std(-1, keepdim=True, unbiased=False),
    "var": lambda x: x.var(-1, keepdim=True, correction=0),
    "median": lambda x: x.median(-1, keepdim=True).values,
    "first": lambda x: x[..., 0:1],
    "last": lambda x: torch.sigmoid(x[..., -1])[..., None],
    "stack": lambda x: torch.stack([x[..., 0]], dim=-1),
    "spread": lambda x: x.amax(-1, keepdim=True) - x.mean(-1, keepdim=True),
    "topk": lambda x: x.topk(1, dim=-1).values,
}
ENTRIES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "log_softmax": lambda x: functional.log_softmax(x, dim=-1),
    "exp_log_softmax": lambda x: torch.exp(torch.log_softmax(x, dim=-1)),
    "by_logsumexp": lambda x: (x - torch.logsumexp(x, -1, keepdim=True)).exp(),
    "mixture": lambda x: torch.softmax(x, -1) * 0.7 + 0.3 / x.shape[-1],
    "shares": lambda x: (e := torch.exp(x.clamp(-8, 8)) + 0.01) / e.sum(-1, keepdim=True),
    "hinge_shares": lambda x: (e := x.relu() + 0.02) / e.sum(-1, keepdim=True),
    "budget": lambda x: torch.maximum(x, x.amax(-1, keepdim=True) - 1.0),
    "lead": lambda x: (x - x.amax(-1, keepdim=True)).clamp_min(-1.5),
    "over_max": lambda x: (e := x.abs() + 0.1) / e.amax(-1, keepdim=True),
    "sort": lambda x: x.sort(-1).values,
    "cumsum": lambda x: x.cumsum(-1),
    "flip": lambda x: x.flip(-1),
    "band": lambda x: torch.where((x > 0.3) & ~(x > 1.0), 1.0, x),
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (0.5 + y.abs()),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda x, y: torch.where(x >= y, x, 0.5 * y),
    "lerp": lambda x, y: torch.lerp(x, -x, torch.sigmoid(y)),
    "gate": lambda x, y: (g := torch.sigmoid(y)) * torch.softmax(x, -1) + (1 - g) / x.shape[-1],
}


def grow(rng: random.Random, depth: int, k: int, used: set[str]) -> Expression:
    """A random expression of K numbers a row."""
    if depth <= 0:
        leaf = rng.choice("ab")
        return (lambda f: f[leaf]) if rng.random() < 0.7 else (lambda f: f["s"] + f[leaf])
    x, kind = grow(rng, depth - 1, k, used), rng.random()
    if kind < 0.35:
        name = rng.choice(sorted(UNARY))
        used.add(name)
        return lambda f: UNARY[name](x(f))
    if kind < 0.6:
        name = rng.choice(sorted(ENTRIES))
        used.add(name)
        return lambda f: ENTRIES[name](x(f))
    if kind < 0.72:
        constant = torch.tensor([round(rng.uniform(-2, 2), 2) for _ in range(k)], dtype=torch.float64)
        choice = rng.choice(["add", "sub", "mul", "maximum"])
        used.add(choice)
        return lambda f: BINARY[choice](constant.to(f["s"]), x(f))
    name, y = rng.choice(sorted(BINARY)), grow(rng, depth - 2, k, used)
    used.add(name)
    if rng.random() < 0.5:
        row = rng.choice(sorted(ROWS))
        used.add(row)
        return lambda f: BINARY[name](x(f), ROWS[row](y(f)))
    return lambda f: BINARY[name](x(f), y(f))


def sub_boxes(program: Program, generator: torch.Generator, count: int = 10) -> tuple[Tensor, Tensor]:
    """The whole box, small ones, some with ends on whole numbers, some flat."""
    d, span = program.dimension, program.high - program.low
    width = 10 ** (-4 * torch.rand(count, 1, generator=generator, dtype=torch.float64))
    width[0] = 1.0
    low = program.low + torch.rand(count, d, generator=generator, dtype=torch.float64) * span * (1 - width)
    low[1:4] = low[1:4].round()
    high = torch.minimum(low + width * span, program.high)
    return low, torch.where(torch.rand(count, d, generator=generator) < 0.15, low, torch.maximum(low, high))


def points(low: Tensor, high: Tensor, generator: torch.Generator, count: int = 64) -> tuple[Tensor, Tensor]:
    """Pairs in each box: corners, edges and inner points, and a second one anywhere or close by."""
    t, s = (torch.rand(count, *low.shape, generator=generator, dtype=torch.float64) for _ in "ts")
    t = torch.where(torch.rand(t.shape, generator=generator) < 0.3, t.round(), t)
    near = 10 ** (-3 * torch.rand(count, len(low), 1, generator=generator, dtype=torch.float64))
    u, v = (torch.minimum(torch.maximum(low + r * (high - low), low), high) for r in (t, t + near * (s - t)))
    return u, v


def leaves_slopes(change: Tensor, slopes: tuple[Tensor, Tensor] | None, step: Tensor, noise: Tensor) -> Tensor:
    """Whether f(v) − f(u) is not among Σ_i J_i·(v_i − u_i)."""
    if slopes is None:
        return change.abs() > noise
    ends = [(bound[..., :-1] * step).nan_to_num(nan=0.0) for bound in slopes]
    low, high = torch.minimum(*ends).sum(-1), torch.maximum(*ends).sum(-1)
    return (change > high + noise) | (change < low - noise)


def breaches(program: Program, expression: Expression, generator: torch.Generator) -> list[str]:
    """Which statements about a program fail at sampled points."""
    k = program.teachers
    low, high = sub_boxes(program, generator)
    out, trace = program.run(low, high)
    ok = ~trace.bad
    u, v = points(low, high, generator)

    def evaluate(x: Tensor) -> Tensor:
        return expression({"a": x[..., :k], "b": x[..., k : 2 * k], "s": x[..., 2 * k :]}).expand(*x.shape[:-1], k)

    at_u, at_v = evaluate(u), evaluate(v)
    slack = 1e-9 * (1 + at_u.abs())
    found = []
    if bool((~((at_u >= out.box[0] - slack) & (at_u <= out.box[1] + slack)) & ok[:, None]).any()):
        found.append("value")
    noise = 1e-8 * (1 + at_u.abs().amax(-1, keepdim=True))
    step = (v - u).unsqueeze(-2)
    if bool((leaves_slopes(at_v - at_u, out.jacobian, step, noise) & ok[:, None]).any()):
        found.append("slope")
    if out.total is not None and out.total.exact:
        off = (at_u.sum(-1) - out.total.constant).abs() > 1e-7 * (1 + at_u.abs().sum(-1))
        found += ["total"] * bool((off & ok).any())
    found += ["float32"] * _rounded(program, out, evaluate, u[:, 0], k)
    return found + _of_logs(out, ok & (out.box[0] > 1e-30).all(-1), at_u, at_v, v - u)


def _rounded(program: Program, out: Bounds, evaluate: Callable[[Tensor], Tensor], u: Tensor, k: int) -> bool:
    """Whether float32 strays further from float64 than the last column of slopes allows, over the whole box."""
    jumps = {"where", "gt", "ge", "lt", "le"} & {operation[0] for operation in out.trace.log}
    if jumps or out.jacobian is None or bool(out.trace.bad[0]):
        return False
    single = torch.minimum(torch.maximum(u.float(), program.low.float()), program.high.float())
    off = (evaluate(single).double() - evaluate(single.double())).abs()
    allowed = out.jacobian[1][0, :, -1]
    return bool((off > 1.01 * allowed + 1e-12).any())


def _of_logs(out: Bounds, ok: Tensor, at_u: Tensor, at_v: Tensor, step: Tensor) -> list[str]:
    if not bool(ok.any()):
        return []
    n = out.trace.count
    logs, moved = at_u.clamp_min(1e-300).log(), at_v.clamp_min(1e-300).log()
    noise = 1e-7 * (1 + logs.abs()) + 1e-13 / at_u.clamp_min(1e-300).amin(-1, keepdim=True)
    found, log = [], log_of(out)
    outside = (logs < log.box[0] - noise) | (logs > log.box[1] + noise)
    steep = leaves_slopes(moved - logs, log.jacobian, step.unsqueeze(-2), noise)
    (low, high), slopes = differences(scores_of(out))
    low, high = (low, high) if len(low) == 1 else (low[:n], high[:n])
    lead, then = (x.unsqueeze(-1) - x.unsqueeze(-2) for x in (logs, moved))
    noise = noise.amax(-1, keepdim=True).unsqueeze(-1) * 4
    apart = (lead < low - noise) | (lead > high + noise)
    tilted = leaves_slopes(then - lead, slopes, step.unsqueeze(-2).unsqueeze(-2), noise)
    change = (moved - logs).amax(-1) - (moved - logs).amin(-1)
    far = change > steepest(out).nan_to_num(posinf=1e300) * step.abs().amax(-1) + noise[..., 0, 0]
    for name, broken in {"log": outside, "log slope": steep, "ratio": apart, "ratio slope": tilted}.items():
        found += [name] * bool((broken & ok.reshape(-1, *[1] * (broken.ndim - 2))).any())
    return found + ["metric"] * bool((far & ok).any())


def attack(seed: int, count: int, used: set[str]) -> list[str]:
    """Breaches over ``count`` random programs."""
    rng, broken = random.Random(seed), []
    for number in range(count):
        k = rng.choice([1, 2, 3, 4])
        expression = grow(rng, rng.choice([1, 2, 3, 4, 5]), k, used)
        rule = UserRule(lambda a, b, s, e=expression: e({"a": a, "b": b, "s": s}), "token", RANGES, "random")
        generator = torch.Generator().manual_seed(seed * 100_003 + number)
        broken += [f"{seed}/{number}: {name}" for name in breaches(Program(rule, k), expression, generator)]
    return broken


def test_no_sample_leaves_the_bounds_of_a_random_program() -> None:
    used: set[str] = set()
    assert attack(1, 150, used) == []
    assert len(used) >= 55


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_sample_leaves_the_bounds_of_thousands(seed: int) -> None:
    assert attack(seed, 300, set()) == []


@pytest.mark.parametrize("name", ["mul", "div", "linear", "total"])
def test_the_attack_notices_bounds_that_are_too_tight(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = getattr(interval, name)

    def tight(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        low, high = sound(*args, **options)
        return low + 0.01 * (high - low), high - 0.01 * (high - low)

    monkeypatch.setattr(interval, name, tight)
    assert attack(1, 40, set())
