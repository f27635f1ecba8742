from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import rules as reference
from trivium.errors import InputError
from trivium.weighting.context.posterior import PrefixPosterior, prefix_log_prob

F64 = torch.float64


def likelihoods(seed: int, tokens: int, num_teachers: int, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.exp(-spread * torch.rand(1, tokens, num_teachers, generator=generator, dtype=F64))


@given(
    seed=st.integers(0, 2**31),
    tokens=st.integers(1, 9),
    teachers=st.integers(1, 4),
    spread=st.sampled_from([0.0, 1e-3, 2.0, 20.0]),
    tau=st.sampled_from([0.25, 1.0, 2.0]),
    with_prior=st.booleans(),
)
def test_weights_are_the_posterior_before_each_token(seed, tokens, teachers, spread, tau, with_prior):
    p = likelihoods(seed, tokens, teachers, spread)
    prior = tuple(float(k + 1) for k in range(teachers))
    rule = PrefixPosterior(tau=tau, budget=None, prior=prior if with_prior else ())
    got = rule.log_weights({"prefix_log_prob": prefix_log_prob(p.log())})[0].exp()
    expected = reference.bayes(p[0].tolist(), prior if with_prior else (1.0,) * teachers, tau)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=F64), rtol=1e-9, atol=1e-15)


def test_the_mixture_with_these_weights_is_the_bayes_mixture():
    """Π_t Σ_k w_k(t) p_k(x_t) telescopes to Σ_k π_k Π_t p_k(x_t)."""
    p = likelihoods(5, 30, 3, 3.0)
    prior = (0.5, 0.3, 0.2)
    w = PrefixPosterior(budget=None, prior=prior).log_weights({"prefix_log_prob": prefix_log_prob(p.log())}).exp()
    sequential = (w * p).sum(-1).log().sum()
    at_once = (torch.tensor(prior, dtype=F64) * p[0].prod(dim=0)).sum().log()
    assert float(sequential) == pytest.approx(float(at_once), abs=1e-10)


@pytest.mark.parametrize(("dtype", "slack"), [(F64, 1e-12), (torch.float32, 2e-4)])
@pytest.mark.parametrize("t", [0, 3, 7])
def test_no_position_sees_its_own_or_a_later_token(dtype, slack, t):
    log_p = likelihoods(1, 8, 3, 9.0).log().to(dtype)
    other = log_p.clone()
    other[:, t] = torch.tensor([-900.0, -1.0, -40.0], dtype=dtype)
    rule = PrefixPosterior(budget=None)
    before, after = (rule.log_weights({"prefix_log_prob": prefix_log_prob(x)}) for x in (log_p, other))
    torch.testing.assert_close(before[:, : t + 1], after[:, : t + 1], rtol=0, atol=slack)
    if t < 7:
        assert float((before[:, t + 1 :] - after[:, t + 1 :]).abs().amin(dim=(0, 2)).min()) > 1.0


def test_the_first_position_has_the_prior():
    w = PrefixPosterior(prior=(1.0, 3.0), budget=None).log_weights(
        {"prefix_log_prob": prefix_log_prob(torch.full((2, 4, 2), -1.0, dtype=F64))}
    )
    torch.testing.assert_close(w[:, 0].exp(), torch.tensor([[0.25, 0.75]] * 2, dtype=F64))


def test_positions_without_a_token_add_nothing():
    log_p = torch.tensor([[[-1.0, -2.0], [-8.0, -9.0], [-3.0, -4.0]]], dtype=F64)
    mask = torch.tensor([[True, False, True]])
    got = prefix_log_prob(log_p, mask)
    assert got.tolist() == [[[0.0, 0.0], [-1.0, -2.0], [-1.0, -2.0]]]


def test_a_token_that_a_teacher_rules_out_counts_from_the_next_position_on():
    log_p = torch.tensor([[[-1.0, -2.0], [-math.inf, -3.0], [-1.0, -math.inf], [-1.0, -1.0]]])
    prefix = prefix_log_prob(log_p)
    assert prefix[0, :, 0].tolist() == [0.0, -1.0, -math.inf, -math.inf]
    assert prefix[0, :, 1].tolist() == [0.0, -2.0, -5.0, -math.inf]
    w = PrefixPosterior(budget=2.0).log_weights({"prefix_log_prob": prefix})
    assert bool(w.isfinite().all())
    assert float(w[0, 2, 1] - w[0, 2, 0]) == pytest.approx(2.0, abs=1e-6)
    assert float(w[0, 3, 0]) == float(w[0, 3, 1])  # both ruled out: the range's end for both


@pytest.mark.parametrize("budget", [None, 0.0, 0.5, 4.0])
@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_constants_with_a_prior_hold_and_are_attained(budget, tau):
    prior = (1.0, 4.0, 0.5)
    rule = PrefixPosterior(tau=tau, budget=budget, prior=prior)
    declared = rule.constants(3)
    generator = torch.Generator().manual_seed(4)
    scale = torch.tensor([1.0, 1e2, 1e6]).repeat(200)[:, None]
    x = -torch.rand(600, 3, generator=generator, dtype=F64) * scale
    x = torch.cat([x, 0.0 - 1e6 * torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * 3)])
    w = rule.log_weights({"prefix_log_prob": x})
    seen = (w.unsqueeze(-1) - w.unsqueeze(-2)).amin(dim=0)
    assert bool((seen >= declared.log_ratio - 1e-9 * (1 + declared.log_ratio.abs())).all())
    assert float((w.amax(-1) - w.amin(-1)).max()) == pytest.approx(declared.influence, rel=1e-12, abs=1e-9)
    y = (x + torch.rand(x.shape, generator=generator, dtype=F64) - 0.5).clamp(-1e6, 0.0)
    constant = declared.lipschitz["prefix_log_prob"]
    assert constant == 2 * tau
    for a, b, u, v in zip(
        w.tolist(), rule.log_weights({"prefix_log_prob": y}).tolist(), x.tolist(), y.tolist(), strict=True
    ):
        moved = max(abs(p - q) for p, q in zip(u, v, strict=True))
        assert reference.distance(a, b) <= constant * moved + 1e-8


def test_a_prior_that_float32_cannot_hold_keeps_its_weight():
    rule = PrefixPosterior(budget=None, prior=(1e-60, 1.0, 1e60))
    w = rule.log_weights({"prefix_log_prob": torch.zeros(3)})
    assert w.tolist() == pytest.approx([-120 * math.log(10), -60 * math.log(10), 0.0], rel=1e-6, abs=1e-6)


def test_a_prior_is_one_number_a_teacher():
    rule = PrefixPosterior(prior=(1.0, 2.0))
    line = "a prior must be one number a teacher; received 2 numbers for 3 teachers. Write them in the order"
    with pytest.raises(InputError, match=line):
        rule.log_weights({"prefix_log_prob": torch.zeros(3)})
    with pytest.raises(InputError, match=line):
        rule.constants(3)
    with pytest.raises(InputError, match=r"2 numbers for 1 teachers"):
        rule.log_weights({"prefix_log_prob": torch.zeros(1)})  # would broadcast


@pytest.mark.parametrize("entry", [0.0, -1.0, math.inf, math.nan])
def test_a_prior_must_be_positive_and_finite(entry):
    with pytest.raises(InputError, match=r"a prior must be positive and finite \(W-P\); .* Give every teacher some"):
        PrefixPosterior(prior=(1.0, entry))


@pytest.mark.parametrize("tau", [0.0, -1.0])
def test_the_exponent_must_be_positive(tau):
    with pytest.raises(InputError, match=f"the exponent tau must be positive; received {tau}. Use 1 for Bayes"):
        PrefixPosterior(tau=tau)


def test_formula():
    assert str(PrefixPosterior(budget=None)) == "posterior(Π p_k(x_s|x_<s))"
    assert str(PrefixPosterior(0.5, 4.0, (1.0, 2.0))) == "posterior((1, 2)·Π p_k(x_s|x_<s)^0.5 | β ≤ 4)"
