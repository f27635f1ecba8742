"""The power pool against 60 digits, at its limits, and under autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reference import pools as reference
from trivium.aggregation import POOLS, PowerPool, make_pool
from trivium.errors import InputError

EXPONENTS = [1e-6, -1e-6, 0.01, 0.5, 1.0, 2.0, 30.0, 1e6, -0.01, -0.5, -1.0, -2.0, -30.0, -1e6]
SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7))
SCALES = st.sampled_from([0.0, 0.3, 3.0, 30.0, 300.0])


def draw(seed, sizes, scale, holes=False):
    """log p as [N, V] a teacher with ties, and with holes that leave the last entry to all; log w with a zero."""
    rows, teachers, vocabulary = sizes
    torch.manual_seed(seed)
    logits = [(torch.randn(rows, vocabulary, dtype=torch.float64) * scale).round(decimals=1) for _ in range(teachers)]
    scores = torch.randn(rows, teachers, dtype=torch.float64) * 5
    if holes:
        for entry in logits:
            lost = torch.rand(rows, vocabulary) < 0.4
            lost[:, -1] = False
            entry[lost] = -math.inf
        if teachers > 1:
            scores[:, int(torch.randint(teachers, ()))] = -math.inf
    return [torch.log_softmax(z, -1) for z in logits], torch.log_softmax(scores, -1)


def largest_spread(log_p):
    stacked = torch.stack(log_p)
    return (stacked.amax(0) - stacked.amin(0)).amax(-1)


@pytest.mark.parametrize("exponent", EXPONENTS)
@given(seed=SEEDS, sizes=SIZES, scale=SCALES, holes=st.booleans())
@example(seed=1, sizes=(3, 4, 1), scale=3.0, holes=True)
@example(seed=2, sizes=(2, 1, 5), scale=300.0, holes=True)
def test_pool_equals_sixty_digits(exponent, seed, sizes, scale, holes):
    log_p, log_w = draw(seed, sizes, scale, holes)
    log_q = PowerPool(exponent).pool(log_p, log_w)
    assert not log_q.isnan().any()
    for row in range(sizes[0]):
        expected = reference.power_of_logs([p[row].tolist() for p in log_p], log_w[row].tolist(), exponent)
        assert log_q[row].tolist() == pytest.approx(expected, rel=1e-14, abs=1e-13 * (1 + scale))


@pytest.mark.parametrize("exponent", EXPONENTS)
@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.3, 3.0, 30.0]), holes=st.booleans())
def test_float32_loses_digits_of_its_inputs_only(exponent, seed, sizes, scale, holes):
    log_p, log_w = draw(seed, sizes, scale, holes)
    narrow = [p.float() for p in log_p], log_w.float()
    got = PowerPool(exponent).pool(*narrow)
    exact = PowerPool(exponent).pool([p.double() for p in narrow[0]], narrow[1].double())
    assert got.dtype == torch.float32
    assert torch.equal(got.isneginf(), exact.isneginf())
    finite = exact.isfinite()
    # A few units in the last place of the largest logarithm that goes in, and of the one that comes out.
    largest = max(float(x[x.isfinite()].abs().max()) for x in [*narrow[0], narrow[1] / max(abs(exponent), 1.0)])
    slack = torch.finfo(torch.float32).eps * 2 * (sizes[1] + 4) * (1 + largest + exact[finite].abs())
    assert ((got - exact)[finite].abs() <= slack).all()


@given(seed=SEEDS, sizes=SIZES, scale=SCALES, holes=st.booleans())
def test_exponent_one_is_the_linear_pool(seed, sizes, scale, holes):
    log_p, log_w = draw(seed, sizes, scale, holes)
    linear = POOLS["linear"].pool(log_p, log_w)
    assert torch.allclose(PowerPool(1.0).pool(log_p, log_w), linear, rtol=1e-14, atol=1e-13 * (1 + scale))


@pytest.mark.parametrize("exponent", [1e-3, -1e-3, 1e-6, -1e-6, 0.5, -0.5, 3.0, -3.0])
@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.3, 3.0, 30.0]))
def test_near_zero_it_is_within_the_stated_bound_of_the_log_pool(exponent, seed, sizes, scale):
    log_p, log_w = draw(seed, sizes, scale)
    apart = (PowerPool(exponent).pool(log_p, log_w) - POOLS["log"].pool(log_p, log_w)).abs().amax(-1)
    assert (apart <= abs(exponent) * largest_spread(log_p) ** 2 / 8 + 1e-13 * (1 + scale)).all()


def test_the_bound_near_the_log_pool_is_approached():
    """Two teachers at w = ½ that swap a rare entry: the normalizer stands still, the variance is D²/4."""
    rare = torch.tensor([1e-6, 1e-5], dtype=torch.float64)
    log_p = [torch.stack([rare[k], rare[1 - k], 1 - rare.sum()]).log().unsqueeze(0) for k in (0, 1)]
    log_w = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    apart = (PowerPool(0.01).pool(log_p, log_w) - POOLS["log"].pool(log_p, log_w)).abs().amax()
    bound = 0.01 * largest_spread(log_p) ** 2 / 8
    assert 0.999 * bound < apart <= bound


@pytest.mark.parametrize(("exponent", "pick"), [(1e6, torch.amax), (-1e6, torch.amin)])
@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.3, 3.0, 30.0]))
def test_far_out_it_is_the_largest_or_the_smallest_probability(exponent, pick, seed, sizes, scale):
    log_p, log_w = draw(seed, sizes, scale)
    limit = torch.log_softmax(pick(torch.stack(log_p), dim=0), -1)
    assert torch.allclose(PowerPool(exponent).pool(log_p, log_w), limit, rtol=0, atol=2e-4)


def test_a_weight_too_small_for_any_float_still_counts_under_a_large_exponent():
    log_p = [torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.1, 0.9]]).log()]
    log_w = torch.tensor([[0.0, -150.0]])
    got = PowerPool(1000.0).pool(log_p, log_w)[0].exp()
    second = 0.9 * math.exp(-0.15)  # the larger term at entry 2: .9·w^{1/ρ}
    assert got[1].item() == pytest.approx(second / (0.5 + second), rel=1e-5)


@pytest.mark.parametrize("exponent", [-1e-6, -1.0, -40.0])
def test_a_negative_exponent_gives_every_teacher_with_weight_a_veto(exponent):
    log_p = [torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.0, 0.25, 0.75]]).log()]
    assert PowerPool(exponent).pool(log_p, torch.tensor([[0.5, 0.5]]).log()).tolist() == [[-math.inf, 0.0, -math.inf]]
    silent = PowerPool(exponent).pool(log_p, torch.tensor([[1.0, 0.0]]).log())
    assert silent.exp()[0].tolist() == pytest.approx([0.5, 0.5, 0.0])
    apart = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])]
    assert PowerPool(exponent).pool(apart, torch.tensor([[0.5, 0.5]]).log()).isnan().all()


@pytest.mark.parametrize("exponent", [1e-6, 1.0, 40.0])
def test_a_positive_exponent_gives_none(exponent):
    apart = [torch.tensor([[0.0, -math.inf]]).double(), torch.tensor([[-math.inf, 0.0]]).double()]
    log_q = PowerPool(exponent).pool(apart, torch.tensor([[0.5, 0.5]]).double().log())
    assert log_q.exp()[0].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("exponent", [1e-6, 0.5, 1.0, 7.0, -1e-6, -1.0, -7.0])
def test_gradients_are_those_of_finite_differences(exponent):
    scores = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    logits = [(torch.randn(2, 4, dtype=torch.float64) * 2).requires_grad_() for _ in range(3)]

    def pooled(scores, *logits):
        return PowerPool(exponent).pool([torch.log_softmax(z, -1) for z in logits], torch.log_softmax(scores, -1))

    assert torch.autograd.gradcheck(pooled, (scores, *logits), atol=1e-6)


@pytest.mark.parametrize("exponent", [0.5, -1.0])
def test_gradients_are_finite_and_shared_by_weight_at_ties_holes_and_silent_teachers(exponent):
    p = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64)
    log_p = [p.log().requires_grad_() for _ in range(3)]
    log_w = torch.tensor([[0.75, 0.25, 0.0]], dtype=torch.float64).log().requires_grad_()
    PowerPool(exponent).pool(log_p, log_w)[0, 0].backward()
    assert all(x.grad.isfinite().all() for x in [*log_p, log_w])
    assert [x.grad[0, 0].item() for x in log_p] == pytest.approx([0.75 * 0.5, 0.25 * 0.5, 0.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_returned_as_it_came(dtype):
    log_p, log_w = draw(5, (3, 4, 6), 3.0)
    narrow = [p.to(dtype) for p in log_p], log_w.to(dtype)
    got = PowerPool(1e-6).pool(*narrow)
    exact = PowerPool(1e-6).pool([p.double() for p in narrow[0]], narrow[1].double())
    assert got.dtype == dtype
    assert torch.allclose(got.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, math.nan, math.inf, -math.inf, 1e-13, -1e13])
def test_an_exponent_that_is_a_limit_is_refused(exponent):
    with pytest.raises(InputError, match="exponent of a power pool"):
        PowerPool(exponent)


def test_pools_are_made_by_name():
    assert make_pool("linear") is POOLS["linear"]
    assert make_pool("power") == PowerPool(0.5)
    assert make_pool("power", -2) == PowerPool(-2)
    assert "ρ = -2" in PowerPool(-2.0).formula
    with pytest.raises(InputError, match="only the pool 'power' has an exponent"):
        make_pool("log", 0.5)
    with pytest.raises(InputError, match="Did you mean 'power'"):
        make_pool("powr", 0.5)
