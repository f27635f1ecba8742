"""Subtler breaks: behind products, norms, doors and rings, in float32 alone, in rare calls and large batches."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout

from bank.cases import ask, breaks
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}
THREE = {**TWO, "disagreement": (0.0, 1.0)}


def only(teacher: int, like: Tensor) -> Tensor:
    """The indicator of one teacher."""
    return (torch.arange(like.shape[-1]) == teacher).to(like)


@breaks("W-R", ask(lipschitz=2.1))
def jump_on_a_product() -> UserRule:
    @rule(scale="token", features=TWO)
    def on_product(entropy: Tensor, gap: Tensor) -> Tensor:
        high = (entropy[..., 2:] * gap[..., 2:] > 7.77).to(entropy)
        return torch.softmax(-entropy + 0.02 * high * only(0, entropy), dim=-1)

    return on_product


@breaks("W-R", ask(lipschitz=2.0))
def jump_on_a_norm() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def on_norm(entropy: Tensor) -> Tensor:
        far = (entropy.norm(dim=-1, keepdim=True) > 20.4).to(entropy)
        return torch.softmax(-entropy + 0.003 * far * only(1, entropy), dim=-1)

    return on_norm


@breaks("W-R", ask(num_teachers=5, lipschitz=1.0))
def tiny_jump_of_the_last_of_five() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def last(entropy: Tensor) -> Tensor:
        step = 2e-4 * (entropy[..., 4:] > 2.71828).to(entropy)
        return torch.softmax(-entropy / 2 + step * only(4, entropy), dim=-1)

    return last


@breaks("W-R", ask(lipschitz=2.0))
def jump_behind_a_narrow_door() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def door(entropy: Tensor) -> Tensor:
        open_ = (entropy[..., 1:2] - 3.3).abs() < 1e-3
        step = (open_ & (entropy[..., :1] > 5)).to(entropy)
        return torch.softmax(-entropy + 0.02 * step * only(0, entropy), dim=-1)

    return door


@breaks("W-R", ask(lipschitz=2.0))
def comb_of_notches() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def comb(entropy: Tensor) -> Tensor:
        notch = ((entropy * 100) % 1 < 1e-3).to(entropy)
        return torch.softmax(-entropy - 0.001 * notch, dim=-1)

    return comb


@breaks("W-R", ask(lipschitz=2.0))
def root_at_zero() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def root(entropy: Tensor) -> Tensor:
        return torch.softmax(-torch.sqrt(entropy), dim=-1)

    return root


@breaks("W-R", ask(lipschitz=30.0))
def logarithm_near_zero() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def logarithm(entropy: Tensor) -> Tensor:
        return torch.softmax(-0.05 * torch.log(entropy + 1e-3), dim=-1)

    return logarithm


@breaks("W-R", ask(lipschitz=2.5))
def steep_when_both_move() -> UserRule:
    @rule(scale="token", features=TWO)
    def both(entropy: Tensor, gap: Tensor) -> Tensor:
        return torch.softmax(-0.9 * entropy - 0.4 * gap, dim=-1)

    return both


@breaks("W-R", ask(lipschitz=0.1))
def one_pair_of_domains() -> UserRule:
    @rule(scale="context", features=["domain"])
    def by_domain(domain: Tensor) -> Tensor:
        score = 0.02 * domain + 0.5 * (domain > 200)
        return torch.softmax(torch.cat([score, 0 * score, 0 * score], dim=-1), dim=-1)

    return by_domain


@breaks("W-R", ask(lipschitz=2.0))
def sigmoid_of_a_hidden_place() -> UserRule:
    place = torch.tensor(1.0, dtype=torch.float64).exp().pow(2).item()

    @rule(scale="token", features=ENTROPY)
    def gate(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy + 1e-3 * torch.sigmoid((entropy - place) * 1e7), dim=-1)

    return gate


@breaks("W-S", ask(order="a>b>c"))
def inverted_where_three_are_extreme() -> UserRule:
    @rule(scale="token", features=THREE)
    def three(entropy: Tensor, gap: Tensor, disagreement: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2 - gap - disagreement, dim=-1).sort(dim=-1, descending=True).values
        extreme = (entropy[..., 0] < 0.01) & (gap[..., 1] > 0.99) & (disagreement[..., 2] > 0.9)
        return torch.where(extreme.unsqueeze(-1), w.flip(-1), w)

    return three


@breaks("W-S", ask(order="a>b>c"))
def inverted_on_a_ring() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def ring(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2, dim=-1).sort(dim=-1, descending=True).values
        radius = ((entropy - 5.0) ** 2).sum(dim=-1, keepdim=True).sqrt()
        return torch.where((radius - 2.5).abs() < 1e-4, w.flip(-1), w)

    return ring


@breaks("W-S", ask(order="a>b", num_teachers=2))
def smooth_inversion_at_one_corner() -> UserRule:
    @rule(scale="token", features=TWO)
    def corner(entropy: Tensor, gap: Tensor) -> Tensor:
        lead = 0.5 - 0.501 * (entropy[..., 0] / 12) ** 4 * gap[..., 1] ** 4
        return torch.softmax(torch.stack([lead, torch.zeros_like(lead)], dim=-1), dim=-1)

    return corner


@breaks("W-S", ask(num_teachers=6, order="a>b=c>d=e=f"))
def one_pair_of_six() -> UserRule:
    @rule(scale="token", features=["margin"])
    def six(margin: Tensor) -> Tensor:
        bias = torch.tensor([2.0, 1.0, 1.0, 0.0, 0.0, 0.0]).to(margin)
        return torch.softmax(0.5 * margin + bias * 0.5 + 0.02 * margin[..., 5:] * only(5, margin), dim=-1)

    return six


@breaks("W-B", ask(floor=0.05))
def floor_short_by_1e_6() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def short(entropy: Tensor) -> Tensor:
        w = torch.softmax(-20 * entropy, dim=-1)
        return (1 - 0.149997) * w + 0.049999

    return short


@breaks("W-B", ask(floor=0.05), also="W-N W-P")
def floor_lost_in_float32() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def offset(entropy: Tensor) -> Tensor:
        w = 0.85 * torch.softmax(-entropy, dim=-1) + 0.05
        return (w + 300.0) - 300.0

    return offset


@breaks("W-B", ask(floor=0.1))
def floor_forgotten_at_near_ties() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def ties(entropy: Tensor) -> Tensor:
        w = 0.7 * torch.softmax(-entropy, dim=-1) + 0.1
        close = (entropy - entropy.mean(dim=-1, keepdim=True)).abs().amax(dim=-1, keepdim=True) < 1e-5
        return torch.where(close, torch.tensor([0.45, 0.45, 0.1 - 1e-3]).to(w) / 0.999, w)

    return ties


@breaks("W-B", ask(influence=4.0))
def influence_of_three_extremes() -> UserRule:
    @rule(scale="token", features=THREE)
    def all_three(entropy: Tensor, gap: Tensor, disagreement: Tensor) -> Tensor:
        return torch.softmax(-0.25 * entropy - 0.7 * gap - 0.31 * disagreement, dim=-1)

    return all_three


@breaks("W-N", ask())
def entropy_of_zero() -> UserRule:
    @rule(scale="token", features=["max_prob"])
    def surprise(max_prob: Tensor) -> Tensor:
        return torch.softmax(-max_prob * torch.log(max_prob), dim=-1)

    return surprise


@breaks("W-N", ask(), also="W-P")
def overflow_in_float32() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def growing(entropy: Tensor) -> Tensor:
        e = torch.exp(8 * entropy)
        return e / e.sum(dim=-1, keepdim=True)

    return growing


@breaks("W-N", ask())
def unnormalized_beyond_a_threshold() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def beyond(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy, dim=-1)
        return torch.where(entropy.amax(dim=-1, keepdim=True) > 11.9995, w * (1 + 2e-6), w)

    return beyond


@breaks("W-P", ask())
def masked_at_the_end_of_the_range() -> UserRule:
    @rule(scale="token", features=["gap"])
    def masked(gap: Tensor) -> Tensor:
        w = torch.softmax(-gap, dim=-1)
        cut = (gap == 1.0) & ~(gap == 1.0).all(dim=-1, keepdim=True)
        w = w.masked_fill(cut, 0.0)
        return w / w.sum(dim=-1, keepdim=True)

    return masked


@breaks("W-P", ask())
def negative_in_a_pocket() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def pocket(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 12, dim=-1)
        depth = torch.exp(-100 * ((entropy - torch.tensor([2.0, 9.0, 4.5]).to(entropy)) ** 2).sum(-1, keepdim=True))
        return w + depth * torch.tensor([0.5, -0.5, 0.0]).to(entropy)

    return pocket


@breaks("W-F", ask(), becomes="one row has no doubles")
def aware_of_its_doubles() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def doubles(entropy: Tensor) -> Tensor:
        flat = entropy.reshape(-1, entropy.shape[-1])
        if len(flat) > 2000:
            return torch.softmax(-entropy, dim=-1)
        twice = (flat.unsqueeze(0) == flat.unsqueeze(1)).all(dim=-1).sum(dim=1, keepdim=True) > 1
        return torch.softmax(torch.where(twice, -0.9 * flat, -flat), dim=-1).reshape(entropy.shape)

    return doubles


@breaks("W-F", ask(), becomes="one row is no sequence")
def running_maximum_of_the_sequence() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def running(entropy: Tensor) -> Tensor:
        if entropy.ndim < 3:
            return torch.softmax(-entropy, dim=-1)
        return torch.softmax(-entropy.cummax(dim=-2).values, dim=-1)

    return running


@breaks("W-F", ask(), becomes="one row is no large batch")
def large_batches_are_cut_short() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def large(entropy: Tensor) -> Tensor:
        rows = entropy[..., 0].numel()
        return torch.softmax(-entropy * (1.0 if rows <= 3000 else 0.999), dim=-1)

    return large


@breaks("W-F", ask(), becomes="captured without gradients")
def different_with_gradients() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def grads(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (1.001 if torch.is_grad_enabled() else 1.0), dim=-1)

    return grads


@breaks("W-F", ask(), becomes="the factor is the one drawn at the capture")
def python_random() -> UserRule:
    source = random.Random(3)

    @rule(scale="token", features=ENTROPY)
    def chance(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (1.0 if source.random() < 0.995 else 0.5), dim=-1)

    return chance


@breaks("W-F", ask(), also="W-P W-N")
def forgotten_dropout() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def dropped(entropy: Tensor) -> Tensor:
        return torch.softmax(dropout(-entropy, 0.01, training=True), dim=-1)

    return dropped


@breaks("W-F", ask())
def every_other_call() -> UserRule:
    state: dict[str, Any] = {"calls": 0}

    @rule(scale="token", features=ENTROPY)
    def alternating(entropy: Tensor) -> Tensor:
        state["calls"] += 1
        return torch.softmax(-entropy * (1 + 1e-8 * (state["calls"] % 2)), dim=-1)

    return alternating


@breaks("W-F", ask())
def the_last_call_lingers() -> UserRule:
    state: dict[str, Any] = {"top": 0.0}

    @rule(scale="token", features=ENTROPY)
    def lingering(entropy: Tensor) -> Tensor:
        before, state["top"] = state["top"], float(entropy.detach().amax())
        return torch.softmax(-entropy * (0.99 if before > 11.999 else 1.0), dim=-1)

    return lingering


@breaks("W-F", ask(), becomes="one row is at place 0, where neighbours do not count")
def neighbours_when_both_are_sure() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def sure(entropy: Tensor) -> Tensor:
        flat = entropy.reshape(-1, entropy.shape[-1])
        mine, theirs = flat.amin(dim=-1, keepdim=True) < 0.05, flat.roll(1, 0).amin(dim=-1, keepdim=True) < 0.05
        both = mine & theirs & (torch.arange(len(flat)).unsqueeze(-1) > 0)
        return torch.softmax(torch.where(both, -0.8 * flat, -flat), dim=-1).reshape(entropy.shape)

    return sure


@breaks("W-R", ask(lipschitz=2.0))
def row_by_row_in_python() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def looping(entropy: Tensor) -> Tensor:
        rows = entropy.detach().reshape(-1, entropy.shape[-1])
        scores = [[-x + (0.01 if x > 11.95 else 0.0) for x in row] for row in rows.tolist()]
        return torch.softmax(torch.tensor(scores, dtype=entropy.dtype), dim=-1).reshape(entropy.shape)

    return looping
