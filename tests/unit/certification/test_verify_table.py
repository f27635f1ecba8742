"""Every entry of the verifier's table against the operation itself: no number that it computes leaves its bounds, in
any dtype, argument or layout that the entry admits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from entries.attack import attack
from entries.calls import CALLS
from tiers import some
from trivium.certification.verify import functions, reductions
from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import Enclosure
from trivium.certification.verify.table import TABLE, OperationEntry

ENTRIES = sorted(TABLE, key=str)
aten = torch.ops.aten


def test_every_entry_has_calls() -> None:
    assert {str(overload) for overload in TABLE} == {str(overload) for overload in CALLS}


@pytest.mark.parametrize("overload", some(ENTRIES, 4, lambda overload: TABLE[overload].bound.__module__), ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_number_leaves_the_bounds_of_an_entry(overload: Any) -> None:
    assert attack(overload, seed=1, calls=2, points=32) == []


@pytest.mark.deep
@pytest.mark.parametrize("overload", ENTRIES, ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_number_leaves_the_bounds_of_an_entry_at_ten_thousand_points(overload: Any) -> None:
    assert attack(overload, seed=2, calls=12, points=256) == []


def test_a_product_with_a_matrix_holds_the_exact_number() -> None:
    """1e16 + 1 − 1e16 is 0 as a float adds it; catches sums not rounded outward, which sampled sums seldom do."""
    x = torch.tensor([[1e16, 1.0, -1e16]], dtype=torch.float64)
    low, high = iv.linear((x, x), torch.ones(3, 1, dtype=torch.float64))
    assert low.item() <= 1.0 <= high.item()


def narrowed(made: Enclosure) -> Enclosure:
    """Its interval without a tenth at either end."""
    span = made.hi - made.lo
    made.lo, made.hi = made.lo + 0.1 * span, made.hi - 0.1 * span
    return made


def flattened(made: Enclosure) -> Enclosure:
    """Its slopes halved."""
    steep = made.jacobian
    made._jacobian = None if steep is None else (steep[0] / 2, steep[1] / 2)
    return made


def exact(made: Enclosure) -> Enclosure:
    """Without rounding."""
    made.error = torch.zeros_like(made.error)
    made.relative = None
    return made


@pytest.mark.parametrize(
    "overload", [aten.mul.Tensor, aten.exp.default, aten._softmax.default, aten.sum.dim_IntList], ids=str
)
@pytest.mark.parametrize("spoil", [narrowed, flattened, exact])
def test_the_check_notices_an_entry_that_is_wrong(overload: Any, spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = TABLE[overload]
    spoiled = OperationEntry(lambda call, **given: spoil(sound.bound(call, **given)), sound.honours)
    monkeypatch.setitem(TABLE, overload, spoiled)
    assert attack(overload, seed=1, calls=12, points=128, first=True)


@pytest.mark.parametrize("name", ["mul", "add", "linear"])
def test_the_check_notices_arithmetic_that_is_too_tight(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = getattr(iv, name)

    def tight(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        low, high = sound(*args, **options)
        return low + 0.02 * (high - low), high - 0.02 * (high - low)

    monkeypatch.setattr(iv, name, tight)
    overload = {"mul": aten.mul.Tensor, "add": aten.add.Tensor, "linear": aten.sum.dim_IntList}[name]
    assert attack(overload, seed=1, calls=8, points=128, first=True)
    assert functions.iv is reductions.iv is iv
