"""Random programs of the operations that are bounded: no number that a graph computes leaves its enclosure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from entries.attack import BOUNDED, breaches
from entries.calls import RandomCall
from trivium.certification.verify import interval

Expression = Callable[[Mapping[str, Tensor]], Tensor]

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
        leaf = rng.choice("xy")
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


def attack(seed: int, count: int, used: set[str]) -> Iterator[str]:
    """Breaches over ``count`` random programs."""
    rng = random.Random(seed)
    for number in range(count):
        k = rng.choice([1, 2, 3, 4])
        expression = grow(rng, rng.choice([1, 2, 3, 4]), k, used)
        call = RandomCall(lambda f, e=expression, k=k: e(f).expand(k), k)  # type: ignore[misc]
        for told in breaches(call, seed * 100_003 + number, 64):
            if told != BOUNDED and "refused" not in told:
                yield f"{seed}/{number}: {told}"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_number_leaves_the_bounds_of_a_random_program() -> None:
    used: set[str] = set()
    assert list(attack(1, 40, used)) == []
    assert len(used) >= 40


@pytest.mark.deep
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_number_leaves_the_bounds_of_thousands(seed: int) -> None:
    assert list(attack(seed, 300, set())) == []


@pytest.mark.parametrize("name", ["mul", "div", "total"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_attack_notices_bounds_that_are_too_tight(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = getattr(interval, name)

    def tight(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        low, high = sound(*args, **options)
        return low + 0.02 * (high - low), high - 0.02 * (high - low)

    monkeypatch.setattr(interval, name, tight)
    assert next(attack(1, 40, set()), None)
