"""Rules that try to be called VERIFIED or PROVED while they break what is asked: by looking at what is no tensor,
by arguments that a careless reader drops, by state, aliasing, views, casts, threads and the interpreter itself.

Each is asked for more than it keeps somewhere, if it were what it pretends to be. What counts is the function that
trains: a rule may be refused, may be opaque, or may turn out harmless once captured; no word may be false of it.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import math
import random
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bank.cases import ask
from trivium.certification.specification import Specification
from trivium.weighting.base import UserRule, rule

BOX = {"entropy": (0.0, 10.0)}


@dataclass(frozen=True)
class Adversary:
    """A rule, what is asked of it, and what happens to its world between certification and training.

    Attributes:
        make: makes the rule anew.
        question: asked; beyond what the function keeps if it does what its author hopes.
        later: called after certification, before training.
        around: a context in which training runs.
        points: rows at which the hoped-for breach shows, beside those that every adversary is put to.
    """

    make: Callable[[], UserRule]
    specification: Specification
    later: Callable[[], None] = lambda: None
    around: Callable[[], Any] = contextlib.nullcontext
    points: tuple[tuple[float, ...], ...] = field(default=())

    @property
    def name(self) -> str:
        return self.make.__name__


ADVERSARIES: list[Adversary] = []


def adversary(specification: Specification, **more: Any) -> Callable[[Callable[[], Callable[..., Tensor]]], Any]:
    """Register a maker of a plain function of ``entropy`` in [0, 10]."""

    def register(maker: Callable[[], Callable[..., Tensor]]) -> Callable[[], Callable[..., Tensor]]:
        @functools.wraps(maker)
        def make() -> UserRule:
            return rule("token", BOX)(maker())

        ADVERSARIES.append(Adversary(make, specification, **more))
        return maker

    return register


SOFT = ask(floor=0.2, influence=1.0, lipschitz=0.2)


def soft(x: Tensor, slope: float = 0.1) -> Tensor:
    return torch.softmax(-slope * x, dim=-1)


# What a stand-in for a tensor looks like.


@adversary(SOFT)
def by_identity() -> Callable[..., Tensor]:
    seen: list[Tensor] = []

    def f(entropy: Tensor) -> Tensor:
        again = entropy + 0.0
        seen[:] = [again]
        return soft(entropy, 0.1 if seen[0] is again and entropy is not again else 5.0)

    return f


@adversary(SOFT)
def by_type() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if type(entropy) is Tensor else 0.1)

    return f


@adversary(SOFT)
def by_repr() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if repr(entropy).startswith("tensor([") else 0.1)

    return f


@adversary(SOFT)
def by_shape_text() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 0.1 if str(tuple(entropy.shape)) == "(3,)" else 5.0)

    return f


@adversary(SOFT)
def by_pattern_matching() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        match tuple(entropy.shape):
            case (_,):
                return soft(entropy)
            case _:
                return soft(entropy, 5.0)

    return f


@adversary(SOFT)
def by_strides() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 0.1 if entropy.stride() == (1,) else 5.0)

    return f


@adversary(SOFT)
def by_module_of_its_class() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 0.1 if "fake" in type(entropy).__module__.lower() else 5.0)

    return f


@adversary(SOFT)
def by_attribute() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 0.1 if hasattr(entropy, "fake_mode") else 5.0)

    return f


@adversary(SOFT)
def by_the_stack() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        frame, certifying = sys._getframe(), False
        while frame is not None:
            certifying = certifying or "certify" in frame.f_code.co_filename
            frame = frame.f_back  # type: ignore[assignment]
        return soft(entropy, 0.1 if certifying else 5.0)

    return f


@adversary(SOFT)
def by_a_dispatch_mode() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 0.1 if torch._C._len_torch_dispatch_stack() > 0 else 5.0)

    return f


@adversary(SOFT)
def by_gradients_being_on() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if torch.is_grad_enabled() else 0.1)

    return f


@adversary(SOFT)
def by_an_exception() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        try:
            _ = float(entropy.sum())
        except Exception:
            return soft(entropy)
        return soft(entropy, 5.0)

    return f


@adversary(SOFT)
def by_a_base_exception() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        try:
            return soft(entropy, 5.0 if bool((entropy > 5).any()) else 0.1)
        except BaseException:
            return soft(entropy)

    return f


@adversary(SOFT)
def by_numpy_refusing() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        try:
            entropy.numpy()
        except BaseException:
            return soft(entropy)
        return soft(entropy, 5.0)

    return f


# Arguments that are easy to drop.


@adversary(ask(floor=0.155, influence=1.0, lipschitz=0.2), points=((0.0, 10.0, 10.0),))
def indices_of_the_least() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        best = entropy.min(-1, keepdim=True).indices
        return torch.softmax(-0.1 * entropy + 1.0 * (best == torch.arange(3)), dim=-1)

    return f


@adversary(ask(floor=0.0), points=((0.3, 5.1, 9.7), (1.0, 2.0, 3.0)))
def softmax_in_half() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(0.2 * entropy, dim=-1, dtype=torch.float16)

    return f


@adversary(ask(floor=0.3114), points=((0.999, 0.999, 0.999), (0.9, 9.9, 0.1), (9.99, 0.99, 0.99)))
def sum_of_whole_parts() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        part = entropy.sum(-1, True) - entropy.sum(-1, True, dtype=torch.int64)
        tilt = torch.tensor([0.0, 0.0, 1.0])
        return torch.softmax(tilt * part - 0.01 * entropy, dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0))
def softplus_with_a_threshold() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(F.softplus(entropy, beta=2.0, threshold=1.0) - 0.9 * entropy, dim=-1)

    return f


@adversary(ask(floor=0.3), points=((9.0, 9.0, 0.0),))
def sum_of_booleans() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        both = (entropy > 1) + (entropy > 2)
        return torch.softmax(2.0 * both - 0.01 * entropy, dim=-1)

    return f


@adversary(ask(floor=0.33))
def filled_with_a_whole_number() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        cut = torch.full_like(entropy, 0.9, dtype=torch.int64)
        return torch.softmax(cut * entropy + torch.where(cut > 0, 0.0, 0.1) * entropy, dim=-1)

    return f


@adversary(ask(floor=0.2, lipschitz=0.2), points=((0.0, 10.0, 10.0),))
def a_sum_that_is_cast_first() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.cumsum(0.19 * entropy, dim=-1, dtype=torch.int32).float(), dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def added_with_alpha() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.add(0.01 * entropy, entropy, alpha=-0.5), dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((9.9, 1.0, 0.0),))
def divided_and_rounded() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(0.4 * torch.div(entropy, 2.5, rounding_mode="floor"), dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((10.0, 0.0, 0.0),))
def rounded_to_decimals() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(0.1 * torch.round(entropy, decimals=-1), dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0))
def mean_in_half() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        off = 2000.0 * (entropy.mean(-1, keepdim=True) - entropy.mean(-1, keepdim=True, dtype=torch.float16).float())
        return torch.softmax(off * torch.tensor([0.0, 0.0, 1.0]), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((10.0, 10.0, 10.0),))
def half_that_overflows() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        big = (entropy.half() * 7000).float()
        return torch.softmax(torch.where(big.isinf(), torch.tensor([0.0, 0.0, 9.0]), 0 * entropy), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((10.0, 10.0, 10.0),))
def whole_numbers_that_wrap() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        byte = (entropy * 30).to(torch.int8)
        return torch.softmax(0.05 * byte.float(), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((3.0, 3.0, 3.0),))
def shifted_bits() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax((1 << entropy.int()).float() * 0.001 * torch.arange(3) * 1000, dim=-1)

    return f


@adversary(ask(floor=0.2), points=((5.0, 5.0, 5.0),))
def reinterpreted_bits() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(1e-9 * entropy.contiguous().view(torch.int32).float(), dim=-1)

    return f


@adversary(ask(floor=0.33), points=((5.0, 4.0, 3.0),))
def a_gelu_that_is_not_that_gelu() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        gap = F.gelu(0.3 * entropy, approximate="tanh") - F.gelu(0.3 * entropy)
        return torch.softmax(9000.0 * gap, dim=-1)

    return f


@adversary(ask(floor=0.2), points=((9.0, 1.0, 1.0),))
def a_norm_of_another_order() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(entropy, ord=0.5, dim=-1, keepdim=True) - entropy.norm(dim=-1, keepdim=True)
        return torch.softmax(0.1 * size * torch.tensor([0.0, 0.0, 1.0]), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((1.0, 2.0, 9.0),))
def std_with_a_correction() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        spread = entropy.std(-1, keepdim=True, correction=2.5) - entropy.std(-1, keepdim=True, correction=0)
        return torch.softmax(0.3 * spread * torch.tensor([0.0, 0.0, 1.0]), dim=-1)

    return f


# In place, views, aliases.


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def written_through_a_view() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        scores = -0.1 * entropy
        scores[..., 1:].mul_(9.0)
        return torch.softmax(scores, dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def clamped_in_place_after_reading() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        limited = entropy.clone()
        scores = limited.detach()
        limited.mul_(5.0)
        return torch.softmax(-0.1 * scores, dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def through_data() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        scores = -0.1 * entropy
        scores.data.mul_(9.0)
        return torch.softmax(scores, dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def strided_over_itself() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        scores = -0.1 * entropy
        torch.as_strided(scores, (2,), (1,), 1).mul_(9.0)
        return torch.softmax(scores, dim=-1)

    return f


@adversary(ask(floor=0.2, influence=1.0), points=((0.0, 9.0, 9.0),))
def out_into_its_input() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        scores = -0.1 * entropy
        torch.mul(scores, 9.0, out=scores)
        return torch.softmax(scores, dim=-1)

    return f


# State: globals, closures, calls, clocks, chance.

SLOPE = torch.tensor(0.1)
WORLD: dict[str, Any] = {"slope": 0.1, "layer": None}


def _steepen() -> None:
    SLOPE.fill_(5.0)
    WORLD["slope"] = 5.0
    if WORLD["layer"] is not None:
        with torch.no_grad():
            WORLD["layer"].weight.fill_(5.0)


@adversary(SOFT, later=_steepen)
def a_global_that_moves() -> Callable[..., Tensor]:
    WORLD["slope"] = 0.1

    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, WORLD["slope"])

    return f


@adversary(SOFT, later=_steepen)
def a_tensor_that_moves() -> Callable[..., Tensor]:
    SLOPE.fill_(0.1)

    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(-SLOPE * entropy, dim=-1)

    return f


@adversary(SOFT, later=_steepen)
def a_layer_that_trains_on() -> Callable[..., Tensor]:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.1)
    WORLD["layer"] = layer

    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(-layer(entropy.unsqueeze(-1)).squeeze(-1), dim=-1)

    return f


@adversary(SOFT)
def after_many_calls() -> Callable[..., Tensor]:
    calls = [0]

    def f(entropy: Tensor) -> Tensor:
        calls[0] += 1
        return soft(entropy, 5.0 if calls[0] > 40 else 0.1)

    return f


@adversary(SOFT)
def after_a_while() -> Callable[..., Tensor]:
    start = time.monotonic()

    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if time.monotonic() - start > 1.0 else 0.1)

    return f


@adversary(SOFT)
def by_pythons_chance() -> Callable[..., Tensor]:
    generator = random.Random(3)

    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if generator.random() < 0.05 else 0.1)

    return f


@adversary(SOFT)
def by_garbage_collection() -> Callable[..., Tensor]:
    alive: list[Any] = []

    def f(entropy: Tensor) -> Tensor:
        dead = bool(alive) and alive[0]() is None
        alive[:] = [weakref.ref(entropy)]
        return soft(entropy, 5.0 if dead else 0.1)

    return f


@adversary(SOFT)
def in_another_thread() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        made: list[Tensor] = []
        thread = threading.Thread(target=lambda: made.append(soft(entropy, 5.0)))
        thread.start()
        thread.join()
        return made[0]

    return f


@adversary(SOFT)
def by_eval() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        result: Tensor = eval("torch.softmax(-slope * x, -1)", {"torch": torch, "slope": 5.0, "x": entropy})
        return result

    return f


@adversary(SOFT)
def by_a_patched_softmax() -> Callable[..., Tensor]:
    space = types.SimpleNamespace(softmax=torch.softmax)

    def f(entropy: Tensor) -> Tensor:
        space.softmax = lambda x, dim: torch.softmax(50.0 * x, dim=dim)
        result: Tensor = space.softmax(-0.1 * entropy, -1)
        return result

    return f


@adversary(SOFT)
def by_patched_builtins() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        old = builtins.float
        builtins.float = lambda x=0.0: 5.0  # type: ignore[assignment,misc]
        try:
            return soft(entropy, float("0.1"))
        finally:
            builtins.float = old  # type: ignore[misc]

    return f


class Steep(Tensor):
    """Answers every operation with another one."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [a.as_subclass(Tensor) if isinstance(a, Steep) else a for a in args]
        if func is torch.softmax or func is Tensor.softmax:
            plain[0] = plain[0] * 50
        return func(*plain, **(kwargs or {}))


@adversary(SOFT)
def by_a_subclass() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax((-0.1 * entropy).as_subclass(Steep), dim=-1)

    return f


class Doubled(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result * 50 if func.__name__ in ("mul", "rmul") else result


@adversary(SOFT)
def by_its_own_mode() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        with Doubled():
            return torch.softmax(torch.mul(entropy, -0.1), dim=-1)

    return f


@adversary(SOFT, around=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
def under_autocast() -> Callable[..., Tensor]:
    eye = torch.eye(3) * 0.1

    def f(entropy: Tensor) -> Tensor:
        product = entropy @ eye
        return torch.softmax(-product * (50.0 if product.dtype == torch.bfloat16 else 1.0), dim=-1)

    return f


@contextlib.contextmanager
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@adversary(SOFT, around=_double)
def by_the_default_dtype() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return soft(entropy, 5.0 if torch.tensor(1.0).dtype == torch.float64 else 0.1)

    return f


# Numbers that are none, and numbers that are too large.


@adversary(ask(floor=0.2), points=((0.0, 0.0, 0.0),))
def nothing_over_nothing() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return entropy / entropy.sum(-1, keepdim=True) * 0.1 + 0.3

    return f


@adversary(ask(floor=0.2), points=((0.0, 5.0, 5.0),))
def a_branch_that_is_no_number() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        safe = torch.where(entropy > 0, entropy.log() * 0 + 0.1 * entropy, torch.zeros_like(entropy))
        return torch.softmax(safe + 0 * (1 / entropy), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((10.0, 10.0, 10.0),))
def all_masked() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.where(entropy > 9.999, -math.inf, 0.01 * entropy), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((0.001, 9.0, 9.0), (0.1, 0.1, 0.2)))
def lost_beside_a_large_number() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        kept = (entropy + 3e7) - 3e7
        return torch.softmax(kept - entropy, dim=-1)

    return f


@adversary(ask(floor=0.2), points=((5.0, 5.0, 5.0),))
def a_threshold_inside_rounding() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        thrice = entropy * 0.1 + entropy * 0.2 - entropy * 0.3
        return torch.softmax(torch.where(thrice > 0, 3.0, 0.0), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((5.0, 4.0, 5.0),))
def equal_in_exact_numbers() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        same = (entropy / 3 * 3) == entropy
        return torch.softmax(torch.where(same, 0.0, 3.0), dim=-1)

    return f


@adversary(ask(floor=0.2), points=((1e-40, 1e-39, 10.0),))
def below_normal_numbers() -> Callable[..., Tensor]:
    def f(entropy: Tensor) -> Tensor:
        tiny = entropy * 1e-44
        return torch.softmax(tiny * 1e44 * 0.1 + (tiny == 0) * 2.0, dim=-1)

    return f


# What happens on the way to a result, or to an argument. Each hides in a spike that no search meets.


SPIKE = (3.3, 7.1, 5.57)
HIDDEN = ask(floor=0.2, influence=1.0)


def spike(x: Tensor) -> Tensor:
    """One at SPIKE, nothing a hundredth beside it."""
    return torch.exp(-(((x - torch.tensor(SPIKE)) ** 2).sum(-1, keepdim=True)) * 1e6)


def turned(where: Tensor, x: Tensor) -> Tensor:
    """Far from uniform where it is so."""
    return torch.softmax(torch.where(where, torch.tensor([0.0, 0.0, 9.0]), 0.01 * x), dim=-1)


def hidden(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Registers a function of ``entropy`` itself."""

    def maker() -> Callable[..., Tensor]:
        return lambda entropy: function(entropy)

    maker.__name__ = function.__name__
    adversary(HIDDEN, points=(SPIKE,))(maker)
    return function


@hidden
def a_sum_overflows_in_a_mean(x: Tensor) -> Tensor:
    return turned((spike(x) * torch.full_like(x, 3e38)).mean(-1, keepdim=True) > 3.1e38, x)


@hidden
def a_sum_overflows_in_a_mean_that_is_multiplied_by_nothing(x: Tensor) -> Tensor:
    return torch.softmax(0.01 * x + 0 * (spike(x) * torch.full_like(x, 3e38)).mean(-1, keepdim=True), dim=-1)


@hidden
def a_difference_overflows_in_an_interpolation(x: Tensor) -> Tensor:
    far = 3e38 * spike(x).expand(3)
    return turned(torch.lerp(-far, far, 0.5) < -3.3e38, x)


@hidden
def a_partial_sum_overflows(x: Tensor) -> Tensor:
    terms = torch.tensor([3e38, 3e38, -3e38]) * spike(x)
    return turned(terms.sum(-1, keepdim=True) > 3.3e38, x)


@hidden
def a_partial_sum_overflows_in_a_product_of_vectors(x: Tensor) -> Tensor:
    return turned(torch.linalg.vecdot(torch.tensor([3e38, 3e38, -3e38]), spike(x).expand(3)).unsqueeze(-1) > 3.3e38, x)


@hidden
def a_partial_product_overflows(x: Tensor) -> Tensor:
    factors = torch.tensor([1e30, 1e30, 1e-30]) * (1 + spike(x))
    return turned(factors.prod(-1, keepdim=True) > 9e30, x)


@hidden
def a_partial_product_overflows_in_half_precision(x: Tensor) -> Tensor:
    factors = torch.tensor([1.0, 1.0, 1e-5]) * (600 * spike(x))
    return turned(factors.half().prod(-1, keepdim=True).float() > 3e4, x)


@hidden
def a_product_inside_a_sum_overflows(x: Tensor) -> Tensor:
    one, other = 1e25 * spike(x).expand(3), torch.full_like(x, 1e25)
    return turned(torch.addcmul(x, one, other, value=1e-30) > 1e30, x)


@hidden
def a_negative_number_among_unsigned_ones(x: Tensor) -> Tensor:
    return turned((254 * spike(x) + 0.9 + 0 * x).to(torch.uint8) == -2, x)


@hidden
def a_number_beyond_its_format(x: Tensor) -> Tensor:
    return turned((100 * spike(x) + 0.9 + 0 * x).to(torch.int8) == 356, x)


@hidden
def a_limit_beyond_its_format(x: Tensor) -> Tensor:
    return turned((10 * spike(x) + 0 * x).to(torch.uint8).clamp(min=-1) > 100, x)


@hidden
def an_exponent_that_is_rounded_in_bfloat16(x: Tensor) -> Tensor:
    powers = torch.where(spike(x) > 0.9, 1e5, 1.0).bfloat16() ** 5.11
    return turned(powers.float() > float(torch.tensor(1e5).bfloat16().double() ** 5.11) * 1.1, x)


@hidden
def an_exponent_that_is_rounded(x: Tensor) -> Tensor:
    return turned(torch.where(spike(x) > 0.9, 70.0, 1.0) ** 20.0000029 > 70.0**20.0000029 * (1 + 1.5e-6), x)


@hidden
def a_base_that_is_rounded_in_bfloat16(x: Tensor) -> Tensor:
    return turned((1.004 ** torch.where(spike(x) > 0.9, 1000.0, 1.0).bfloat16()).float() > 500.0, x)


@hidden
def a_base_that_is_rounded(x: Tensor) -> Tensor:
    return turned(1.0000001 ** (1e8 * spike(x)) > 1e5, x)
