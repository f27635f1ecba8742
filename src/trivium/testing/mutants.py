"""Operators that break one axiom each, made from one that conforms: what a test of an axiom has to reject.

>>> sorted({mutant.axiom for mutant in MUTANTS})
['W-B', 'W-C', 'W-F', 'W-N', 'W-P', 'W-R', 'W-S']
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trivium.certification.calculus import derive
from trivium.certification.specification import Specification
from trivium.scheme.product import Product
from trivium.simplex.order import Order
from trivium.testing.gradients import GradientRule
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range
from trivium.weighting.task.static import Static
from trivium.weighting.token.entropy import Entropy

Change = Callable[[Tensor], Tensor]
_MILLIONTH = 1e-6


@dataclass(frozen=True)
class Mutated(Operator):
    """An operator whose log weights [..., K] went through ``change``; it declares nothing."""

    part: Operator
    change: Change
    name: str

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return self.change(self.part.log_weights(features))

    def formula(self) -> str:
        return f"{self.name}({self.part.formula()})"


@dataclass(frozen=True)
class Mutant:
    """A way to break one axiom.

    Attributes:
        axiom: its id.
        name: what is wrong, as an identifier.
        make: from an operator that conforms to the question, and the question, the mutant.
    """

    axiom: str
    name: str
    make: Callable[[Operator, Specification], Operator | GradientRule]


def reference() -> tuple[Operator, Specification]:
    """Return an operator that conforms, with everything asked of it that it just attains: bounds, a chain with a
    margin, L.

    w ∝ (e, e^½, 1)·exp(−H/30), H in [0, 12]: scores of the chain are ½ apart and move by at most 0.4.

    >>> operator, specification = reference()
    >>> specification.axioms, round(specification.order_margin, 9)
    (('W-F', 'W-N', 'W-P', 'W-B', 'W-R', 'W-S'), 0.1)
    """
    operator = Product((Static((math.e, math.exp(0.5), 1.0)), Entropy(strength=1 / 30)))
    constants, order = derive(operator, 3).constants, Order(((0,), (1,), (2,)))
    return operator, Specification(
        3,
        floor=constants.floor,
        cap=constants.cap,
        lipschitz=constants.total_lipschitz,
        order=order,
        order_margin=constants.order_margin(order),
    )


def _registered(axiom: str, name: str, change: Callable[[Specification], Change]) -> Mutant:
    return Mutant(axiom, name, lambda operator, specification: Mutated(operator, change(specification), name))


def _normalized(log_w: Tensor) -> Tensor:
    return torch.log_softmax(log_w, dim=-1)


def _rows(log_w: Tensor) -> Tensor:
    """Return the number of each row [..., 1] in its batch."""
    count = log_w.numel() // log_w.shape[-1]
    return torch.arange(count, dtype=log_w.dtype, device=log_w.device).reshape(*log_w.shape[:-1], 1)


def _first(log_w: Tensor) -> Tensor:
    """(1, 0, …, 0) like the last axis."""
    return torch.nn.functional.one_hot(torch.tensor(0), log_w.shape[-1]).to(log_w)


def _coupled(specification: Specification) -> Change:
    def change(log_w: Tensor) -> Tensor:
        others = log_w.reshape(-1, log_w.shape[-1]).mean(dim=0)
        return _normalized(log_w + 1e-3 * others)

    return change


def _biased(specification: Specification) -> Change:
    return lambda log_w: _normalized(log_w + 1e-4 * _rows(log_w) * _first(log_w))


def _remembering(specification: Specification) -> Change:
    calls = itertools.count()
    return lambda log_w: _normalized(log_w + 1e-3 * next(calls) * _first(log_w))


def _noisy(specification: Specification) -> Change:
    return lambda log_w: _normalized(log_w + 1e-3 * torch.randn_like(log_w))


def _pruned(specification: Specification) -> Change:
    return lambda log_w: _normalized(log_w.masked_fill(log_w.exp() < 0.15, -torch.inf))


def _hard_choice(specification: Specification) -> Change:
    return lambda log_w: torch.nn.functional.one_hot(log_w.argmax(dim=-1), log_w.shape[-1]).to(log_w).log()


def _floor_missed(specification: Specification) -> Change:
    """A millionth goes from the least to the largest weight."""

    def change(log_w: Tensor) -> Tensor:
        w = log_w.exp()
        moved = torch.zeros_like(w).scatter(-1, w.argmin(dim=-1, keepdim=True), -_MILLIONTH)
        moved = moved.scatter_add(-1, w.argmax(dim=-1, keepdim=True), torch.full_like(w[..., :1], _MILLIONTH))
        return (w + moved).log()

    return change


def _clip_and_renormalize(specification: Specification) -> Change:
    """Posing as the projection of scores four times as strong; (.98, .01, .01) in [.1, .5] gives .714 (T6)."""
    floor, cap = specification.floor or 0.0, 1.0 if specification.cap is None else specification.cap

    def change(log_w: Tensor) -> Tensor:
        w = _normalized(4 * log_w).exp().clamp(floor, cap)
        return (w / w.sum(dim=-1, keepdim=True)).log()

    return change


def _switch(nats: float) -> Callable[[Specification], Change]:
    """Return the first teacher gains that much where its weight passes one half."""
    return lambda specification: lambda log_w: _normalized(log_w + nats * (log_w[..., :1].exp() > 0.5) * _first(log_w))


def _anti_ordered(specification: Specification) -> Change:
    """Return the same weights, the largest to the least safe."""

    def change(log_w: Tensor) -> Tensor:
        tiers = (
            specification.order.tiers
            if specification.order is not None
            else (tuple(range(specification.num_teachers)),)
        )
        places = torch.tensor([teacher for tier in tiers for teacher in tier], device=log_w.device)
        return torch.empty_like(log_w).index_copy(-1, places, log_w.sort(dim=-1).values)

    return change


def _margin_missed(specification: Specification) -> Change:
    """Return the safest teacher loses a millionth of a nat on the others."""

    def change(log_w: Tensor) -> Tensor:
        safest = specification.order.tiers[0][0] if specification.order is not None else 0
        shift = torch.nn.functional.one_hot(torch.tensor(safest), log_w.shape[-1]).to(log_w)
        return _normalized(log_w - _MILLIONTH * shift)

    return change


def _gradient_mean(operator: Operator, specification: Specification) -> GradientRule:
    return GradientRule(lambda g: torch.full((len(g),), 1 / len(g), dtype=g.dtype), "mean_of_gradients")


def _longest_gradient(operator: Operator, specification: Specification) -> GradientRule:
    return GradientRule(lambda g: torch.softmax(g.norm(dim=-1), dim=-1), "longest_gradient_wins")


MUTANTS: Final[tuple[Mutant, ...]] = (
    _registered("W-F", "coupled_across_the_batch", _coupled),
    _registered("W-F", "biased_by_the_rows_index", _biased),
    _registered("W-F", "remembering_its_calls", _remembering),
    _registered("W-F", "noisy", _noisy),
    _registered("W-N", "mass_wrong_by_a_millionth", lambda specification: lambda log_w: log_w + _MILLIONTH),
    _registered("W-N", "nine_tenths_of_the_mass", lambda specification: lambda log_w: log_w - 0.10536),
    _registered("W-P", "hard_choice", _hard_choice),
    _registered("W-P", "small_weights_pruned", _pruned),
    _registered("W-B", "bounds_missed_by_a_millionth", _floor_missed),
    _registered("W-B", "clip_and_renormalize", _clip_and_renormalize),
    _registered("W-R", "hard_switch", _switch(0.5)),
    _registered("W-R", "jump_of_a_hundredth_of_a_nat", _switch(0.01)),
    _registered("W-S", "anti_ordered", _anti_ordered),
    _registered("W-S", "margin_missed_by_a_millionth", _margin_missed),
    Mutant("W-C", "mean_of_conflicting_gradients", _gradient_mean),
    Mutant("W-C", "longest_gradient_wins", _longest_gradient),
)
