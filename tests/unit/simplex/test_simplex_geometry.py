from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reference.divergences import hilbert_by_loops, kl_by_scipy, total_variation_by_events
from reference.log_weights import scores
from trivium.errors import InputError
from trivium.simplex import hilbert, influence, influence_to_range, kl, log_normalize, total_variation, tv_of_hilbert

PAIRS = st.integers(1, 6).flatmap(lambda k: st.tuples(scores(k, zeros=True), scores(k, zeros=True)))


def rows(values: list[float]) -> torch.Tensor:
    return log_normalize(torch.tensor(values, dtype=torch.float64))


@given(PAIRS)
@example(([0.0, -math.inf], [0.0, -math.inf]))
@example(([0.0, -math.inf], [-math.inf, 0.0]))
@example(([0.0], [3.0]))
def test_distances_agree_with_loops_and_scipy(pair: tuple[list[float], list[float]]) -> None:
    log_u, log_v = rows(pair[0]), rows(pair[1])
    u, v = log_u.exp().tolist(), log_v.exp().tolist()
    if (log_u.isfinite() == (log_u.exp() > 0)).all() and (log_v.isfinite() == (log_v.exp() > 0)).all():
        assert hilbert(log_u, log_v).item() == pytest.approx(hilbert_by_loops(u, v), rel=1e-9, abs=1e-9)
    assert total_variation(log_u, log_v).item() == pytest.approx(total_variation_by_events(u, v), abs=1e-12)
    assert kl(log_u, log_v).item() == pytest.approx(kl_by_scipy(u, v), rel=1e-9, abs=1e-9)


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(scores(k), scores(k), scores(k))))
def test_hilbert_is_a_projective_metric(triple: tuple[list[float], list[float], list[float]]) -> None:
    u, v, t = (torch.tensor(values, dtype=torch.float64) for values in triple)
    assert hilbert(u, u).item() == 0.0
    assert hilbert(u, v).item() == pytest.approx(hilbert(v, u).item(), abs=1e-9)
    assert hilbert(u, v).item() == pytest.approx(hilbert(u + 3.0, log_normalize(v)).item(), abs=1e-9)
    assert hilbert(u, v) <= hilbert(u, t) + hilbert(t, v) + 1e-9


def test_influence_is_the_distance_to_uniform() -> None:
    log_w = rows([0.3, -2.0, 1.0])
    assert influence(log_w).item() == pytest.approx(hilbert(log_w, torch.zeros(3, dtype=torch.float64)).item())
    assert influence(rows([5.0])).item() == 0.0
    assert influence(rows([0.0, -math.inf])).item() == math.inf


def test_nan_stays_nan() -> None:
    good, bad = torch.zeros(2), torch.tensor([0.0, math.nan])
    values = [hilbert(good, bad), hilbert(bad, good), influence(bad), kl(bad, good), kl(good, bad)]
    assert all(value.isnan() for value in (*values, total_variation(bad, good)))
    assert log_normalize(torch.full((2,), -math.inf)).isnan().all()


def test_log_normalize_keeps_precision_far_from_zero() -> None:
    shifted = torch.tensor([1e4, 1e4 + 1.0])
    assert torch.equal(log_normalize(shifted), log_normalize(torch.tensor([0.0, 1.0])))


def test_kl_has_a_finite_gradient_at_zero_probability() -> None:
    log_q = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    log_p = torch.tensor([0.0, -math.inf, -math.inf], dtype=torch.float64)
    kl(log_p, torch.log_softmax(log_q, dim=-1)).backward()
    assert log_q.grad is not None
    assert torch.allclose(log_q.grad, torch.tensor([1 / 3 - 1, 1 / 3, 1 / 3], dtype=torch.float64))


def test_dimensions_broadcast_and_dtype_is_kept() -> None:
    u, v = torch.randn(5, 1, 3), torch.randn(4, 3)
    for function in (hilbert, total_variation, kl):
        assert function(u, v).shape == (5, 4)
        assert function(u, v).dtype == torch.float32


@pytest.mark.parametrize("beta", [0.0, 0.7, 5.0, 800.0, math.inf])
@pytest.mark.parametrize("num_teachers", [1, 2, 7])
def test_influence_to_range_is_attained_by_one_low_and_one_high_teacher(beta: float, num_teachers: int) -> None:
    floor, cap = influence_to_range(beta, num_teachers)
    low, high = torch.zeros(2, num_teachers, dtype=torch.float64)
    if num_teachers > 1:
        low[0], high[0] = -beta, beta if beta < math.inf else 1e9
    assert floor == pytest.approx(log_normalize(low).exp().min().item(), abs=1e-15)
    assert cap == pytest.approx(log_normalize(high).exp().max().item())


@pytest.mark.parametrize("arguments", [(-0.1, 3), (math.nan, 3), (1.0, 0)])
def test_influence_to_range_refuses(arguments: tuple[float, int]) -> None:
    with pytest.raises(InputError):
        influence_to_range(*arguments)


def test_tv_of_hilbert_takes_numbers_and_tensors() -> None:
    assert tv_of_hilbert(2.0) == pytest.approx(tv_of_hilbert(torch.tensor([2.0], dtype=torch.float64)).item())
