"""Weights in effect after clipping: T3's bound attacked and attained, and which axioms survive."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trivium.axioms import ParetoCompatibility
from trivium.errors import InputError
from trivium.gradients import audit, clip_factors, effective_weights, influence_of_factors, weights_of_direction
from trivium.simplex.geometry import influence
from trivium.simplex.order import Order
from trivium.weighting.task.torchjd import weighting

F64 = torch.float64


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def draw(num_teachers: int, seed: int) -> tuple[Tensor, Tensor]:
    """Log-weights and gradients [K, 3] of very different lengths."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(num_teachers, 3, generator=generator, dtype=F64)
    g = g * (4 * torch.randn(num_teachers, 1, generator=generator, dtype=F64)).exp()
    return torch.log_softmax(3 * torch.randn(num_teachers, generator=generator, dtype=F64), -1), g


def test_clipping_by_loop() -> None:
    norms = [0.0, 0.5, 1.0, 3.0, math.inf]
    expected = [min(1.0, 1.0 / n) if n else 1.0 for n in norms]
    assert clip_factors(vector(*norms), 1.0).tolist() == expected


def test_the_step_of_effective_weights_is_the_clipped_step() -> None:
    log_w, g = draw(4, 0)
    factors = clip_factors(g.norm(dim=-1), 0.7)
    step = sum(w * g_k * min(1.0, 0.7 / float(g_k.norm())) for w, g_k in zip(log_w.exp().tolist(), g, strict=True))
    assert torch.allclose(effective_weights(log_w, factors).exp() @ g, step)


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_influence_grows_by_no_more_than_that_of_the_factors(num_teachers: int, seed: int, limit: float) -> None:
    log_w, g = draw(num_teachers, seed)
    factors = clip_factors(g.norm(dim=-1), limit)
    omega = effective_weights(log_w, factors)
    spread = math.log(float(factors.max()) / float(factors.min()))
    assert float(influence_of_factors(factors)) == pytest.approx(spread, abs=1e-12)
    assert float(influence(omega)) <= float(influence(log_w)) + spread + 1e-12
    assert float(omega.exp().sum()) <= 1 + 1e-12


def test_that_bound_is_attained() -> None:
    log_w, factors = vector(0.7, 0.2, 0.1).log(), vector(1.0, 0.9, 0.25)
    bound = influence(log_w) + influence_of_factors(factors)
    assert float(influence(effective_weights(log_w, factors))) == pytest.approx(float(bound), abs=1e-14)


def test_one_factor_for_all_keeps_every_ratio() -> None:
    log_w, g = draw(3, 5)
    omega = effective_weights(log_w, torch.full((3,), 0.01, dtype=F64))
    assert float(influence(omega)) == pytest.approx(float(influence(log_w)))
    axiom = ParetoCompatibility()
    assert float(axiom.residual(omega.exp(), g)) == pytest.approx(0.01 * float(axiom.residual(log_w.exp(), g)))


def test_clipping_loses_w_c_at_two_balanced_opposed_gradients() -> None:
    w, g = vector(2 / 3, 1 / 3), torch.tensor([[1.0], [-2.0]], dtype=F64)
    before = audit(w, gradients=g)
    assert bool(before.holds["W-C"])
    after = audit(effective_weights(w.log(), clip_factors(g.norm(dim=-1), 1.0)).exp(), gradients=g)
    assert not bool(after.holds["W-C"])
    assert float(after.residuals["W-C"]) == pytest.approx(2 / 3)  # −⟨−2, 2/3 − 2/6⟩


def test_clipping_keeps_the_cap_and_loses_the_floor() -> None:
    w = vector(0.6, 0.2, 0.2)
    omega = effective_weights(w.log(), vector(1.0, 0.5, 1.0)).exp()
    assert bool(audit(w, floor=0.2, cap=0.6).holds["W-B"])
    assert bool(audit(omega, cap=0.6).holds["W-B"])
    found = audit(omega, floor=0.2, cap=0.6)
    assert float(found.residuals["W-B"]) == pytest.approx(0.1)
    assert not bool(found.holds["W-B"])
    assert not bool(found.holds["W-N"])
    assert float(found.mass) == pytest.approx(0.9)
    assert bool(audit(omega, floor=0.2 * 0.5).holds["W-B"])  # a·min c


def test_clipping_keeps_the_order_iff_the_margin_covers_it() -> None:
    order = Order(((0,), (1,)))  # 0 is the safer
    for cut, kept in ((0.51, True), (0.49, False)):
        w = vector(2 / 3, 1 / 3)  # a margin of log 2
        omega = effective_weights(w.log(), vector(cut, 1.0)).exp()
        assert bool(audit(omega, order=order).holds["W-S"]) is kept
        assert float(audit(omega, order=order).residuals["W-S"]) == pytest.approx(-math.log(2 * cut))


def test_the_weights_of_a_direction_are_recovered() -> None:
    _, g = draw(3, 2)
    w = vector(0.5, -0.2, 1.3)
    omega, rest = weights_of_direction(g, w @ g)
    assert torch.allclose(omega, w, rtol=1e-6)
    assert float(rest) < 1e-9
    assert float(audit(omega, gradients=g).influence) == math.inf  # a negative one


def test_a_direction_beside_the_gradients_is_told_apart() -> None:
    g = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], dtype=F64)
    omega, rest = weights_of_direction(g, vector(3.0, 0.0, 4.0).unsqueeze(0))
    assert omega.tolist() == [pytest.approx([3.0, 0.0])]
    assert rest.tolist() == pytest.approx([0.8])
    assert weights_of_direction(g, torch.zeros(1, 3))[1].tolist() == [0.0]


def test_equal_gradients_share_their_weight() -> None:
    g = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    assert weights_of_direction(g, g[0])[0].tolist() == pytest.approx([0.5, 0.5])


def test_pcgrad_of_two_is_recovered_from_its_direction_and_keeps_w_c() -> None:
    g = torch.tensor([[1.0, 0.0], [-0.6, 0.3]], dtype=F64)
    cut = [g[a] - (g[a] @ g[b]).clamp(max=0.0) / (g[b] @ g[b]) * g[b] for a, b in ((0, 1), (1, 0))]
    omega, rest = weights_of_direction(g, cut[0] + cut[1])
    assert torch.allclose(omega, weighting("pcgrad")(g @ g.T))
    assert float(rest) < 1e-12
    assert bool(audit(omega, gradients=g).holds["W-C"])
    assert not bool(audit(vector(0.2, 0.8), gradients=g).holds["W-C"])


def test_rows_are_audited_one_by_one_in_their_own_dtype() -> None:
    omega = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    found = audit(omega, floor=0.3, order=Order(((1,), (0,))), gradients=torch.ones(2, 2, 4))
    assert found.holds["W-B"].tolist() == [True, False]
    assert found.holds["W-S"].tolist() == [True, False]
    assert found.holds["W-C"].tolist() == [True, True]
    assert {value.dtype for value in found.residuals.values()} == {torch.float32}


def test_rounding_is_no_breach() -> None:
    g = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    omega = torch.full((3,), 1 / 3)
    g[2] = -(g[0] + g[1])  # the mean vanishes, up to rounding
    assert bool(audit(omega, gradients=g).holds["W-C"])


def test_what_makes_no_sense_is_refused() -> None:
    for call in (
        lambda: clip_factors(vector(1.0), 0.0),
        lambda: clip_factors(vector(-1.0), 1.0),
        lambda: clip_factors(vector(math.nan), 1.0),
        lambda: effective_weights(vector(0.0), vector(-1.0)),
        lambda: weights_of_direction(torch.ones(2, 3), torch.ones(2)),
        lambda: weights_of_direction(torch.ones(3), torch.ones(3)),
        lambda: audit(torch.tensor([1, 0])),
        lambda: audit(vector(0.5, 0.5), gradients=torch.ones(3, 4)),
    ):
        with pytest.raises(InputError):
            call()
