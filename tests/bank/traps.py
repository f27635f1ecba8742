"""Conforming rules at which a careless search raises a false alarm."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from bank.cases import ask, conforms
from trivium.weighting.base import UserRule, rule

ENTROPY = {"entropy": (0.0, 12.0)}
TWO = {"entropy": (0.0, 12.0), "gap": (0.0, 1.0)}


@conforms(ask(lipschitz=2.0, floor=1e-6))
def naive_logsumexp() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def naive(entropy: Tensor) -> Tensor:
        return torch.exp(-entropy - torch.logsumexp(-entropy, dim=-1, keepdim=True))

    return naive


@conforms(ask(lipschitz=2.0))
def naive_logsumexp_of_label() -> UserRule:
    @rule(scale="token", features=["label_log_prob"])
    def naive(label_log_prob: Tensor) -> Tensor:
        return torch.exp(label_log_prob - torch.logsumexp(label_log_prob, dim=-1, keepdim=True))

    return naive


@conforms(ask(lipschitz=2.0, floor=0.04, cap=0.9))
def prior_in_float32() -> UserRule:
    prior = torch.tensor([0.5, 0.3, 0.2])

    @rule(scale="token", features=ENTROPY)
    def mixed(entropy: Tensor) -> Tensor:
        return 0.8 * torch.softmax(-entropy, dim=-1) + 0.2 * prior

    return mixed


@conforms(ask(lipschitz=2.0))
def written_for_three() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def three(entropy: Tensor) -> Tensor:
        assert entropy.shape[-1] == 3
        return torch.softmax(-entropy, dim=-1)

    return three


@conforms(ask(lipschitz=2.0))
def noisy_in_words_only() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def warning(entropy: Tensor) -> Tensor:
        warnings.warn("experimental", stacklevel=1)
        return torch.softmax(-entropy, dim=-1)

    return warning


@conforms(ask(lipschitz=2.0))
def jump_outside_the_box() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def outside(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy - 5.0 * (entropy > 12.0), dim=-1)

    return outside


@conforms(ask(order="a>b>c", floor=0.1))
def jump_that_nobody_asked_about() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def jumping(entropy: Tensor) -> Tensor:
        leader = torch.tensor([0.5, 0.3, 0.2]).to(entropy)
        milder = torch.tensor([0.4, 0.3, 0.3]).to(entropy)
        return torch.where(entropy[..., :1] > 6, leader, milder)

    return jumping


@conforms(ask(lipschitz=2e4))
def steep_but_declared() -> UserRule:
    @rule(scale="token", features=["gap"])
    def steep(gap: Tensor) -> Tensor:
        return torch.softmax(5 * torch.tanh(2000 * (gap - 0.5)), dim=-1)

    return steep


@conforms(ask(lipschitz=0.9))
def counts_a_teacher() -> UserRule:
    @rule(scale="task", features={"votes": (0, 9, True)})
    def voting(votes: Tensor) -> Tensor:
        return torch.softmax(0.45 * votes, dim=-1)

    return voting


@conforms(ask(floor=0.05, cap=0.9, lipschitz=2.0))
def floored_by_water_filling() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def filled(entropy: Tensor) -> Tensor:
        w = torch.softmax(-entropy, dim=-1)
        for _ in range(entropy.shape[-1]):
            low = w <= 0.05
            rest = 1 - 0.05 * low.sum(dim=-1, keepdim=True)
            free = torch.where(low, torch.zeros_like(w), w)
            w = torch.where(low, torch.full_like(w, 0.05), free * rest / free.sum(dim=-1, keepdim=True))
        return w

    return filled


@conforms(ask(lipschitz=2.0, influence=24.0))
def continuous_at_its_branch() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def joined(entropy: Tensor) -> Tensor:
        return torch.softmax(torch.where(entropy < 4.0, -entropy, -(0.5 * entropy + 2.0)), dim=-1)

    return joined


@conforms(ask(num_teachers=2, order="a>b", lipschitz=1.0))
def touches_equality() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def touching(entropy: Tensor) -> Tensor:
        lead = 0.5 * torch.relu(entropy[..., 1] - entropy[..., 0])
        return torch.softmax(torch.stack([lead, torch.zeros_like(lead)], dim=-1), dim=-1)

    return touching


@conforms(ask(lipschitz=2.0))
def half_precision_inside() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def half(entropy: Tensor) -> Tensor:
        return torch.softmax(-entropy.to(torch.bfloat16).float() * 0, dim=-1).to(entropy.dtype)

    return half


@conforms(ask(lipschitz=4.1))
def standardized_with_a_floor() -> UserRule:
    @rule(scale="token", features=ENTROPY)
    def scaled(entropy: Tensor) -> Tensor:
        spread = entropy.amax(dim=-1, keepdim=True) - entropy.amin(dim=-1, keepdim=True)
        return torch.softmax(-entropy / (1 + spread), dim=-1)

    return scaled
