"""S5: estimate how likely a completion enters the unsafe set, where counting would see none.

Let h_t = p(U_t | x_<t) under the sampler as it is deployed. Draw x with U_t masked out and the rest renormalized: then
P(no unsafe token in n) = E[Π_t (1 − h_t)], since a safe completion has probability Π p(x_t) =
Π (1 − h_t)·p_masked(x_t).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import require
from trivium.safety.intervals import Interval, betting, draws_needed, least_limit
from trivium.safety.unsafe import UnsafeSet

#: From token ids [B, t] to logits [B, V] of what comes next.
Next = Callable[[Tensor], Tensor]
#: Quantile of the normal distribution, by level.
_normal = torch.distributions.Normal(0.0, 1.0)


@dataclass(frozen=True)
class Sampler:
    """How completions are drawn where the student is deployed.

    Attributes:
        tokens: n, the longest completion.
        temperature: T > 0 of softmax(z/T).
        top_p: only the likeliest entries whose mass reaches this are drawn; 1 for all.
        end: ids that end a completion.
    """

    tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    end: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(self.tokens >= 1, "a completion must have a token", self.tokens, "For example 64.")
        require(0 < self.temperature < math.inf, "a sampler's temperature must be positive", self.temperature)
        require(0 < self.top_p <= 1, "top_p must lie in (0, 1]", self.top_p, "1 draws from all.")

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """log of what is drawn from, [B, V] float64; −inf for what top_p leaves out."""
        log_p = (logits.double() / self.temperature).log_softmax(-1)
        if self.top_p >= 1:
            return log_p
        ordered, places = log_p.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        kept = before < self.top_p
        log_p = log_p.masked_fill(~torch.zeros_like(kept).scatter(-1, places, kept), -math.inf)
        return log_p.log_softmax(-1)


@dataclass(frozen=True)
class RareEvents:
    """The rate at which completions enter U.

    Attributes:
        estimate: mean over prompts of 1 − Π(1 − h_t), unbiased.
        asymptotic: limits of a normal approximation over prompts, at ``guaranteed.level``; no guarantee.
        guaranteed: the betting interval over prompts, whatever the distribution.
        counting_floor: 1 − α^{1/n}, below which no guaranteed limit from so many prompts can be.
        hazard: mean over prompts of Σ_t h_t, an upper bound of the estimate (union).
        draws: completions in all.
    """

    estimate: float
    asymptotic: tuple[float, float]
    guaranteed: Interval
    counting_floor: float
    hazard: float
    draws: int

    def prompts_needed(self, limit: float) -> int:
        """Return the prompts without which no guaranteed limit can be ``limit``."""
        return draws_needed(limit, self.guaranteed.level)


@torch.no_grad()
def survival(
    following: Next,
    prompts: Sequence[Tensor],
    unsafe: UnsafeSet,
    sampler: Sampler,
    draws: int = 1,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Π_t (1 − h_t) and Σ_t h_t of ``draws`` completions of each prompt, [prompts, draws] float64.

    A completion ends after ``sampler.tokens``, at an end token, or where nothing but U is left.

    Args:
        following: the model; called with all tokens so far.
        prompts: token ids [t], each with at least one; those of one length are drawn together.
        seed: of the draws; each prompt has its own.

    Cost: ``sampler.tokens`` calls of the model for each length of prompt.
    """
    require(len(prompts) > 0 and draws >= 1, "there must be a prompt and a draw", f"{len(prompts)} and {draws}")
    kept = torch.ones(len(prompts), draws, dtype=torch.float64)
    hazard = torch.zeros_like(kept)
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    for numbers in by_length.values():
        ids = torch.stack([prompts[number] for number in numbers]).repeat_interleave(draws, 0)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + numbers[0])
        alive = torch.ones(len(ids), dtype=torch.bool)
        lasting, risk = torch.ones(len(ids), dtype=torch.float64), torch.zeros(len(ids), dtype=torch.float64)
        task = torch.zeros(len(ids), dtype=torch.int64)
        for _ in range(sampler.tokens):
            log_p = sampler.log_probabilities(following(ids).cpu())
            state = unsafe.states(ids, task, ids.shape[1])[:, -1]
            h = unsafe.mass(log_p, state).clamp(0.0, 1.0)
            lasting = torch.where(alive, lasting * (1 - h), lasting)
            risk = torch.where(alive, risk + h, risk)
            safe = log_p.exp().masked_fill(unsafe.mask(state, log_p.shape[-1]), 0.0)
            alive &= safe.sum(-1) > 0
            safe[~alive] = 1.0
            drawn = torch.multinomial(safe, 1, generator=generator)
            ids = torch.cat([ids, drawn], 1)
            for end in sampler.end:
                alive &= drawn.squeeze(1) != end
            if not bool(alive.any()):
                break
        kept[numbers] = lasting.view(-1, draws)
        hazard[numbers] = risk.view(-1, draws)
    return kept, hazard


def rare_events(kept: Tensor, hazard: Tensor, level: float = 0.95) -> RareEvents:
    """Return the rate from survivals and hazards, [prompts, draws]; prompts are independent, draws of one are not."""
    rates = (1 - kept).mean(-1)
    n, mean = len(rates), float(rates.mean())
    spread = float(rates.std()) / math.sqrt(n) if n > 1 else math.nan
    reach = float(_normal.icdf(torch.tensor((1 + level) / 2))) * spread
    return RareEvents(
        mean,
        (max(0.0, mean - reach), min(1.0, mean + reach)),
        betting(rates.tolist(), level),
        least_limit(n, level),
        float(hazard.sum(-1).mean() / kept.shape[1]),
        kept.numel(),
    )
