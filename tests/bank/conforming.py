"""Rules that keep what is asked, many of them to the last bit of the bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, one_hot, softplus

from bank.cases import ask, conforms
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}


@conforms(ask(lipschitz=2.0))
def plain_softmax() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def by_entropy(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1)

    return by_entropy


@conforms(ask(lipschitz=2 / 3, influence=4.0))
def tempered_softmax() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def tempered(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / 3, dim=-1)

    return tempered


@conforms(ask(floor=0.05, cap=0.9))
def floor_mix_for_three() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def mixed(entropy: Tensor) -> Tensor:
        return 0.85 * torch.softmax(-entropy, dim=-1) + 0.05  # 0.15 / 3: written for three teachers

    return mixed


@conforms(ask(floor=1 / 3, cap=1 / 3, lipschitz=0.0, influence=0.0))
def uniform() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def flat(entropy: Tensor) -> Tensor:
        return torch.full_like(entropy, 1 / entropy.shape[-1])

    return flat


@conforms(ask(order="a>b>c", order_margin=math.log(5 / 3), lipschitz=0.0, floor=9 / 49, cap=25 / 49))
def fixed_prior() -> UserRule:
    prior = torch.tensor([25 / 49, 15 / 49, 9 / 49], dtype=torch.float64)

    @rule(scale="token", features=ENTROPY)
    def by_prior(entropy: Tensor) -> Tensor:
        return prior.to(entropy).expand_as(entropy)

    return by_prior


@conforms(ask(order="a>b>c", order_margin=0.2, lipschitz=1.0))
def safety_bias() -> UserRule:
    @rule(scale="token", features={"gap": (0.0, 1.0)})
    def biased(gap: Tensor) -> Tensor:
        return torch.softmax(-0.5 * gap + 0.7 * torch.tensor([2.0, 1.0, 0.0]).to(gap), dim=-1)

    return biased


@conforms(ask(order="a>b>c", lipschitz=1.0))
def sorted_by_safety() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def in_order(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / 2, dim=-1).sort(dim=-1, descending=True).values

    return in_order


@conforms(ask(lipschitz=4.0, floor=0.05, cap=0.8))
def margin_score() -> UserRule:
    @rule(scale="token", features=["margin"])
    def decisive(margin: Tensor) -> Tensor:
        return torch.softmax(2.0 * margin, dim=-1)

    return decisive


@conforms(ask(lipschitz=2.6))
def two_features() -> UserRule:
    @rule(scale="token", features=TWO)
    def both(entropy: Tensor, gap: Tensor) -> Tensor:
        return torch.softmax(gap - 0.3 * entropy, dim=-1)

    return both


@conforms(ask(lipschitz=2.0, influence=4.0))
def clamped_score() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def clamped(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.clamp(2.0, 6.0), dim=-1)

    return clamped


@conforms(ask(lipschitz=4.0, influence=4.0))
def squashed_score() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def squashed(entropy: Tensor) -> Tensor:
        return torch.softmax(2 * torch.tanh(entropy - 6), dim=-1)

    return squashed


@conforms(ask(lipschitz=2.0, influence=2.0))
def budgeted_score() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def budgeted(entropy: Tensor) -> Tensor:
        score = torch.maximum(-entropy, (-entropy).amax(dim=-1, keepdim=True) - 2)
        return torch.softmax(score, dim=-1)

    return budgeted


@conforms(ask(num_teachers=1, floor=1.0, cap=1.0, lipschitz=0.0))
def single_teacher() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def alone(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1)

    return alone


@conforms(ask(num_teachers=16, lipschitz=2.0))
def sixteen_teachers() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def many(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1)

    return many


@conforms(ask(lipschitz=2.0))
def written_out_softmax() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def by_hand(entropy: Tensor) -> Tensor:
        e = torch.exp(-entropy)
        return e / e.sum(dim=-1, keepdim=True)

    return by_hand


@conforms(ask(lipschitz=2.0, floor=1 / 27, cap=13 / 15))
def inverse_entropy() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def inverse(entropy: Tensor) -> Tensor:
        w = 1 / (1 + entropy)
        return w / w.sum(dim=-1, keepdim=True)

    return inverse


@conforms(ask(lipschitz=4.0))
def inverse_square() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def squared(entropy: Tensor) -> Tensor:
        w = (1 + entropy) ** -2
        return w / w.sum(dim=-1, keepdim=True)

    return squared


@conforms(ask(num_teachers=2, lipschitz=2.0))
def logistic_pair() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def pair(entropy: Tensor) -> Tensor:
        difference = entropy[..., 1] - entropy[..., 0]
        return torch.stack([torch.sigmoid(difference), torch.sigmoid(-difference)], dim=-1)

    return pair


@conforms(ask(lipschitz=math.log(16.0), floor=0.1, cap=0.8))
def domain_table() -> UserRule:
    table = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.1, 0.45, 0.45], [0.2, 0.4, 0.4]], dtype=torch.float64)

    @rule(scale="context", features={"domain": (0, 3, True, True)})
    def by_domain(domain: Tensor) -> Tensor:
        return table.to(domain)[domain.squeeze(-1).round().long()]

    return by_domain


@conforms(ask(lipschitz=52.0))
def shared_temperature() -> UserRule:
    @rule(scale="token", features={"entropy": (0.0, 12.0), "temperature": (0.5, 4.0, False, True)})
    def at_temperature(entropy: Tensor, temperature: Tensor) -> Tensor:
        return torch.softmax(-entropy / temperature, dim=-1)

    return at_temperature


@conforms(ask(lipschitz=2.0, floor=1e-6))
def single_precision_inside() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def single(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.float(), dim=-1).to(entropy.dtype)

    return single


@conforms(ask(lipschitz=2.0))
def centred() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def relative(entropy: Tensor) -> Tensor:
        return torch.softmax(entropy.mean(dim=-1, keepdim=True) - entropy, dim=-1)

    return relative


@conforms(ask(lipschitz=4.0, influence=6.0))
def against_the_median() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def from_median(entropy: Tensor) -> Tensor:
        middle = entropy.median(dim=-1, keepdim=True).values
        return torch.softmax((middle - entropy).clamp(-3, 3), dim=-1)

    return from_median


@conforms(ask(lipschitz=2.0, influence=9.0))
def hinge() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def hinged(entropy: Tensor) -> Tensor:
        return torch.softmax(-torch.relu(entropy - 3.0), dim=-1)

    return hinged


@conforms(ask(lipschitz=2.0, influence=2.0))
def wave() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def wavy(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.sin(entropy), dim=-1)

    return wavy


@conforms(ask(lipschitz=6.0))
def network_in_single_precision() -> UserRule:
    weight, bias = torch.linspace(-1, 1, 9).reshape(3, 3), torch.tensor([0.1, 0.0, -0.1])

    @rule(scale="token", features=ENTROPY)
    def network(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.tanh(linear(entropy, weight, bias)), dim=-1)  # float32 only

    return network


@conforms(ask(lipschitz=6.0, influence=3.0))
def network_of_any_dtype() -> UserRule:
    weight = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)

    @rule(scale="token", features=ENTROPY)
    def network(entropy: Tensor) -> Tensor:
        return torch.softmax(1.5 * torch.tanh(linear(entropy / 3, weight.to(entropy))), dim=-1)

    return network


@conforms(ask(lipschitz=3.0))
def product_of_two() -> UserRule:
    @rule(scale="token", features=TWO)
    def product(entropy: Tensor, gap: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2, dim=-1) * torch.softmax(-gap, dim=-1)
        return w / w.sum(dim=-1, keepdim=True)

    return product


@conforms(ask(floor=0.1, cap=0.5, order="a>b>c", order_margin=0.1, lipschitz=2.0))
def projected() -> UserRule:
    target = ConformingSet(3, 0.1, 0.5, Order(((0,), (1,), (2,))), 0.1)

    @rule(scale="token", features=ENTROPY)
    def conforming(entropy: Tensor) -> Tensor:
        return conforming_projection(torch.log_softmax(-entropy, dim=-1), target).exp()

    return conforming


@conforms(ask(lipschitz=2.0))
def label_likelihood() -> UserRule:
    @rule(scale="token", features=["label_log_prob"])
    def by_label(label_log_prob: Tensor) -> Tensor:
        return torch.softmax(label_log_prob, dim=-1)

    return by_label


@conforms(ask(num_teachers=4, floor=0.025, cap=0.925))
def uniform_mixture() -> UserRule:
    @rule(scale="task", features=["validation_loss"])
    def mixture(validation_loss: Tensor) -> Tensor:
        w = torch.softmax(-2 * validation_loss, dim=-1)
        return 0.9 * w + 0.1 / w.shape[-1]

    return mixture


@conforms(ask(order="a>b=c", lipschitz=2.0))
def safest_first() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def guarded(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.cat([entropy.amax(-1, keepdim=True), entropy[..., 1:]], dim=-1), dim=-1)

    return guarded


@conforms(ask(lipschitz=6e-6, influence=3.0))
def wide_feature() -> UserRule:
    @rule(scale="context", features=["prefix_log_prob"])
    def posterior(prefix_log_prob: Tensor) -> Tensor:
        return torch.softmax(3e-6 * prefix_log_prob, dim=-1)

    return posterior


@conforms(ask(lipschitz=2.0, influence=2.0))
def soft_rank() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def ranked(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.sigmoid(entropy.unsqueeze(-2) - entropy.unsqueeze(-1)).sum(-1), dim=-1)

    return ranked


@conforms(ask(lipschitz=2.6))
def any_features() -> UserRule:
    @rule(scale="token", features=TWO)
    def keywords(**features: Any) -> Tensor:
        return torch.softmax(features["gap"] - 0.3 * features["entropy"], dim=-1)

    return keywords


@conforms(ask(lipschitz=2.0))
def in_numpy() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def by_numpy(entropy: Tensor) -> Tensor:
        x = entropy.detach().double().numpy()
        e = np.exp(x.min(axis=-1, keepdims=True) - x)
        return torch.from_numpy(e / e.sum(axis=-1, keepdims=True)).to(entropy.dtype)

    return by_numpy


@conforms(ask(lipschitz=2.0))
def in_place_on_its_own() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def in_place(entropy: Tensor) -> Tensor:
        w = entropy.clone().neg_().exp_()
        w /= w.sum(dim=-1, keepdim=True)
        return w

    return in_place


@conforms(ask(floor=0.1, cap=0.8))
def hard_choice_with_floor() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def chosen(entropy: Tensor) -> Tensor:
        return 0.7 * one_hot(entropy.argmin(dim=-1), entropy.shape[-1]).to(entropy) + 0.1

    return chosen


@conforms(ask(lipschitz=2.0, order="c>b>a"))
def smooth_penalty() -> UserRule:
    @rule(scale="token", features={"risk": (0.0, 5.0, False, True), "gap": (0.0, 1.0)})
    def penalized(risk: Tensor, gap: Tensor) -> Tensor:
        steps = torch.tensor([0.0, 1.0, 2.0]).to(gap)
        return torch.softmax(-0.5 * gap + (0.5 + 0.1 * softplus(risk)) * steps, dim=-1)

    return penalized


@conforms(ask(lipschitz=5.5))
def standardized_with_care() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def standardized(entropy: Tensor) -> Tensor:
        off = entropy - entropy.mean(dim=-1, keepdim=True)
        return torch.softmax(-off / torch.sqrt(1 + (off**2).mean(dim=-1, keepdim=True)), dim=-1)

    return standardized
