"""Rules as users write them, with what bounding their code must settle, and the same question asked a little beyond the
truth, which it must not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from bank.cases import ask
from trivium.certification.specification import Specification
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}


@dataclass(frozen=True)
class Bounded:
    """A rule, a question whose every axiom must be VERIFIED, and false changes of it, by the axiom that they break."""

    make: Callable[[], UserRule]
    specification: Specification
    beyond: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return self.make.__name__

    def near_misses(self) -> list[tuple[str, Specification]]:
        """Each false question, with the axiom that must not be VERIFIED."""
        return [(key.split()[0], replace(self.specification, **change)) for key, change in self.beyond.items()]


VERIFIED: list[Bounded] = []


def verified(specification: Specification, **beyond: Any) -> Callable[[Callable[[], UserRule]], Callable[[], UserRule]]:
    """Register a rule; ``floor=0.06`` among ``beyond`` says that a floor of 0.06 is more than it keeps."""
    axioms = {"floor": "W-B", "cap": "W-B", "influence": "W-B", "lipschitz": "W-R", "order_margin": "W-S"}

    def register(make: Callable[[], UserRule]) -> Callable[[], UserRule]:
        changes = {f"{axioms[name]} {name}": {name: value} for name, value in beyond.items()}
        VERIFIED.append(Bounded(make, specification, changes))
        return make

    return register


@verified(ask(lipschitz=2.0, influence=6.0), lipschitz=1.9999, influence=5.9999)
def clamped_scores() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def clamped(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.clamp(max=6.0), dim=-1)

    return clamped


@verified(ask(lipschitz=2.0, influence=2.0, floor=0.06), lipschitz=1.99, influence=1.9999, floor=0.064)
def tanh_squashed() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def squashed(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.tanh(entropy - 6.0), dim=-1)

    return squashed


@verified(ask(floor=0.05, cap=0.9, lipschitz=2.0), floor=0.0501, cap=0.8999)
def mixed_with_uniform() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def mixed(entropy: Tensor) -> Tensor:
        return 0.85 * torch.softmax(-entropy, dim=-1) + 0.15 / entropy.shape[-1]

    return mixed


@verified(ask(lipschitz=2.0, floor=1 / 27, cap=13 / 15), lipschitz=1.9999, floor=1 / 27 + 1e-6, cap=13 / 15 - 1e-6)
def inverse_with_floor() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def inverse(entropy: Tensor) -> Tensor:
        w = 1 / (1 + entropy)
        return w / w.sum(dim=-1, keepdim=True)

    return inverse


@verified(ask(num_teachers=4, lipschitz=1.5, influence=2 * math.log(4.0)), lipschitz=0.999, influence=2.77)
def inverse_square() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def squared(entropy: Tensor) -> Tensor:
        w = (4.0 + entropy) ** -2
        return w / w.sum(-1, keepdim=True)

    return squared


@verified(ask(lipschitz=2.2, influence=0.82, floor=0.18), lipschitz=2.13, influence=0.81, floor=0.182)
def normalized_sigmoid() -> UserRule:
    @rule(scale="token", features={"margin": (0.0, 1.0)})
    def by_sigmoid(margin: Tensor) -> Tensor:
        gate = torch.sigmoid(2.0 * margin - 1.0) + 0.1
        return gate / torch.sum(gate, dim=-1, keepdim=True)

    return by_sigmoid


@verified(ask(lipschitz=2.6, influence=4.6), lipschitz=2.5999, influence=4.5999)
def two_features() -> UserRule:
    @rule(scale="token", features=TWO)
    def both(entropy: Tensor, gap: Tensor) -> Tensor:
        return torch.softmax(gap - 0.3 * entropy, dim=-1)

    return both


@verified(ask(lipschitz=2.0, influence=3.0), lipschitz=1.99, influence=2.99)
def piecewise() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def pieces(entropy: Tensor) -> Tensor:
        low, high = entropy.clamp(1.0, 3.0), (entropy - 6.0).clamp(0.0, 2.0)
        return torch.softmax(-low - 0.5 * high, dim=-1)

    return pieces


@verified(ask(influence=0.93, floor=0.165, lipschitz=2.2), influence=0.92, floor=0.166, lipschitz=1.99)
def temperature_by_max() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def scaled(entropy: Tensor) -> Tensor:
        top = entropy.amax(dim=-1, keepdim=True)
        return torch.softmax(-entropy / (1.0 + top), dim=-1)

    return scaled


@verified(ask(lipschitz=1.0, influence=1.5), lipschitz=0.999, influence=1.499)
def rational_squash() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def rational(entropy: Tensor) -> Tensor:
        return torch.softmax(-2.0 * entropy / (4.0 + entropy), dim=-1)

    return rational


@verified(ask(lipschitz=2.0, influence=math.log(13.0)), lipschitz=1.9999, influence=2.564)
def log_scores() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def by_log(entropy: Tensor) -> Tensor:
        return torch.softmax(-torch.log1p(entropy), dim=-1)

    return by_log


@verified(ask(lipschitz=2.0, influence=6.0), lipschitz=1.9999)
def centred_and_limited() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def relative(entropy: Tensor) -> Tensor:
        lead = (entropy.amin(dim=-1, keepdim=True) - entropy).clamp_min(-6.0)
        return torch.exp(torch.log_softmax(lead, dim=-1))

    return relative


@verified(ask(order="a>b>c", order_margin=0.2, lipschitz=1.0), order_margin=0.2001, lipschitz=0.9999)
def safety_bias() -> UserRule:
    @rule(scale="context", features={"gap": (0.0, 1.0)})
    def biased(gap: Tensor) -> Tensor:
        return torch.softmax(-0.5 * gap + 0.7 * torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64).to(gap), dim=-1)

    return biased


@verified(ask(order="a>b>c", order_margin=0.2, influence=2.29), influence=2.28, order_margin=0.21)
def stricter_when_risky() -> UserRule:
    @rule(scale="context", features={"gap": (0.0, 1.0), "risk": (0.0, 1.0, False, True)})
    def penalized(gap: Tensor, risk: Tensor) -> Tensor:
        steps = torch.tensor([0.0, 1.0, 2.0]).to(gap)
        return torch.softmax(-0.5 * gap - (0.5 + 0.3 * softplus(risk)) * steps, dim=-1)

    return penalized


@verified(ask(floor=0.09, cap=0.73, lipschitz=3.0), floor=0.092, cap=0.729, lipschitz=2.75)
def gate_between_prior_and_scores() -> UserRule:
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    @rule(scale="token", features={"entropy": (0.0, 4.0), "risk": (0.0, 1.0, False, True)})
    def gated(entropy: Tensor, risk: Tensor) -> Tensor:
        trust = 0.2 + 0.6 * risk
        return trust * torch.softmax(-0.5 * entropy, dim=-1) + (1 - trust) * prior.to(entropy)

    return gated


@verified(ask(influence=2.94, lipschitz=0.6), influence=2.93, lipschitz=0.56)
def small_network() -> UserRule:
    weight = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)

    @rule(scale="token", features=ENTROPY)
    def network(entropy: Tensor) -> Tensor:
        return torch.softmax(1.5 * torch.tanh(linear(entropy / 12, weight.to(entropy))), dim=-1)

    return network


@verified(ask(num_teachers=16, lipschitz=2.0, influence=12.0, floor=3e-7), lipschitz=1.9999, influence=11.999)
def sixteen_teachers() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def many(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1)

    return many
