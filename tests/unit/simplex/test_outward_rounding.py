from __future__ import annotations

from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.simplex.rounding import add_down, log_slack, scale_down, up, weight_slack

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def tensor(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@given(NUMBERS, NUMBERS)
def test_sums_are_lower_bounds_within_one_ulp(x: float, y: float) -> None:
    total = add_down(tensor(x), tensor(y)).item()
    exact = Fraction(x) + Fraction(y)
    assert Fraction(total) <= exact
    assert exact - Fraction(total) <= Fraction(2) ** -51 * max(abs(exact), Fraction(1, 10**300))


@given(NUMBERS, st.floats(0.0, 1e3, allow_subnormal=False))
def test_products_are_lower_bounds(x: float, factor: float) -> None:
    assert Fraction(scale_down(tensor(x), factor).item()) <= Fraction(x) * Fraction(factor)


def test_exact_operations_are_left_alone() -> None:
    assert add_down(tensor(0.1), tensor(0.0)).item() == 0.1
    assert scale_down(tensor(0.1), 1.0).item() == 0.1
    assert scale_down(tensor(-0.3), 2.0).item() == -0.6
    assert scale_down(tensor(-torch.inf), 0.0).item() == 0.0
    assert add_down(tensor(-torch.inf), tensor(1.0)).item() == -torch.inf
    assert up(0.0) == 0.0


def test_slacks_catch_the_breaches_that_matter() -> None:
    assert weight_slack(torch.float32, 16) < 1e-5
    assert weight_slack(torch.float64, 16) < 1e-6
    assert log_slack(torch.float32) < 1e-5
    assert log_slack(torch.float64) < 1e-6
