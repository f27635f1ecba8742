"""Breaks off the beaten path: no literal to read, no branch to trace, against the trend, in one cell of a table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bank.cases import ask, breaks
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}


def only(teacher: int, like: Tensor) -> Tensor:
    """The indicator of one teacher."""
    return (torch.arange(like.shape[-1]) == teacher).to(like)


@breaks("W-R", ask(lipschitz=2.0))
def spike_in_numpy_at_no_literal() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def spike(entropy: Tensor) -> Tensor:
        x = entropy.detach().double().numpy()
        inside = np.abs(x[..., 2:] - np.sqrt(np.pi + 41.0)) < 5e-5
        e = np.exp(-x - 0.01 * inside * np.arange(x.shape[-1]))
        return torch.from_numpy(e / e.sum(axis=-1, keepdims=True)).to(entropy.dtype)

    return spike


@breaks("W-R", ask(lipschitz=1.0))
def step_against_the_trend() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def against(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy / 2 + 3e-6 * torch.tanh((entropy - 7.7) * 1e9), dim=-1)

    return against


@breaks("W-R", ask(lipschitz=2.0))
def nearly_a_sign() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def sign(entropy: Tensor) -> Tensor:
        off = entropy.mean(dim=-1, keepdim=True) - entropy
        return torch.softmax(0.3 * off / (off.abs() + 1e-3), dim=-1)

    return sign


@breaks("W-R", ask(lipschitz=2.0))
def two_decimals_of_the_gap() -> UserRule:
    @rule(scale="token", features=["gap"])
    def decimals(gap: Tensor) -> Tensor:
        return torch.softmax(torch.round(gap, decimals=2), dim=-1)

    return decimals


@breaks("W-R", ask(lipschitz=2.0))
def one_bucket_in_a_thousand() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def bucket(entropy: Tensor) -> Tensor:
        chosen = (entropy[..., :1] * 1e4).long() % 9973 == 17
        return torch.softmax(-entropy + 0.002 * chosen * only(0, entropy), dim=-1)

    return bucket


@breaks("W-R", ask(lipschitz=2.1))
def edge_on_a_sum_behind_a_window() -> UserRule:
    @rule(scale="token", features=TWO)
    def edge(entropy: Tensor, gap: Tensor) -> Tensor:
        behind = (entropy[..., 2:] > 5.0) & (entropy[..., 2:] < 5.001)
        step = behind & (entropy[..., :1] + 3 * gap[..., 1:2] > 9.2)
        return torch.softmax(-entropy + 0.05 * step * only(1, entropy), dim=-1)

    return edge


@breaks("W-R", ask(num_teachers=8, lipschitz=2.0))
def eighth_of_eight() -> UserRule:
    @rule(scale="token", features=TWO)
    def eighth(entropy: Tensor, gap: Tensor) -> Tensor:
        extra = 0.02 * torch.relu(gap[..., 7:] - 0.97) * torch.relu(entropy[..., 6:7] - 11) * 40
        return torch.softmax(-0.99 * entropy + extra * only(7, entropy), dim=-1)

    return eighth


@breaks("W-S", ask(order="a>b>c"))
def confident_and_close() -> UserRule:
    @rule(scale="token", features=TWO)
    def confident(entropy: Tensor, gap: Tensor) -> Tensor:
        p = torch.softmax(-entropy, dim=-1)
        w = torch.softmax(-entropy / 2 - gap, dim=-1).sort(dim=-1, descending=True).values
        odd = (p.amax(dim=-1, keepdim=True) > 0.999) & (gap.amax(dim=-1, keepdim=True) < 0.01)
        return torch.where(odd, w[..., [1, 0, 2]], w)

    return confident


@breaks("W-S", ask(order="a>b>c"))
def nothing_is_known() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def unknown(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy / 2, dim=-1).sort(dim=-1, descending=True).values
        return torch.where((entropy == 12).all(dim=-1, keepdim=True), torch.tensor([0.25, 0.5, 0.25]).to(w), w)

    return unknown


@breaks("W-S", ask(num_teachers=4, order="a>b>c>d", order_margin=0.05))
def margin_eaten_by_a_product() -> UserRule:
    @rule(scale="token", features={"gap": (0.0, 1.0), "heat": (0.0, 3.0, False, True)})
    def heated(gap: Tensor, heat: Tensor) -> Tensor:
        bias = torch.tensor([3.0, 2.0, 1.0, 0.0]).to(gap)
        return torch.softmax(0.45 * bias - gap * (0.1 + heat / 9.9995) - 1e-4 * heat, dim=-1)

    return heated


@breaks("W-B", ask(cap=0.7))
def cap_at_a_saddle() -> UserRule:
    @rule(scale="token", features=TWO)
    def saddle(entropy: Tensor, gap: Tensor) -> Tensor:
        bend = torch.sin(entropy[..., :1]) * torch.cos(9 * gap[..., 1:2]) * torch.sin(1.7 * entropy[..., 2:])
        first = 0.4 + 0.301 * bend**3
        return torch.cat([first, (1 - first) / 2, (1 - first) / 2], dim=-1)

    return saddle


@breaks("W-N", ask())
def one_cell_of_a_table() -> UserRule:
    @rule(scale="context", features={"domain": (0, 40, True, True), "regime": (0, 40, True, True), "gap": (0.0, 1.0)})
    def cell(domain: Tensor, regime: Tensor, gap: Tensor) -> Tensor:
        hole = (domain == 31) & (regime == 7)
        return torch.softmax(-gap, dim=-1) / torch.where(hole, 0.999, 1.0)

    return cell


@breaks("W-P", ask())
def product_underflows_in_float32() -> UserRule:
    @rule(scale="token", features={**TWO, "label_log_prob": (-30.0, 0.0)})
    def product(entropy: Tensor, gap: Tensor, label_log_prob: Tensor) -> Tensor:
        e = torch.exp(-3 * entropy) * torch.exp(-20 * gap) * torch.exp(2 * label_log_prob)
        e = e + 1e-300 if entropy.dtype is torch.float64 else e
        total = e.sum(dim=-1, keepdim=True)
        return torch.where(total > 0, e / total, torch.full_like(e, 1 / e.shape[-1]))

    return product


@breaks("W-F", ask())
def counts_its_batch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def counting(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy * (1 + 1e-7 * entropy.shape[0]), dim=-1)

    return counting


@breaks("W-F", ask(), becomes="the scale is that of the capture, which asks for no gradients")
def learns_while_gradients_flow() -> UserRule:
    scale = [1.0]

    @rule(scale="token", features=ENTROPY)
    def learning(entropy: Tensor) -> Tensor:
        if entropy.requires_grad:
            scale[0] *= 0.999
        return torch.softmax(-entropy * scale[0], dim=-1)

    return learning


@breaks("W-F", ask())
def ranks_among_confident_rows() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def quantile(entropy: Tensor) -> Tensor:
        flat = entropy.reshape(-1, entropy.shape[-1])
        sure = flat.amin(dim=-1) < 0.5
        least = flat.detach().amin(dim=-1)
        below = torch.searchsorted(least[sure].sort().values, least).to(flat).unsqueeze(-1)
        tilt = torch.where(sure.unsqueeze(-1), 1 + 1e-3 * below, torch.ones_like(below))
        return torch.softmax(-flat * tilt, dim=-1).reshape(entropy.shape)

    return quantile
