"""T10: weights that depend on the vocabulary entry, their mass, and what they lose."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import pools as reference
from trivium.aggregation import EntrywiseLinearPool, LinearPool
from trivium.errors import InputError

POOL = EntrywiseLinearPool()
SEEDS = st.integers(0, 2**31 - 1)


def logs(values):
    return torch.tensor(values, dtype=torch.float64).log()


def draw(seed, rows, teachers, vocabulary, scale, holes):
    torch.manual_seed(seed)
    logits = [torch.randn(rows, vocabulary, dtype=torch.float64) * scale for _ in range(teachers)]
    scores = torch.randn(rows, vocabulary, teachers, dtype=torch.float64) * 4
    if holes:
        for entry in logits:
            entry[:, :-1] = entry[:, :-1].masked_fill(torch.rand(rows, vocabulary - 1) < 0.4, -math.inf)
        if teachers > 1:
            scores[:, : vocabulary // 2, 0] = -math.inf
    return [torch.log_softmax(z, -1) for z in logits], torch.log_softmax(scores, -1)


@given(
    seed=SEEDS,
    teachers=st.integers(1, 4),
    vocabulary=st.integers(1, 7),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    holes=st.booleans(),
)
def test_pool_and_mass_equal_the_loop(seed, teachers, vocabulary, scale, holes):
    log_p, log_w = draw(seed, 3, teachers, vocabulary, scale, holes)
    q, mass = POOL.pool(log_p, log_w).exp(), POOL.log_mass(log_p, log_w).exp()
    for row in range(3):
        p, w = [x[row].exp().tolist() for x in log_p], log_w[row].exp().tolist()
        expected, total = reference.entrywise(p, w)
        assert q[row].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)
        assert mass[row].item() == pytest.approx(total, rel=1e-12)


@given(seed=SEEDS, teachers=st.integers(1, 5), vocabulary=st.integers(1, 7), scale=st.sampled_from([0.0, 1.0, 30.0]))
def test_the_mass_lies_between_k_times_the_least_and_the_largest_weight(seed, teachers, vocabulary, scale):
    log_p, log_w = draw(seed, 20, teachers, vocabulary, scale, False)
    mass, w = POOL.log_mass(log_p, log_w).exp(), log_w.exp()
    assert (mass >= teachers * w.amin(dim=(-2, -1)) - 1e-12).all()
    assert (mass <= teachers * w.amax(dim=(-2, -1)) + 1e-12).all()


@pytest.mark.parametrize(("own", "mass"), [(0.9, 2 * 0.9), (0.1, 2 * 0.1)])
def test_both_ends_of_the_mass_are_attained(own, mass):
    """The framework's counterexample: (.9, .9) before, (½, ½) after renormalization; and the weights exchanged."""
    log_p, log_w = [logs([1.0, 0.0]), logs([0.0, 1.0])], logs([[own, 1 - own], [1 - own, own]])
    before = [sum(math.exp(p[i]) * math.exp(log_w[i, k]) for k, p in enumerate(log_p)) for i in range(2)]
    assert before == pytest.approx([own, own])
    assert POOL.log_mass(log_p, log_w).exp().item() == pytest.approx(mass, rel=1e-14)
    assert POOL.pool(log_p, log_w).exp().tolist() == pytest.approx([0.5, 0.5])


@given(seed=SEEDS, scale=st.sampled_from([0.0, 1.0, 30.0]))
def test_the_same_weights_everywhere_are_the_linear_pool(seed, scale):
    log_p, log_w = draw(seed, 4, 3, 5, scale, False)
    same = log_w[:, :1].expand(-1, 5, -1)
    assert torch.allclose(POOL.pool(log_p, same), LinearPool().pool(log_p, log_w[:, 0]), atol=1e-12)
    assert POOL.log_mass(log_p, same).abs().max() < 1e-12


def test_t7_is_lost_by_the_factor_z():
    log_p, log_w = draw(1, 1, 3, 5, 2.0, False)
    log_s = torch.log_softmax(torch.randn(1, 5, dtype=torch.float64), -1)
    summed = -sum((log_w[..., k] + p).exp() * log_s for k, p in enumerate(log_p)).sum()
    mass = POOL.log_mass(log_p, log_w).exp().item()
    to_pool = -(POOL.pool(log_p, log_w).exp() * log_s).sum()
    assert abs(mass - 1) > 0.01
    assert summed.item() == pytest.approx(mass * to_pool.item(), rel=1e-12)


def test_t8_is_lost():
    log_p = [logs([1.0, 0.0]), logs([0.0, 1.0])]
    one = POOL.pool(log_p, logs([[0.1, 0.9], [0.9, 0.1]])).exp()
    other = POOL.pool(log_p, logs([[0.2, 0.8], [0.9, 0.1]])).exp()
    assert 0.5 * (one - other).abs().sum().item() == pytest.approx(1 / 6)  # and the weights moved by .1


def test_s1_is_lost_although_every_entry_favours_the_safer_teacher():
    p = [[0.6, 0.0, 0.4, 0.0], [0.0, 0.5, 0.0, 0.5]]
    w = [[0.5, 0.5], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]]
    unsafe = [row[0] + row[1] for row in p]
    assert unsafe[0] > unsafe[1]
    assert all(safer >= other for other, safer in w)
    q = POOL.pool([logs(row) for row in p], logs(w)).exp()
    assert (q[0] + q[1]).item() == pytest.approx(0.8 / 1.05)
    assert q[0] + q[1] > sum(unsafe) / 2 + 0.2


def test_where_no_weight_meets_mass_there_is_no_pool():
    log_p, log_w = [logs([1.0, 0.0]), logs([0.0, 1.0])], logs([[0.0, 1.0], [1.0, 0.0]])
    assert POOL.pool(log_p, log_w).isnan().all()
    assert POOL.log_mass(log_p, log_w).item() == -math.inf


def test_gradients_are_those_of_finite_differences_and_finite_at_holes():
    logits = [torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    scores = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    normal = torch.log_softmax

    def pooled(scores, *logits):
        return POOL.pool([normal(z, -1) for z in logits], normal(scores, -1))

    assert torch.autograd.gradcheck(pooled, (scores, *logits))
    log_p, log_w = [logs([0.5, 0.5, 0.0]).requires_grad_() for _ in range(2)], logs([[0.5, 0.5]] * 3).requires_grad_()
    POOL.pool(log_p, log_w)[0].backward()
    assert all(x.grad.isfinite().all() for x in [*log_p, log_w])


def test_weights_of_one_row_for_all_entries_are_refused():
    with pytest.raises(InputError, match=r"must be \[..., 3, 2\], a row for each vocabulary entry"):
        POOL.pool([torch.zeros(3), torch.zeros(3)], torch.zeros(2))
