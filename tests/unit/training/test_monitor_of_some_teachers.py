"""The monitor where some teachers do not serve a row: those that do are judged, against bounds that hold for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trivium.errors import AxiomViolation
from trivium.simplex import ConformingSet, Order, restrict
from trivium.training.monitor import Monitor, MonitoredBounds

NAMES = ("a", "b", "c")
SERVING = torch.tensor([[True, True, False], [True, True, True], [False, False, True]])
MASK = torch.ones(3, 1, dtype=torch.bool)


def monitor(action: Any = "raise", **bounds: Any) -> Monitor:
    if isinstance(bounds.get("order"), str):
        bounds["order"] = Order.parse(bounds["order"], NAMES)
    return Monitor(MonitoredBounds(ConformingSet(3, **bounds)), action)


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log().unsqueeze(1)


def test_good_weights_come_back_restricted_and_leave_their_worst_residuals() -> None:
    watch = monitor(floor=0.1, cap=0.6, order="a > b > c")
    weights = logs([0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.45, 0.3, 0.25])
    found = watch.watch(weights, MASK, SERVING)
    assert torch.equal(found, restrict(weights, SERVING.unsqueeze(1)))
    worst = watch.take_worst()
    assert worst["W-P"] == pytest.approx(-0.25, abs=1e-6)
    assert worst["W-S"] == pytest.approx(torch.tensor(0.35 / 0.4).log().item(), abs=1e-6)
    # The third row's one teacher has weight one, which is the cap of a set of one teacher.
    assert worst["W-B"] == pytest.approx(0.0, abs=1e-6)
    assert watch.take_violations() == []


def test_a_weight_of_zero_matters_where_its_teacher_serves_and_only_there() -> None:
    routed = logs([0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0])
    assert monitor().watch(routed, MASK, SERVING).exp().squeeze(1).tolist()[2] == [0.0, 0.0, 1.0]
    with pytest.raises(AxiomViolation, match="W-P"):
        monitor().watch(routed, MASK)
    with pytest.raises(AxiomViolation, match="W-P"):
        monitor().watch(logs([1.0, 0.0, 0.0], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]), MASK, SERVING)


def test_no_weight_on_those_that_serve_is_refused_whatever_the_action() -> None:
    for action in ("raise", "repair", "record"):
        with pytest.raises(AxiomViolation, match="the teachers that serve a row must have weight"):
            monitor(action).watch(logs([0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]), MASK, SERVING)


def test_rows_that_do_not_count_are_not_judged() -> None:
    hidden = torch.tensor([[False], [True], [True]])
    monitor().watch(logs([0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]), hidden, SERVING)


def test_a_sum_that_is_not_one_is_seen_before_restriction_hides_it() -> None:
    leaky = logs([0.5, 0.3, 0.1], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6])
    with pytest.raises(AxiomViolation, match="W-N"):
        monitor().watch(leaky, MASK, SERVING)
    watch = monitor("record")
    found = watch.watch(leaky, MASK, SERVING)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 1))
    assert [v["axiom"] for v in watch.take_violations()] == ["W-N"]


@pytest.mark.parametrize(
    ("first", "bounds", "axiom", "repaired"),
    [
        # Among two with floor .2 and cap .5 a weight may reach .5/.7.
        ([0.72, 0.18, 0.1], {"floor": 0.2, "cap": 0.5}, "W-B", [0.5 / 0.7, 0.2 / 0.7, 0.0]),
        ([0.2, 0.6, 0.2], {"order": "a > b > c"}, "W-S", [0.5, 0.5, 0.0]),
    ],
)
def test_a_breach_among_those_that_serve_is_repaired_among_them(
    first: list[float], bounds: dict[str, Any], axiom: str, repaired: list[float]
) -> None:
    weights = logs(first, [0.4, 0.35, 0.25], [0.3, 0.3, 0.4])
    with pytest.raises(AxiomViolation, match=axiom):
        monitor(**bounds).watch(weights, MASK, SERVING)
    watch = monitor("repair", **bounds)
    found = watch.watch(weights, MASK, SERVING).exp().squeeze(1)
    assert found[0].tolist() == pytest.approx(repaired, abs=1e-6)
    assert found[1].tolist() == pytest.approx([0.4, 0.35, 0.25], abs=1e-6)
    assert found[2].tolist() == [0.0, 0.0, 1.0]
    assert [(v["axiom"], v["action"]) for v in watch.take_violations()] == [(axiom, "repaired")]


def test_an_order_over_absent_teachers_alone_asks_nothing() -> None:
    watch = monitor(order="c > a = b")
    watch.watch(logs([0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05]), MASK, SERVING)
    assert watch.take_violations() == []
