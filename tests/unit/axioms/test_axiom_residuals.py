"""The residuals' values, signs, shapes, dtypes and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from trivium.axioms import (
    BoundedInfluence,
    FunctionOfItsRow,
    Normalization,
    OrdinalSafety,
    ParetoCompatibility,
    Positivity,
    Regularity,
)
from trivium.errors import InputError
from trivium.simplex import Order

PAIR = Order(((0,), (1,)))
LOG_W = torch.tensor([[0.7, 0.2], [0.5, 0.5]], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("residual", "expected"),
    [
        (Normalization().residual, [0.1, 0.0]),
        (Positivity().residual, [-0.2, -0.5]),
        (BoundedInfluence(0.3, 0.9).residual, [0.1, -0.2]),
        (BoundedInfluence(0.0, 0.6).residual, [0.1, -0.1]),
        (OrdinalSafety(PAIR, 0.4).residual, [0.4 - math.log(3.5), 0.4]),
        (lambda w: Regularity(2.0).residual(w, w.flip(-1), 0.5), [2 * math.log(3.5) - 1.0, -1.0]),
    ],
)
def test_values(residual: Callable[[torch.Tensor], torch.Tensor], expected: list[float]) -> None:
    assert residual(LOG_W).tolist() == pytest.approx(expected, abs=1e-12)
    assert residual(LOG_W.float()).dtype == torch.float32
    assert residual(LOG_W.float()).tolist() == pytest.approx(expected, abs=1e-6)
    assert residual(LOG_W.reshape(1, 2, 2)).shape == (1, 2)


def test_pareto_values_and_batches() -> None:
    gradients = torch.randn(4, 3, 5, dtype=torch.float64)
    weights = torch.softmax(torch.randn(4, 3, dtype=torch.float64), dim=-1)
    residual = ParetoCompatibility().residual(weights, gradients)
    for row in range(4):
        direction = sum(w * g for w, g in zip(weights[row], gradients[row], strict=True))
        assert residual[row].item() == pytest.approx(-min(float(g @ direction) for g in gradients[row]))


def test_positivity_sees_past_underflow() -> None:
    axiom = Positivity()
    residual = axiom.residual(torch.tensor([[0.0, -5000.0], [0.0, -math.inf]]))
    assert axiom.holds(residual).tolist() == [True, False]


def test_a_weight_of_zero_is_always_outweighed() -> None:
    axiom = OrdinalSafety(Order(((0,), (1,), (2,))), order_margin=1.0)
    log_w = torch.tensor([[0.0, -math.inf, -math.inf], [-math.inf, 0.0, -math.inf]])
    assert axiom.residual(log_w).tolist() == [-math.inf, math.inf]


def test_order_is_required_on_critical_rows_only() -> None:
    axiom = OrdinalSafety(PAIR)
    log_w = torch.tensor([[-2.0, 0.0], [-2.0, 0.0]])
    residual = axiom.residual(log_w, critical=torch.tensor([True, False]))
    assert axiom.holds(residual).tolist() == [False, True]
    assert axiom.residual(torch.tensor([[math.nan, 0.0]]), torch.tensor([False])).item() == -math.inf
    assert OrdinalSafety(Order(((0, 1),))).residual(log_w).tolist() == [-math.inf] * 2


def test_mixed_dtypes_get_the_coarser_tolerance() -> None:
    assert Regularity().residual(torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), 0.0).dtype == torch.bfloat16
    assert Normalization().holds(torch.tensor([1e-3]), dtype=torch.bfloat16).item()
    assert not Normalization().holds(torch.tensor([1e-3])).item()


def test_a_residual_is_compared_in_float64() -> None:
    residual = torch.tensor([5e-2, 0.2], dtype=torch.bfloat16)
    assert Normalization().tolerance(torch.bfloat16, 3) == pytest.approx(7.5 * 2**-7)
    assert Normalization().holds(residual, num_teachers=3).tolist() == [True, False]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BoundedInfluence(0.5, 0.4), "floor and cap"),
        (lambda: BoundedInfluence(math.nan, 1.0), "floor and cap"),
        (lambda: Regularity(-1.0), "regularity constant"),
        (lambda: Regularity(math.inf), "regularity constant"),
        (lambda: OrdinalSafety(PAIR, -0.1), "margin"),
        (lambda: OrdinalSafety(PAIR).residual(torch.zeros(1, 3)), "2 teachers"),
        (lambda: ParetoCompatibility().residual(torch.zeros(2), torch.zeros(3, 4)), "K = 2"),
        (lambda: FunctionOfItsRow().residual(lambda f: f["a"], {}), "first axis"),
        (lambda: FunctionOfItsRow().residual(lambda f: f["a"], {"a": torch.zeros(2, 1), "b": torch.zeros(3)}), "axis"),
        (lambda: FunctionOfItsRow().residual(lambda f: f["a"].sum(), {"a": torch.zeros(2, 1)}), r"return \[2, K\]"),
    ],
)
def test_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_the_operator_gets_copies() -> None:
    features = {"x": torch.ones(3, 2), "shared": torch.zeros(3, 1)}

    def overwriting(given: dict[str, torch.Tensor]) -> torch.Tensor:
        given["x"].mul_(2)
        return torch.log_softmax(given["x"] + given["shared"], dim=-1)

    assert FunctionOfItsRow().residual(overwriting, features).tolist() == [0.0] * 3  # type: ignore[arg-type]
    assert features["x"].eq(1).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
def test_every_row_is_tried_whatever_the_batch(rows: int) -> None:
    features = {"x": torch.randn(rows, 2, dtype=torch.float64)}
    pure = FunctionOfItsRow().residual(lambda f: torch.log_softmax(f["x"], dim=-1), features)
    assert pure.shape == (rows,)
    assert pure.max() <= 1e-15
    if rows > 1:
        coupled = FunctionOfItsRow().residual(lambda f: torch.log_softmax(f["x"] + f["x"].mean(0), dim=-1), features)
        assert (coupled > 1e-3).all()
