from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reference import losses as divergence
from reference import pools as reference
from trivium.aggregation import POOLS

SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9))
LOOPS = {
    "linear": reference.linear,
    "log": reference.logarithmic,
    "power": lambda p, w: reference.power(p, w, 0.5),
}


def draw(seed: int, sizes: tuple[int, int, int], scale: float, hole: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """K tensors of log-probabilities [N, V], with shared −inf entries and ties, and log-weights [N, K] with a zero."""
    rows, num_teachers, vocabulary = sizes
    torch.manual_seed(seed)
    logits = [
        (torch.randn(rows, vocabulary, dtype=torch.float64) * scale).round(decimals=1) for _ in range(num_teachers)
    ]
    scores = torch.randn(rows, num_teachers, dtype=torch.float64) * 3
    if hole and vocabulary > 1:
        for entry in logits:
            entry[:, 1::2] = -math.inf
    if hole and num_teachers > 1:
        logits[1][:] = -math.inf  # no voice, and no mass where the others have theirs
        logits[1][:, -1] = 0.0
        scores[:, 1] = -math.inf
    return [torch.log_softmax(z, -1) for z in logits], torch.log_softmax(scores, -1)


def tv(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 0.5 * (a - b).abs().sum(-1)


def soften(log_p: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.log_softmax(log_p / temperature, -1)


def test_table_is_keyed_by_the_names_of_the_pools():
    assert list(POOLS) == ["linear", "log", "power"]
    assert all(POOLS[name].name == name and "p_k" in POOLS[name].formula for name in POOLS)


@pytest.mark.parametrize("name", POOLS)
@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.0, 0.3, 3.0, 30.0]), hole=st.booleans())
def test_pool_equals_the_loop(name, seed, sizes, scale, hole):
    log_p, log_w = draw(seed, sizes, scale, hole)
    got = POOLS[name].pool(log_p, log_w).exp()
    for row in range(sizes[0]):
        expected = LOOPS[name]([p[row].exp().tolist() for p in log_p], log_w[row].exp().tolist())
        assert got[row].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", POOLS)
@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.0, 3.0, 100.0]), hole=st.booleans())
def test_a_distribution_comes_out_and_positivity_is_inherited(name, seed, sizes, scale, hole):
    log_p, log_w = draw(seed, sizes, scale, hole)
    log_q = POOLS[name].pool(log_p, log_w)
    assert not torch.isnan(log_q).any()
    assert torch.allclose(log_q.exp().sum(-1), torch.ones(sizes[0], dtype=torch.float64), atol=1e-12)
    everywhere = torch.stack([torch.isfinite(p) for p in log_p]).all(0)
    assert torch.isfinite(log_q[everywhere]).all()


@pytest.mark.parametrize("name", POOLS)
def test_one_teacher_is_returned_as_it_is_and_order_does_not_matter(name):
    log_p, log_w = draw(3, (3, 3, 5), 2.0, False)
    pool = POOLS[name].pool
    assert torch.allclose(pool(log_p[:1], torch.zeros(3, 1, dtype=torch.float64)), log_p[0], atol=1e-14)
    assert torch.allclose(pool(log_p[::-1], log_w.flip(-1)), pool(log_p, log_w), atol=1e-13)


def test_temperature_coherence_fails_for_the_linear_pool_as_published():
    log_p = [torch.tensor([[0.9, 0.05, 0.05]]).double().log(), torch.tensor([[0.05, 0.9, 0.05]]).double().log()]
    log_w = torch.tensor([[0.5, 0.5]]).double().log()
    pool = POOLS["linear"].pool
    soften_first = pool([soften(p, 4.0) for p in log_p], log_w).exp()[0]
    pool_first = soften(pool(log_p, log_w), 4.0).exp()[0]
    assert soften_first.tolist() == pytest.approx([0.377, 0.377, 0.246], abs=5e-4)
    assert pool_first.tolist() == pytest.approx([0.389, 0.389, 0.222], abs=5e-4)


@given(seed=SEEDS, sizes=SIZES, temperature=st.floats(0.3, 20.0))
def test_log_pool_commutes_with_a_common_temperature(seed, sizes, temperature):
    log_p, log_w = draw(seed, sizes, 3.0, False)
    pool = POOLS["log"].pool
    soften_first = pool([soften(p, temperature) for p in log_p], log_w)
    assert torch.allclose(soften_first, soften(pool(log_p, log_w), temperature), rtol=0, atol=1e-11)


@given(seed=SEEDS, sizes=SIZES)
def test_t7_summed_losses_are_one_loss_to_the_pool_and_a_constant(seed, sizes):
    log_p, log_w = draw(seed, sizes, 2.0, False)
    s = torch.softmax(torch.randn(sizes[0], sizes[2], dtype=torch.float64), -1)
    for row in range(sizes[0]):
        w, p = log_w[row].exp().tolist(), [x[row].exp().tolist() for x in log_p]
        student = s[row].tolist()
        linear = POOLS["linear"].pool(log_p, log_w)[row].exp().tolist()
        log = POOLS["log"].pool(log_p, log_w)[row].exp().tolist()
        forward = math.fsum(x * divergence.kl(row_p, student) for x, row_p in zip(w, p, strict=True))
        spread = math.fsum(x * divergence.kl(row_p, linear) for x, row_p in zip(w, p, strict=True))
        assert forward == pytest.approx(divergence.kl(linear, student) + spread, rel=1e-9, abs=1e-12)
        reverse = math.fsum(x * divergence.kl(student, row_p) for x, row_p in zip(w, p, strict=True))
        log_z = math.log(math.fsum(math.prod(r[i] ** x for x, r in zip(w, p, strict=True)) for i in range(sizes[2])))
        assert reverse == pytest.approx(divergence.kl(student, log) - log_z, rel=1e-9, abs=1e-12)


@given(seed=SEEDS, sizes=SIZES, scale=st.sampled_from([0.3, 3.0, 30.0]))
@example(seed=0, sizes=(1, 2, 2), scale=30.0)
def test_t8_the_linear_pool_is_stable_in_the_weights(seed, sizes, scale):
    log_p, log_w = draw(seed, sizes, scale, False)
    log_v = torch.log_softmax(torch.randn_like(log_w), -1)
    pool = POOLS["linear"].pool
    moved = tv(pool(log_p, log_w).exp(), pool(log_p, log_v).exp())
    widest = torch.stack([tv(a.exp(), b.exp()) for a in log_p for b in log_p]).amax(0)
    assert (moved <= tv(log_w.exp(), log_v.exp()) * widest + 1e-12).all()


def test_t8_is_attained_by_teachers_that_share_nothing():
    log_p = [torch.tensor([[1.0, 0.0]]).double().log(), torch.tensor([[0.0, 1.0]]).double().log()]
    w, v = (torch.tensor([[x, 1 - x]], dtype=torch.float64) for x in (0.7, 0.2))
    pool = POOLS["linear"].pool
    assert tv(pool(log_p, w.log()).exp(), pool(log_p, v.log()).exp()).item() == pytest.approx(0.5, abs=1e-14)


def test_log_pool_of_teachers_that_share_nothing_is_nan_and_not_an_invention():
    log_p = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])]
    assert torch.isnan(POOLS["log"].pool(log_p, torch.tensor([[0.5, 0.5]]).log())).all()


def test_a_weight_of_zero_is_no_veto():
    log_p = [torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[0.0, -math.inf]])]
    log_w = torch.tensor([[0.0, -math.inf]])
    for pool in POOLS.values():
        assert pool.pool(log_p, log_w).exp()[0].tolist() == pytest.approx([0.25, 0.75])
