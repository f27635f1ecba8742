"""The monitor: what breaks an axiom raises, is repaired or is recorded; a NaN always raises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trivium.errors import AxiomViolation, InfeasibleError
from trivium.scheme import compose
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import MonitorSection

NAMES = ("a", "b", "c")
ALL = torch.ones(1, 2, dtype=torch.bool)


def monitor(action: Any = "raise", **bounds: Any) -> Monitor:
    if isinstance(bounds.get("order"), str):
        bounds["order"] = Order.parse(bounds["order"], NAMES)
    return Monitor(MonitoredBounds(ConformingSet(3, **bounds)), action)


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor([list(rows)]).log()


GOOD = [0.5, 0.3, 0.2]
#: What breaks each axiom, the bounds under which it does, and by how much.
BROKEN = {
    "W-N": ([0.5, 0.3, 0.4], {}, 0.2),
    "W-P": ([0.7, 0.3, 0.0], {}, 0.0),
    "W-B": ([0.9, 0.06, 0.04], {"floor": 0.05, "cap": 0.8}, 0.1),
    "W-S": ([0.2, 0.5, 0.3], {"order": "a > b > c", "order_margin": 0.1}, 0.1 + torch.tensor(2.5).log().item()),
}


def test_good_weights_pass_untouched_and_leave_their_worst_residuals() -> None:
    watch = monitor(floor=0.05, cap=0.8, order="a > b > c")
    weights = logs(GOOD, [0.4, 0.35, 0.25])
    assert watch.watch(weights, ALL) is weights
    worst = watch.take_worst()
    assert set(worst) == {"W-N", "W-P", "W-B", "W-S"}
    assert worst["W-P"] == pytest.approx(-0.2, abs=1e-6)
    assert worst["W-B"] == pytest.approx(max(0.05 - 0.2, 0.5 - 0.8), abs=1e-6)
    assert worst["W-S"] == pytest.approx(torch.tensor(0.35 / 0.4).log().item(), abs=1e-6)
    assert abs(worst["W-N"]) < 1e-6
    assert watch.take_worst() == {}
    assert watch.take_violations() == []


def test_the_worst_is_kept_over_batches() -> None:
    watch = monitor()
    watch.watch(logs(GOOD, GOOD), ALL)
    watch.watch(logs([0.05, 0.05, 0.9], GOOD), ALL)
    watch.watch(logs(GOOD, GOOD), ALL)
    assert watch.take_worst()["W-P"] == pytest.approx(-0.05, abs=1e-6)


@pytest.mark.parametrize("axiom", list(BROKEN))
def test_a_violation_raises(axiom: str) -> None:
    row, bounds, residual = BROKEN[axiom]
    with pytest.raises(AxiomViolation, match=axiom) as caught:
        monitor(**bounds).watch(logs(GOOD, row), ALL)
    assert f"{residual:.3g}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axiom", list(BROKEN))
def test_a_violation_is_repaired(axiom: str) -> None:
    row, bounds, residual = BROKEN[axiom]
    watch = monitor("repair", **bounds)
    weights = logs(GOOD, row)
    repaired = watch.watch(weights, ALL)
    (violation,) = watch.take_violations()
    assert violation["axiom"] == axiom
    assert violation["action"] == "repaired"
    assert violation["residual"] == pytest.approx(residual, abs=1e-6)
    assert watch.take_violations() == []
    torch.testing.assert_close(repaired[0, 0], weights[0, 0], atol=1e-5, rtol=0)  # a good row stays
    if axiom != "W-P":  # its repair needs a floor: without one the least change of a zero is none
        again = monitor(**bounds)
        again.watch(repaired, ALL)
    torch.testing.assert_close(repaired.exp().sum(-1), torch.ones(1, 2))


@pytest.mark.parametrize("axiom", list(BROKEN))
def test_a_violation_is_recorded(axiom: str) -> None:
    row, bounds, residual = BROKEN[axiom]
    watch = monitor("record", **bounds)
    weights = logs(GOOD, row)
    used = watch.watch(weights, ALL)
    (violation,) = watch.take_violations()
    assert violation == {"axiom": axiom, "residual": pytest.approx(residual, abs=1e-6), "action": "recorded"}
    if axiom == "W-N":
        torch.testing.assert_close(used[0, 1].exp(), torch.tensor(row) / sum(row))  # no distribution: normalized
        torch.testing.assert_close(used[0, 0], weights[0, 0])
    else:
        assert used is weights


@pytest.mark.parametrize("action", ["raise", "repair", "record"])
def test_a_nan_always_raises(action: str) -> None:
    weights = logs(GOOD, GOOD)
    weights[0, 1, 2] = torch.nan
    watch = monitor(action)
    with pytest.raises(AxiomViolation, match="NaN"):
        watch.watch(weights, ALL)
    assert watch.take_worst() == {}
    assert watch.take_violations() == []


class Reads(TorchDispatchMode):
    """Counts the numbers that are read one by one out of tensors: each makes a GPU's queue run dry."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_weights_that_pass_are_read_at_once() -> None:
    watch, weights = monitor(floor=0.05, cap=0.8, order="a > b > c"), logs(GOOD, GOOD)
    with Reads() as reads:
        watch.watch(weights, ALL)
    assert reads.count == 0
    with Reads() as reads:
        bool(weights.isnan().any())
    assert reads.count == 1


@pytest.mark.parametrize("bad", [[0.9, 0.9, 0.9], [float("nan")] * 3, [1.0, 0.0, 0.0]])
def test_positions_that_do_not_count_are_not_judged(bad: list[float]) -> None:
    watch = monitor(floor=0.05)
    weights = logs(GOOD, bad)
    mask = torch.tensor([[True, False]])
    assert watch.watch(weights, mask) is weights
    none = monitor()
    assert none.watch(logs(bad, bad), torch.zeros(1, 2, dtype=torch.bool)) is not None
    assert none.take_worst() == {}


def test_a_repair_leaves_positions_that_do_not_count() -> None:
    watch = monitor("repair", floor=0.1)
    weights = logs([0.9, 0.05, 0.05], [0.98, 0.01, 0.01])
    repaired = watch.watch(weights, torch.tensor([[True, False]]))
    assert torch.equal(repaired[0, 1], weights[0, 1])
    assert float(repaired[0, 0].exp().min()) >= 0.1 - 1e-6


def test_weights_shared_by_all_positions_can_be_repaired() -> None:
    watch = monitor("repair", floor=0.1)
    shared = torch.tensor([0.9, 0.05, 0.05]).log().expand(2, 4, 3)
    repaired = watch.watch(shared, torch.ones(2, 4, dtype=torch.bool))
    torch.testing.assert_close(repaired.exp().amin(-1), torch.full((2, 4), 0.1))


def test_bounds_are_the_schemes_promise_unless_the_recipe_states_its_own() -> None:
    scheme = compose(NAMES, floor=0.05, cap=0.8, order="a > b = c", order_margin=0.1)
    promised = MonitoredBounds.of(scheme, MonitorSection()).conforming
    assert (promised.floor, promised.cap, promised.order_margin) == (0.05, 0.8, 0.1)
    assert promised.order == Order.parse("a > b = c", NAMES)
    own = MonitoredBounds.of(scheme, MonitorSection(floor=0.1, cap=0.7, order="c > a = b")).conforming
    assert (own.floor, own.cap) == (0.1, 0.7)
    assert own.order == Order.parse("c > a = b", NAMES)
    free = MonitoredBounds.of(compose(NAMES), MonitorSection()).conforming
    assert (free.floor, free.cap, free.order) == (0.0, 1.0, None)
    assert set(Monitor(MonitoredBounds(free), "raise").axioms) == {"W-N", "W-P"}


def test_bounds_that_no_weights_meet_are_refused() -> None:
    with pytest.raises(InfeasibleError):
        MonitoredBounds.of(compose(NAMES), MonitorSection(floor=0.4))
