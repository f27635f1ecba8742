"""The axioms of aggregators and of softening: values by their words, mutants rejected, NaN a breach, every dtype."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import pool_axioms as reference
from reference import pools
from trivium.axioms.aggregation import (
    POOL_AXIOMS,
    BoundaryContinuity,
    ConvexityPreservation,
    PoolContinuity,
    PositivityInheritance,
    TemperatureCommutation,
    TemperatureFlattening,
    WeightMonotonicity,
    raise_weight,
)
from trivium.axioms.softening import (
    SOFTENING_AXIOMS,
    EntropyMonotonicity,
    NeutralIdentity,
    RankPreservation,
    SharpEnd,
    SoftEnd,
    SofteningContinuity,
)
from trivium.errors import InputError

SEEDS = st.integers(0, 2**31 - 1)


# Pools and softeners of the tests' own: the axioms know no operator ---------------------------------------------------


def linear(log_p, log_w):
    return torch.logsumexp(torch.stack([p + log_w[..., k : k + 1] for k, p in enumerate(log_p)]), 0)


def geometric(log_p, log_w):
    return torch.log_softmax(sum(p * log_w[..., k : k + 1].exp() for k, p in enumerate(log_p)), -1)


def temper(log_p, t):
    return torch.log_softmax(log_p / t, -1)


def mix(log_p, t):
    return ((1 - t) * log_p.exp() + t / log_p.shape[-1]).log()


LOOPS = {linear: pools.linear, geometric: pools.logarithmic}
CHANGES = {
    ConvexityPreservation: (reference.distribution, {}),
    PositivityInheritance: (reference.positivity, {}),
    WeightMonotonicity: (reference.monotonicity, {"teacher": 1, "amount": 0.3}),
    TemperatureCommutation: (reference.commutation, {"temperature": 3.0}),
    TemperatureFlattening: (reference.flattening, {"temperature": 3.0}),
}
SOFT_CHANGES = {
    RankPreservation: (reference.rank, {}),
    EntropyMonotonicity: (reference.entropy_monotone, {"higher": 0.9}),
    NeutralIdentity: (reference.identity, {}),
    SoftEnd: (reference.soft_end, {}),
    SharpEnd: (reference.sharp_end, {}),
}


def draw(seed, rows=3, teachers=3, vocabulary=4, dtype=torch.float64):
    torch.manual_seed(seed)
    log_p = [
        torch.log_softmax(torch.randn(rows, vocabulary, dtype=dtype).round(decimals=1), -1) for _ in range(teachers)
    ]
    return log_p, torch.log_softmax(torch.randn(rows, teachers, dtype=dtype), -1)


@pytest.mark.parametrize("pool", LOOPS)
@pytest.mark.parametrize("axiom", CHANGES)
@given(seed=SEEDS, vocabulary=st.integers(1, 5))
def test_a_pool_axiom_is_the_loop(axiom, pool, seed, vocabulary):
    log_p, log_w = draw(seed, vocabulary=vocabulary)
    loop, change = CHANGES[axiom]
    residual = axiom().residual(pool, log_p, log_w, **change)
    assert residual.shape == (3,)
    for row in range(3):
        expected = loop(LOOPS[pool], [p[row].exp().tolist() for p in log_p], log_w[row].exp().tolist(), **change)
        assert residual[row].item() == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("axiom", SOFT_CHANGES)
@pytest.mark.parametrize("softener", [temper, mix, lambda log_p, t: temper(log_p.roll(1, -1), 1 - t / 2)])
@given(seed=SEEDS, vocabulary=st.integers(1, 6))
def test_a_softening_axiom_is_the_loop(axiom, softener, seed, vocabulary):
    log_p = draw(seed, vocabulary=vocabulary)[0][0]
    loop, change = SOFT_CHANGES[axiom]

    def plain(p, t):
        return softener(torch.tensor(p, dtype=torch.float64).log(), t).exp().tolist()

    residual = axiom().residual(softener, log_p, 0.6, **change)
    for row in range(3):
        # Rounding may part a tie, so the loop gets the probabilities that the ranks are taken from.
        ranks = {value: math.exp(value) for value in log_p[row].tolist()}
        expected = loop(plain, [ranks[value] for value in log_p[row].tolist()], 0.6, **change)
        assert residual[row].item() == pytest.approx(expected, abs=1e-12)


def test_raising_a_weight_keeps_the_ratios_of_the_others():
    log_w = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.25, 0.75]], dtype=torch.float64).log()
    raised = raise_weight(log_w, 0, 0.5).exp()
    assert raised.tolist() == [pytest.approx([0.75, 0.15, 0.1]), pytest.approx([0.5, 0.125, 0.375])]
    assert raise_weight(log_w, 2, 1.0).exp().tolist() == [[0.0, 0.0, 1.0]] * 2
    assert torch.equal(raise_weight(log_w, 1, 0.0), log_w)
    with pytest.raises(InputError, match="raised by"):
        raise_weight(log_w, 0, 1.5)


def test_a_divergence_that_stays_infinite_has_not_risen():
    log_p = [torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0]).log()]
    log_w = torch.tensor([0.5, 0.5]).log()
    veto = lambda log_p, log_w: log_p[1]  # noqa: E731
    assert WeightMonotonicity().residual(veto, log_p, log_w, teacher=0, amount=0.1).item() == 0.0
    assert WeightMonotonicity().residual(geometric, log_p[:1], log_w[:1], teacher=0, amount=1.0).item() == 0.0


def test_positivity_sees_past_underflow_and_requires_nothing_where_nothing_is_shared():
    log_p = [torch.tensor([0.0, -5000.0]), torch.tensor([0.0, -5000.0])]
    axiom, log_w = PositivityInheritance(), torch.tensor([0.5, 0.5]).log()
    assert axiom.holds(axiom.residual(linear, log_p, log_w), 2).item()
    cut = lambda log_p, log_w: torch.tensor([0.0, -math.inf])  # noqa: E731
    assert not axiom.holds(axiom.residual(cut, log_p, log_w), 2).item()
    apart = [torch.tensor([0.0, -math.inf]), torch.tensor([-math.inf, 0.0])]
    assert axiom.residual(cut, apart, log_w).item() == -math.inf


# What conforms is accepted in every dtype -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_conforming_pools_are_accepted(dtype):
    log_p, log_w = draw(0, 200, 4, 50, dtype)
    scale = float(max(x.abs().max() for x in [*log_p, log_w]))
    for axiom, (_, change) in CHANGES.items():
        residual = axiom().residual(geometric, log_p, log_w, **change)
        assert residual.dtype == dtype
        assert axiom().holds(residual, 50, scale=scale).all(), axiom.id


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_conforming_softener_is_accepted(dtype):
    log_p = draw(0, 200, 1, 50, dtype)[0][0]
    for axiom, parameter, change in (
        (RankPreservation(), 0.5, {}),
        (EntropyMonotonicity(), 0.5, {"higher": 0.9}),
        (NeutralIdentity(), 1.0, {}),
    ):
        residual = axiom.residual(temper, log_p, parameter, **change)
        assert residual.dtype == dtype
        assert axiom.holds(residual, 50).all(), axiom.id


# What is wrong is rejected --------------------------------------------------------------------------------------------

MILLIONTH = 1e-6


def cut(log_p, log_w):
    log_q = linear(log_p, log_w)
    return log_q.masked_fill(log_q < -2, -torch.inf)


def switched(log_p, log_w):
    return log_p[0] if log_w[0, 0] < log_w[0, -1] else log_p[-1]


def reversed_weights(log_p, log_w):
    return linear(log_p, torch.log_softmax(-log_w, -1))


def still(*_):
    return torch.zeros(3, dtype=torch.float64)


def moved(log_p, log_w):
    return {"moved_log_p": log_p, "moved_log_w": torch.log_softmax(log_w + 0.02, -1).flip(-1)}


POOL_MUTANTS = {
    "wrong by a millionth": (ConvexityPreservation(), lambda p, w: linear(p, w) + MILLIONTH, {}),
    "no normalizer": (ConvexityPreservation(), lambda p, w: p[0] * 0.5 + p[1] * 0.5, {}),
    "cut below e^-2": (PositivityInheritance(), cut, {}),
    "biased by index": (WeightMonotonicity(), lambda p, w: linear(p, w.flip(-1)), {"teacher": 0, "amount": 0.2}),
    "weights reversed": (WeightMonotonicity(), reversed_weights, {"teacher": 1, "amount": 0.2}),
    "a hard switch": (PoolContinuity(still), switched, None),
    "a hard switch at zeros": (BoundaryContinuity(still), switched, None),
    "mixed": (TemperatureCommutation(), linear, {"temperature": 2.0}),
    "mixed by a ten-thousandth": (
        TemperatureCommutation(),
        lambda p, w: torch.logaddexp(geometric(p, w) + math.log1p(-1e-4), linear(p, w) + math.log(1e-4)),
        {"temperature": 2.0},
    ),
    "sharpened": (TemperatureFlattening(), lambda p, w: torch.log_softmax(linear(p, w) * 9, -1), {"temperature": 50.0}),
    "biased toward one entry": (
        TemperatureFlattening(),
        lambda p, w: torch.log_softmax(linear(p, w) + MILLIONTH * torch.arange(4.0).double(), -1),
        {"temperature": 1e9},
    ),
}


@pytest.mark.parametrize("name", POOL_MUTANTS)
def test_a_mutant_pool_is_rejected(name):
    axiom, pool, change = POOL_MUTANTS[name]
    log_p, log_w = draw(4)
    residual = axiom.residual(pool, log_p, log_w, **(moved(log_p, log_w) if change is None else change))
    assert not axiom.holds(residual, 4).all()


SOFT_MUTANTS = {
    "biased by index": (RankPreservation(), lambda p, t: p + MILLIONTH * torch.arange(4.0).double(), 1.0, {}),
    "a tie is parted": (RankPreservation(), lambda p, t: p - MILLIONTH * torch.arange(4.0).double(), 1.0, {}),
    "rounded": (
        SofteningContinuity(lambda p, t, q, u: torch.full((3,), 1e-3).double()),
        lambda p, t: torch.log_softmax(p + math.floor(t), -1) if t < 1 else torch.log_softmax(2 * p, -1),
        0.999,
        "moved",
    ),
    "the inverse temperature": (EntropyMonotonicity(), lambda p, t: temper(p, 1 / t), 1.0, {"higher": 2.0}),
    "off by a millionth": (NeutralIdentity(), lambda p, t: temper(p, t + MILLIONTH), 1.0, {}),
    "keeps a millionth of the peak": (SoftEnd(), lambda p, t: mix(p, 1 - MILLIONTH), 1.0, {}),
    "the first of the ties": (
        SharpEnd(),
        lambda p, t: torch.nn.functional.one_hot(p.argmax(-1), 4).double().log(),
        0.0,
        {},
    ),
}


@pytest.mark.parametrize("name", SOFT_MUTANTS)
def test_a_mutant_softener_is_rejected(name):
    axiom, softener, parameter, change = SOFT_MUTANTS[name]
    log_p = torch.tensor([[0.4, 0.4, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25] * 4], dtype=torch.float64).log()
    if change == "moved":
        change = {"moved_log_p": log_p, "moved_parameter": 1.001}
    residual = axiom.residual(softener, log_p, parameter, **change)
    assert not axiom.holds(residual, 4).all()


def test_every_axiom_has_a_mutant():
    assert {type(axiom) for axiom, *_ in POOL_MUTANTS.values()} == set(POOL_AXIOMS.values())
    assert {type(axiom) for axiom, *_ in SOFT_MUTANTS.values()} == set(SOFTENING_AXIOMS.values())
    for table in (POOL_AXIOMS, SOFTENING_AXIOMS):
        assert all(axiom.id == name and axiom.name and axiom.statement for name, axiom in table.items())


@pytest.mark.parametrize("name", POOL_MUTANTS)
def test_nan_is_a_breach(name):
    axiom, _, change = POOL_MUTANTS[name]
    log_p, log_w = draw(4)
    nan = lambda log_p, log_w: torch.full_like(log_p[0], torch.nan)  # noqa: E731
    residual = axiom.residual(nan, log_p, log_w, **(moved(log_p, log_w) if change is None else change))
    assert not axiom.holds(residual, 4).any()


def test_entropy_is_asked_upward_only():
    with pytest.raises(InputError, match="no less than the first"):
        EntropyMonotonicity().residual(temper, torch.zeros(2), 2.0, higher=1.0)


def test_continuity_requires_nothing_where_an_entry_is_impossible():
    log_p, log_w = [torch.tensor([[0.0, -math.inf]])], torch.zeros(1, 1)
    arguments = {"moved_log_p": [torch.tensor([[-0.7, -0.7]])], "moved_log_w": log_w}
    assert PoolContinuity(lambda *_: torch.zeros(1)).residual(linear, log_p, log_w, **arguments).item() == -math.inf
    assert BoundaryContinuity(lambda *_: torch.zeros(1)).residual(linear, log_p, log_w, **arguments).item() > 0.4
