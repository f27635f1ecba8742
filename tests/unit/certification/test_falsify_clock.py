"""What else runs on the machine must not change what a search finds; it keeps its time, and says what it left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from trivium.certification.falsify import clock, falsify
from trivium.certification.falsify.clock import Clock, TimeUp
from trivium.certification.specification import Result, Specification
from trivium.weighting import TorchJD
from trivium.weighting.base import UserRule, rule

#: Seconds by which a loaded machine or a call under way may exceed what is promised.
GRACE = 0.4


def made(function: Callable[[Tensor], Tensor]) -> UserRule:
    return rule(scale="token", features={"entropy": (0.0, 12.0)})(function)


class Machine:
    """Clocks that only the work done on them moves: ``load`` wall-clock seconds for each of CPU time."""

    def __init__(self, load: float) -> None:
        self.load, self.wall, self.cpu = load, 0.0, 0.0

    def work(self, seconds: float) -> None:
        self.cpu += seconds
        self.wall += seconds * self.load

    def sleep(self, seconds: float) -> None:
        self.wall += seconds

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: self.wall, thread_time=lambda: self.cpu))
        monkeypatch.setattr(clock, "queued", lambda: self.cpu * (self.load - 1.0))


def searched(monkeypatch: pytest.MonkeyPatch, load: float, microseconds: float) -> dict[str, Result]:
    """A search of an opaque rule that costs so much CPU time a row, on a machine of this load."""
    machine = Machine(load)
    machine.install(monkeypatch)

    def costly(entropy: Tensor) -> Tensor:
        machine.work(1e-6 * microseconds * entropy[..., 0].numel())
        entropy.numpy()
        return torch.softmax(-entropy, dim=-1)

    return falsify(made(costly), Specification(2, lipschitz=2.0), seconds=0.5)


@pytest.mark.parametrize(("microseconds", "told"), [(1.0, "lines"), (20.0, "a slow rule"), (2000.0, "cut short")])
def test_a_search_on_a_busy_machine_is_the_search_on_an_idle_one(
    monkeypatch: pytest.MonkeyPatch, microseconds: float, told: str
) -> None:
    idle, busy = (searched(monkeypatch, load, microseconds) for load in (1.0, 4.0))
    assert busy == idle
    assert all(told in result.search for result in idle.values())


def test_of_what_is_opaque_waiting_counts_and_waiting_for_a_core_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(load=5.0)
    machine.install(monkeypatch)
    captured, opaque = Clock(), Clock(waits=True)
    machine.work(2.0)
    machine.sleep(3.0)
    assert captured.seconds() == pytest.approx(2.0)
    assert opaque.seconds() == pytest.approx(5.0)
    opaque.limit = 4.0
    with pytest.raises(TimeUp):
        opaque.check()
    assert opaque.stopped


def test_the_clock_counts_work_and_counts_waiting() -> None:
    waiting = Clock(waits=True)
    time.sleep(0.1)
    assert waiting.seconds() >= 0.09
    working, start = Clock(), time.thread_time()
    while time.thread_time() - start < 0.05:
        pass
    assert working.seconds() >= 0.05


@pytest.mark.deep
@pytest.mark.parametrize("seconds", [0.2, 1.0])
def test_a_captured_rule_keeps_twice_its_seconds(seconds: float) -> None:
    names = [f"x{k}" for k in range(4)]

    def many(**x: Tensor) -> Tensor:
        w = torch.ones_like(x["x0"])
        for step in range(12):
            w = w * torch.softmax(-torch.where(x["x1"] > step, x["x2"] * step, x["x3"].sort(dim=-1).values), -1)
            w = w / w.sum(-1, keepdim=True)
        return w

    operator, asked = (
        rule(scale="token", features=dict.fromkeys(names, (0.0, 12.0)))(many),
        Specification(4, lipschitz=2.0),
    )
    falsify(operator, asked, seconds=0.1)  # which captures it
    start = time.thread_time()
    found = falsify(operator, asked, seconds=seconds)
    assert time.thread_time() - start < 2 * seconds + GRACE
    assert seconds < 1 or found["W-R"].verdict == "VIOLATED"


def test_a_rule_that_sleeps_is_called_no_more_when_its_time_is_up() -> None:
    calls = [0]

    def sleeping(entropy: Tensor) -> Tensor:
        time.sleep(0.5)
        entropy.numpy()
        calls[0] += 1
        return torch.softmax(-entropy, dim=-1)

    start = Clock(waits=True)
    found = falsify(made(sleeping), Specification(3, lipschitz=2.0), seconds=1.0)
    assert start.seconds() < 1.0 + 3 * 0.5 + GRACE  # the first call is a capture that fails, the second shows the cost
    assert 1 <= calls[0] <= 4
    for result in found.values():
        assert "stopped early at the time limit" in result.search
        assert "lines" in result.search.split("limit: ")[1]


@pytest.mark.deep
def test_a_solver_keeps_its_seconds() -> None:
    """10.5 s for two gradients and 3 minutes for three, at 0.2, once."""
    start = Clock(waits=True)
    found = falsify(TorchJD("cagrad"), Specification(3), seconds=0.2)
    assert start.seconds() < 3.0  # the import of the solver included
    assert "cut short or left out" in found["W-N"].search


def test_a_slow_rule_has_its_breach_confirmed_in_time() -> None:
    def slow(entropy: Tensor) -> Tensor:
        time.sleep(0.02)
        entropy.numpy()
        return 0.9 * torch.softmax(-entropy, dim=-1)

    found = falsify(made(slow), Specification(3), seconds=2.0)["W-N"]
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert found.witness.residual == pytest.approx(0.1)
