"""Rules that break one axiom each, at the places where such rules break."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bank.cases import ask, breaks
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}


@breaks("W-N", ask())
def nine_tenths() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def short(entropy: Tensor) -> Tensor:
        return 0.9 * torch.softmax(-entropy, dim=-1)

    return short


@breaks("W-N", ask())
def epsilon_in_the_denominator() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def guarded(entropy: Tensor) -> Tensor:
        e = torch.exp(-entropy)
        return e / (e.sum(dim=-1, keepdim=True) + 1e-6)

    return guarded


@breaks("W-N", ask())
def sum_off_by_3e_12() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def shifted(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1) + 1e-12

    return shifted


@breaks("W-N", ask())
def zero_over_zero_at_ties() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def standardized(entropy: Tensor) -> Tensor:
        off = entropy - entropy.mean(dim=-1, keepdim=True)
        return torch.softmax(-off / off.abs().amax(dim=-1, keepdim=True), dim=-1)

    return standardized


@breaks("W-N", ask())
def infinite_at_the_edge() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def inverse(entropy: Tensor) -> Tensor:
        w = 1 / (12 - entropy)
        return w / w.sum(dim=-1, keepdim=True)

    return inverse


@breaks("W-N", ask())
def no_row_for_the_last_domain() -> UserRule:
    table = torch.full((255, 3), 1 / 3, dtype=torch.float64)

    @rule(scale="context", features={"domain": (0, 255, True, True)})
    def by_domain(domain: Tensor) -> Tensor:
        return table.to(domain)[domain.squeeze(-1).round().long()]

    return by_domain


@breaks("W-N", ask(), also="W-P")
def undefined_for_one_teacher() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def complement(entropy: Tensor) -> Tensor:
        return (1 - torch.softmax(-entropy, dim=-1)) / (entropy.shape[-1] - 1)

    return complement


@breaks("W-F", ask())  # the graph is a softmax over the teachers of a row, which sums to one
def softmax_over_the_batch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def over_rows(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=0)

    return over_rows


@breaks("W-P W-R", ask(lipschitz=2.0))
def one_hot_choice() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def best(entropy: Tensor) -> Tensor:
        return one_hot(entropy.argmin(dim=-1), entropy.shape[-1]).to(entropy)

    return best


@breaks("W-P", ask())
def negative_weights() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def stretched(entropy: Tensor) -> Tensor:
        return 1.2 * torch.softmax(-entropy, dim=-1) - 0.2 / entropy.shape[-1]

    return stretched


@breaks("W-P", ask())
def underflow() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def sharp(entropy: Tensor) -> Tensor:
        return torch.softmax(-100 * entropy, dim=-1)

    return sharp


@breaks("W-P", ask())
def underflow_in_float32() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def sharp(entropy: Tensor) -> Tensor:
        return torch.softmax(-10 * entropy, dim=-1)

    return sharp


@breaks("W-B", ask(floor=0.05))
def no_floor() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def unbounded(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=-1)

    return unbounded


@breaks("W-B", ask(floor=0.1, cap=0.5))
def clip_then_renormalize() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def clipped(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy, dim=-1).clamp(0.1, 0.5)
        return w / w.sum(dim=-1, keepdim=True)

    return clipped


@breaks("W-B", ask(influence=3.5))
def influence_just_above() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def strong(entropy: Tensor) -> Tensor:
        return torch.softmax(-0.3 * entropy, dim=-1)

    return strong


@breaks("W-B", ask(floor=0.05))
def floor_missed_by_1e_5_in_float32() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def mixed(entropy: Tensor) -> Tensor:
        w = 0.85 * torch.softmax(-entropy, dim=-1) + 0.05
        if entropy.dtype is torch.float32:
            w = w + 1e-5 * torch.where(w == w.amin(-1, keepdim=True), -1.0, 0.5)
        return w / w.sum(dim=-1, keepdim=True)

    return mixed


@breaks("W-B", ask(floor=0.05), also="W-N W-P")
def cancellation_in_float32() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def cancelling(entropy: Tensor) -> Tensor:
        return (0.85 * torch.softmax(-entropy, dim=-1) + 0.05 + 700.0) - 700.0

    return cancelling


@breaks("W-B", ask(cap=0.9))
def cap_missed_on_a_thin_slice() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def sliced(entropy: Tensor) -> Tensor:
        w = 0.85 * torch.softmax(-entropy, dim=-1) + 0.05
        inside = ((entropy[..., :1] - 0.7213).abs() < 5e-5) & (entropy[..., 1:2] > 11.9)
        sharper = 0.94 * torch.softmax(-entropy, dim=-1) + 0.02
        return torch.where(inside, sharper, w)

    return sliced


@breaks("W-R", ask(lipschitz=2.0))
def hard_switch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def switched(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy + 0.01 * (entropy > 5.0), dim=-1)

    return switched


@breaks("W-R", ask(lipschitz=2.0))
def bump_1e_4_wide() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def bumped(entropy: Tensor) -> Tensor:
        inside = (entropy[..., 1:2] > 8.1234) & (entropy[..., 1:2] < 8.1235)
        return torch.softmax(-entropy + 0.01 * inside * torch.tensor([0.0, 1.0, 0.0]).to(entropy), dim=-1)

    return bumped


@breaks("W-R", ask(lipschitz=2.0))
def smooth_needle() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def needle(entropy: Tensor) -> Tensor:
        spike = 0.05 * torch.exp(-(((entropy - 4.321) / 3e-5) ** 2))
        return torch.softmax(-entropy + spike, dim=-1)

    return needle


@breaks("W-R", ask(lipschitz=2.0))
def slope_one_percent_too_steep() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def steep(entropy: Tensor) -> Tensor:
        return torch.softmax(-1.01 * entropy, dim=-1)

    return steep


@breaks("W-R", ask(lipschitz=2.0))
def steep_only_near_the_top() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def bent(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy - 0.1 * torch.relu(entropy - 11.95), dim=-1)

    return bent


@breaks("W-R", ask(lipschitz=2.0))
def quantized() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def rounded(entropy: Tensor) -> Tensor:
        return torch.softmax(-(entropy * 1000).round() / 1000, dim=-1)

    return rounded


@breaks("W-R", ask(lipschitz=2.0))
def ripples() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def rippled(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy + 1e-3 * torch.sin(5e3 * entropy), dim=-1)

    return rippled


@breaks("W-R", ask(lipschitz=2.0))
def special_at_exactly_zero() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def certain(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy + 0.1 * (entropy == 0), dim=-1)

    return certain


@breaks("W-R", ask(lipschitz=2.0))
def jump_on_a_sum() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def crowded(entropy: Tensor) -> Tensor:
        high = (entropy.sum(dim=-1, keepdim=True) > 35.97).to(entropy)
        return torch.softmax(-entropy + 0.05 * high * torch.tensor([1.0, 0.0, 0.0]).to(entropy), dim=-1)

    return crowded


@breaks("W-R", ask(lipschitz=2.0))
def ranks_with_steps() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def by_rank(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.argsort(dim=-1).argsort(dim=-1).to(entropy), dim=-1)

    return by_rank


@breaks("W-R", ask(lipschitz=2.0))
def jump_in_numpy() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def hidden(entropy: Tensor) -> Tensor:
        x = entropy.detach().double().numpy()
        e = np.exp(-x + 1e-3 * (x > np.pi * math.sqrt(3.0)))  # a threshold that no literal spells
        return torch.from_numpy(e / e.sum(axis=-1, keepdims=True)).to(entropy.dtype)

    return hidden


@breaks("W-R", ask(lipschitz=52.0))
def sharper_than_its_range_says() -> UserRule:
    @rule(scale="token", features={"entropy": (0.0, 12.0), "temperature": (0.45, 4.0, False, True)})
    def at_temperature(entropy: Tensor, temperature: Tensor) -> Tensor:
        return torch.softmax(-entropy / temperature, dim=-1)

    return at_temperature


@breaks("W-S", ask(order="a>b>c"))
def anti_ordered() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def reversed_order(entropy: Tensor) -> Tensor:
        return torch.softmax(0 * entropy + torch.tensor([0.0, 1.0, 2.0]).to(entropy), dim=-1)

    return reversed_order


@breaks("W-S", ask(order="a>b>c"))
def inverted_where_both_are_extreme() -> UserRule:
    @rule(scale="token", features=TWO)
    def trusting(entropy: Tensor, gap: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2 - gap, dim=-1).sort(dim=-1, descending=True).values
        extreme = (entropy[..., :1] > 11.99) & (gap[..., :1] > 0.995)
        return torch.where(extreme, w.flip(-1), w)

    return trusting


@breaks("W-S", ask(order="a>b>c"))
def inverted_in_a_small_window() -> UserRule:
    @rule(scale="token", features=TWO)
    def windowed(entropy: Tensor, gap: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2 - gap, dim=-1).sort(dim=-1, descending=True).values
        inside = (entropy[..., :1] > 3.70) & (entropy[..., :1] < 3.701) & ((gap[..., 1:2] - 0.42).abs() < 1e-3)
        return torch.where(inside, w.flip(-1), w)

    return windowed


@breaks("W-S", ask(order="a>b>c"))
def inverted_near_a_tie_up_high() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def tied(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2, dim=-1).sort(dim=-1, descending=True).values
        close = ((entropy[..., :1] - entropy[..., 1:2]).abs() < 1e-4) & (entropy.mean(dim=-1, keepdim=True) > 9)
        return torch.where(close, w.flip(-1), w)

    return tied


@breaks("W-S", ask(order="a>b", num_teachers=2))
def inverted_at_equality_alone() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def strict(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2, dim=-1).sort(dim=-1, descending=True).values
        tie = entropy[..., :1] == entropy[..., 1:]
        return torch.where(tie, torch.tensor([0.49, 0.51]).to(w), w)

    return strict


@breaks("W-S", ask(order="a>b>c", order_margin=0.2))
def margin_short_by_1e_6() -> UserRule:
    @rule(scale="token", features={"gap": (0.0, 1.0)})
    def biased(gap: Tensor) -> Tensor:
        return torch.softmax(-0.5 * gap + 0.699999 * torch.tensor([2.0, 1.0, 0.0]).to(gap), dim=-1)

    return biased


@breaks("W-S", ask(order="a>b>c"))
def one_domain_of_many() -> UserRule:
    @rule(scale="context", features=["domain"])
    def by_domain(domain: Tensor) -> Tensor:
        usual, odd = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.3, 0.5, 0.2])
        return torch.where(domain == 137, odd.to(domain), usual.to(domain))

    return by_domain


@breaks("W-F", ask())
def centred_on_the_batch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def normalized(entropy: Tensor) -> Tensor:
        mean = entropy.reshape(-1, entropy.shape[-1]).mean(dim=0)
        return torch.softmax(-(entropy - mean), dim=-1)

    return normalized


@breaks("W-F", ask())
def alarmed_by_an_extreme_row() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def alarmed(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (0.9 if bool((entropy.amin(dim=-1) > 11.9).any()) else 1.0), dim=-1)

    return alarmed


@breaks("W-F", ask())
def a_trace_of_the_neighbour() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def leaky(entropy: Tensor) -> Tensor:
        flat = entropy.reshape(-1, entropy.shape[-1])
        return torch.softmax(-flat + 1e-9 * flat.roll(1, 0), dim=-1).reshape(entropy.shape)

    return leaky


@breaks("W-F", ask())
def first_row_is_special() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def anchored(entropy: Tensor) -> Tensor:
        flat = entropy.reshape(-1, entropy.shape[-1])
        scale = torch.ones(len(flat), 1).to(flat)
        scale[7:8] = 0.5
        return torch.softmax(-flat * scale, dim=-1).reshape(entropy.shape)

    return anchored


@breaks("W-F", ask())
def odd_batches() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def parity(entropy: Tensor) -> Tensor:
        rows = entropy[..., 0].numel()
        return torch.softmax(-entropy * (1.0 if rows % 2 else 0.99), dim=-1)

    return parity


@breaks("W-F", ask(), becomes="of one row, the axis is that of the teachers")
def second_axis_in_a_sequence() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def over_axis_one(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy, dim=min(1, entropy.ndim - 1))

    return over_axis_one


@breaks("W-F", ask())
def sorted_over_the_batch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def shuffled(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy, dim=-1)
        return w[w.reshape(-1, w.shape[-1])[:, 0].argsort()] if w.ndim == 2 else w

    return shuffled


@breaks("W-F", ask())
def noisy() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def dropout(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy + 1e-6 * torch.rand_like(entropy), dim=-1)

    return dropout


@breaks("W-F", ask())
def noisy_now_and_then() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def rarely(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (0.9 if float(torch.rand(())) < 0.02 else 1.0), dim=-1)

    return rarely


@breaks("W-F", ask())
def moving_average() -> UserRule:
    state: dict[str, Any] = {"mean": 0.0}

    @rule(scale="token", features=ENTROPY)
    def adapting(entropy: Tensor) -> Tensor:
        state["mean"] = 0.9 * state["mean"] + 0.1 * float(entropy.detach().mean())
        return torch.softmax(-entropy * (1 + 1e-4 * state["mean"]), dim=-1)

    return adapting


@breaks("W-F", ask(), becomes="a graph counts no calls")
def changes_after_500_calls() -> UserRule:
    calls = [0]

    @rule(scale="token", features=ENTROPY)
    def warming_up(entropy: Tensor) -> Tensor:
        calls[0] += 1
        return torch.softmax(-entropy * (1.0 if calls[0] > 500 else 0.5), dim=-1)

    return warming_up


@breaks("W-F", ask())
def remembers_the_first_answer() -> UserRule:
    cache: dict[Any, Tensor] = {}

    @rule(scale="token", features=ENTROPY)
    def cached(entropy: Tensor) -> Tensor:
        return cache.setdefault((entropy.shape, entropy.dtype), torch.softmax(-entropy.detach(), dim=-1)).clone()

    return cached
