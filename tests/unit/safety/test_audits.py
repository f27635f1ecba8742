"""Intervals cover, and rare events are estimated without bias: the two things that an auditor takes on trust."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from trivium.errors import InputError
from trivium.safety import (
    Sampler,
    UnsafeClasses,
    UnsafeSet,
    betting,
    clopper_pearson,
    draws_needed,
    empirical_bernstein,
    least_limit,
    rare_events,
    survival,
)


def covered(audits: int, n: int, level: float) -> dict[str, tuple[float, float]]:
    """Of simulated audits with known truth, the share whose one-sided and whose two-sided limits hold, by method."""
    draw = np.random.default_rng(0)
    hits: dict[str, list[tuple[bool, bool]]] = {}
    for audit in range(audits):
        kind = audit % 4
        if kind == 0:
            x, mean = draw.beta(0.2, 8.0, n), 0.2 / 8.2
        elif kind == 1:
            x, mean = (draw.random(n) < 0.02).astype(float), 0.02
        elif kind == 2:
            x, mean = np.where(draw.random(n) < 0.5, 0.3, draw.random(n) * 0.2), 0.2
        else:
            x, mean = draw.beta(2.0, 2.0, n), 0.5
        found = {"betting": betting(x.tolist(), level), "bernstein": empirical_bernstein(x.tolist(), level)}
        if kind == 1:
            found["clopper"] = clopper_pearson(int(x.sum()), n, level)
        for name, interval in found.items():
            hits.setdefault(name, []).append((mean <= interval.upper, interval.low <= mean <= interval.high))
    return {name: tuple(np.mean(held, axis=0).tolist()) for name, held in hits.items()}  # type: ignore[misc]


def test_intervals_cover_at_their_level() -> None:
    found = covered(400, 60, 0.9)
    for name, shares in found.items():
        assert min(shares) >= 0.9 - 3 * math.sqrt(0.09 / (400 if name != "clopper" else 100)), (name, shares)


@pytest.mark.deep
def test_intervals_cover_at_their_level_in_2000_audits() -> None:
    for shares in covered(2000, 100, 0.95).values():
        assert min(shares) >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 2000)


def test_limits_are_ordered_and_betting_is_tighter_than_bernstein() -> None:
    x = np.random.default_rng(1).beta(0.3, 20, 200).tolist()
    bet, bernstein = betting(x), empirical_bernstein(x)
    for found in (bet, bernstein, clopper_pearson(3, 200)):
        assert found.low <= found.estimate <= found.upper <= found.high
    assert bet.upper < bernstein.upper


def test_clopper_pearson_is_the_tail_of_the_binomial() -> None:
    found = clopper_pearson(4, 50, 0.9)
    assert stats.binom.cdf(4, 50, found.upper) == pytest.approx(0.1)
    assert stats.binom.sf(3, 50, found.low) == pytest.approx(0.05)


def test_nothing_guaranteed_is_below_counting() -> None:
    for n in (5, 50, 1000):
        assert betting([0.0] * n).upper >= least_limit(n)
        assert clopper_pearson(0, n).upper == pytest.approx(least_limit(n))
    assert least_limit(draws_needed(0.003)) <= 0.003 < least_limit(draws_needed(0.003) - 1)


def test_what_is_no_mass_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        betting([0.1, 1.2])
    with pytest.raises(InputError, match="between 0 and 1"):
        betting([0.1], 1.0)


#: A chain of four states: the last is unsafe and rare, the third ends.
CHAIN = torch.tensor([[0.6, 0.35, 0.045, 0.005], [0.3, 0.6, 0.08, 0.02], [0, 0, 1.0, 0], [0.25, 0.25, 0.25, 0.25]])


def following(ids: Tensor) -> Tensor:
    return CHAIN[ids[:, -1]].log()


def truth(start: int, tokens: int, step: Tensor = CHAIN) -> float:
    """The chance of entering state 3 within ``tokens``, stopped at state 2."""
    alive = torch.zeros(2, dtype=torch.float64)
    alive[start] = 1.0
    ever = 0.0
    for _ in range(tokens):
        ever += float(alive @ step[:2, 3].double())
        alive = alive @ step[:2, :2].double()
    return ever


UNSAFE = UnsafeClasses([[3]], {3: "unsafe"})
PROMPTS = [torch.tensor([n % 2]) for n in range(400)]


def test_survival_is_unbiased_and_far_less_noisy_than_counting() -> None:
    kept, hazard = survival(following, PROMPTS, UNSAFE, Sampler(6, end=(2,)), seed=1)
    found = rare_events(kept, hazard)
    exact = (truth(0, 6) + truth(1, 6)) / 2
    assert found.estimate == pytest.approx(exact, rel=0.1)
    error = float((1 - kept).mean(-1).std())
    assert error < math.sqrt(exact * (1 - exact)) / 5  # what counting has a draw
    assert found.asymptotic[0] < exact < found.asymptotic[1]
    assert found.guaranteed.upper >= max(exact, found.counting_floor)
    assert found.hazard >= found.estimate


@pytest.mark.deep
def test_survival_agrees_with_counting_where_that_sees_something() -> None:
    unmasked = UnsafeClasses([[], [3]], {3: "unsafe"})  # of task 0 nothing is unsafe: the sampler draws everything
    sampler = Sampler(6, end=(2, 3))
    _, _ = survival(following, PROMPTS[:2], unmasked, sampler)
    generator = torch.Generator().manual_seed(0)
    hits, draws = 0, 20_000
    state = torch.arange(draws) % 2
    alive = torch.ones(draws, dtype=torch.bool)
    for _ in range(6):
        state = torch.where(alive, torch.multinomial(CHAIN[state], 1, generator=generator).squeeze(1), state)
        alive &= state < 2
    hits = int((state == 3).sum())
    kept, hazard = survival(following, PROMPTS, UNSAFE, Sampler(6, end=(2,)), draws=4, seed=3)
    limits = clopper_pearson(hits, draws, 0.999)
    assert limits.low < rare_events(kept, hazard).estimate < limits.high


def test_the_sampler_is_the_one_that_is_deployed() -> None:
    """A cold or truncated sampler never draws the rare token, and the rate says so."""
    rates = []
    for sampler in (Sampler(6, end=(2,)), Sampler(6, temperature=0.5, end=(2,)), Sampler(6, top_p=0.9, end=(2,))):
        rates.append(rare_events(*survival(following, PROMPTS[:100], UNSAFE, sampler)).estimate)
    assert rates[0] > 3 * rates[1] > 0
    assert rates[2] == 0


def test_draws_of_one_prompt_count_once() -> None:
    """Clustering: a hundred draws of two prompts guarantee no more than two prompts do."""
    found = rare_events(*survival(following, PROMPTS[:2], UNSAFE, Sampler(4, end=(2,)), draws=100))
    assert found.guaranteed.n == 2
    assert found.counting_floor == least_limit(2)
    assert found.guaranteed.upper >= found.counting_floor


def test_states_of_no_unsafe_class_are_not_exposed() -> None:
    unsafe: UnsafeSet = UnsafeClasses([[3], []], {3: "unsafe"})
    states = unsafe.states(None, torch.tensor([0, 1]), 1)
    assert unsafe.exposed(states).tolist() == [[True], [False]]
