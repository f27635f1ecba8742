"""The softening operators against loops, at their ends, and under autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import pools as reference
from trivium.aggregation.softening import SOFTENERS, PriorMixing, Temperature, UniformMixing
from trivium.errors import InputError

SEEDS = st.integers(0, 2**31 - 1)
SCALES = st.sampled_from([0.0, 1.0, 30.0, 300.0])


def draw(seed, vocabulary, scale, holes=False):
    torch.manual_seed(seed)
    logits = (torch.randn(3, vocabulary, dtype=torch.float64) * scale).round(decimals=1)
    if holes:
        logits[:, 1::2] = -math.inf
    return torch.log_softmax(logits, -1)


def test_the_table_is_keyed_by_names():
    assert {name: softener.name for name, softener in SOFTENERS.items()} == {
        "temperature": "temperature",
        "uniform": "uniform",
    }
    assert PriorMixing((1.0,)).name == "prior"


@given(
    seed=SEEDS,
    vocabulary=st.integers(1, 7),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    holes=st.booleans(),
    temperature=st.floats(0.3, 30.0),
)
def test_temperature_equals_the_loop(seed, vocabulary, scale, holes, temperature):
    log_p = draw(seed, vocabulary, scale, holes)
    got = Temperature().soften(log_p, temperature).exp()
    for row in range(3):
        assert got[row].tolist() == pytest.approx(reference.soften(log_p[row].exp().tolist(), temperature), rel=1e-9)


@given(seed=SEEDS, vocabulary=st.integers(1, 7), scale=SCALES, holes=st.booleans(), share=st.floats(0.0, 1.0))
def test_mixing_equals_the_loop(seed, vocabulary, scale, holes, share):
    log_p = draw(seed, vocabulary, scale, holes)
    prior = torch.rand(vocabulary, dtype=torch.float64).tolist()
    prior[0] = 0.0 if vocabulary > 1 else 1.0
    prior = [value / math.fsum(prior) for value in prior]
    for softener, towards in ((UniformMixing(), [1 / vocabulary] * vocabulary), (PriorMixing(prior), prior)):
        got = softener.soften(log_p, share)
        for row in range(3):
            expected = [
                (1 - share) * math.exp(x) + share * u for x, u in zip(log_p[row].tolist(), towards, strict=True)
            ]
            assert got[row].exp().tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)
            assert [x == -math.inf for x in got[row].tolist()] == [
                (share == 1 or x == -math.inf) and (share == 0 or u == 0)
                for x, u in zip(log_p[row].tolist(), towards, strict=True)
            ]


def test_far_below_any_float_a_probability_keeps_its_logarithm():
    log_p = torch.log_softmax(torch.tensor([[0.0, -5e4, -math.inf]]), -1)
    got = PriorMixing((1.0, 0.0, 0.0)).soften(log_p, 0.5)
    assert got[0].tolist() == pytest.approx([0.0, -5e4 + math.log(0.5), -math.inf])


@given(seed=SEEDS, vocabulary=st.integers(1, 7), scale=SCALES, temperature=st.floats(1.0, 1e9))
def test_temperature_goes_to_uniform_at_the_stated_rate(seed, vocabulary, scale, temperature):
    log_p = draw(seed, vocabulary, scale)
    distance = 0.5 * (Temperature().soften(log_p, temperature).exp() - 1 / vocabulary).abs().sum(-1)
    wide = log_p.amax(-1) - log_p.amin(-1)
    assert (distance <= torch.tanh(wide / (4 * temperature)) + 1e-14).all()


def test_the_rate_to_uniform_is_attained():
    """One entry of three, four times as probable as the others at T = 3: TV((4, 1, 1)/6, uniform) = ⅓."""
    log_p = torch.log_softmax(torch.tensor([3 * math.log(4), 0.0, 0.0], dtype=torch.float64), -1)
    distance = 0.5 * (Temperature().soften(log_p, 3.0).exp() - 1 / 3).abs().sum()
    assert distance.item() == pytest.approx(1 / 3, rel=1e-14)
    assert math.tanh(3 * math.log(4) / (4 * 3)) == pytest.approx(1 / 3, rel=1e-14)


@given(seed=SEEDS, vocabulary=st.integers(2, 7), scale=st.sampled_from([1.0, 30.0]), temperature=st.floats(1e-3, 1.0))
def test_temperature_goes_to_the_shared_argmax_at_the_stated_rate(seed, vocabulary, scale, temperature):
    log_p = draw(seed, vocabulary, scale)
    log_p[:, 0] = log_p[:, 1:].amax(-1)  # a tie at the top
    log_p = torch.log_softmax(log_p, -1)
    top = log_p == log_p.amax(-1, keepdim=True)
    count = top.sum(-1)
    lead = log_p.amax(-1) - log_p.masked_fill(top, -math.inf).amax(-1)
    sharp = Temperature().soften(log_p, 0.0).exp()
    distance = 0.5 * (Temperature().soften(log_p, temperature).exp() - sharp).abs().sum(-1)
    assert torch.equal(sharp > 0, top)
    assert (distance <= (vocabulary - count) / count * torch.exp(-lead / temperature) + 1e-14).all()


def test_the_limits_are_exact_and_zeros_survive_any_temperature():
    log_p = torch.tensor([0.4, 0.4, 0.2, 0.0]).log()
    assert Temperature().soften(log_p, 0.0).exp().tolist() == [0.5, 0.5, 0.0, 0.0]
    assert Temperature().soften(log_p, math.inf).exp().tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])
    assert Temperature().soften(log_p, 1e-300).exp().tolist() == [0.5, 0.5, 0.0, 0.0]
    assert UniformMixing().soften(log_p, 1.0).exp().tolist() == [0.25] * 4
    assert torch.equal(UniformMixing().soften(log_p, 0.0), log_p)


@pytest.mark.parametrize(
    ("softener", "parameter"),
    [(Temperature(), 2.5), (Temperature(), 0.4), (UniformMixing(), 0.3), (PriorMixing((0.1, 0.2, 0.7)), 0.3)],
)
def test_gradients_are_those_of_finite_differences_and_finite_at_holes(softener, parameter):
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: softener.soften(torch.log_softmax(z, -1), parameter), (logits,))
    hole = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log().requires_grad_()
    softener.soften(hole, parameter)[0].backward()
    assert hole.grad.isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Temperature().soften(torch.zeros(2), -1.0), "temperature must be a number ≥ 0"),
        (lambda: Temperature().soften(torch.zeros(2), math.nan), "temperature must be a number ≥ 0"),
        (lambda: UniformMixing().soften(torch.zeros(2), 1.1), r"share must be a number in \[0, 1\]"),
        (lambda: UniformMixing().soften(torch.zeros(2), math.nan), r"share must be a number in \[0, 1\]"),
        (lambda: PriorMixing((0.5, 0.4)), "prior must be probabilities"),
        (lambda: PriorMixing((1.5, -0.5)), "prior must be probabilities"),
        (lambda: PriorMixing(()), "prior must be probabilities"),
        (lambda: PriorMixing((0.5, 0.5)).soften(torch.zeros(3), 0.5), "prior is over 2 entries"),
    ],
)
def test_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
