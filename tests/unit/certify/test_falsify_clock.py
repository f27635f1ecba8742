"""What else runs on the machine must not change what a search finds; a rule that waits must not hold it up."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from trivium.certify.falsify import clock, falsify
from trivium.certify.falsify.clock import Clock
from trivium.certify.question import Finding, Question
from trivium.weighting.base import rule


class Machine:
    """Two clocks that only the work done on them moves: ``load`` wall-clock seconds for each of CPU time."""

    __slots__ = ("cpu", "load", "wall")  # not a dict, in which a search would look for a rule's numbers

    def __init__(self, load: float) -> None:
        self.load, self.wall, self.cpu = load, 0.0, 0.0

    def work(self, seconds: float) -> None:
        self.cpu += seconds
        self.wall += seconds * self.load

    def clocks(self) -> SimpleNamespace:
        return SimpleNamespace(monotonic=lambda: self.wall, thread_time=lambda: self.cpu)


def searched(monkeypatch: pytest.MonkeyPatch, load: float, microseconds: float) -> dict[str, Finding]:
    """A search of a rule that costs so much CPU time a row, on a machine of this load."""
    machine = Machine(load)
    monkeypatch.setattr(clock, "time", machine.clocks())

    @rule(scale="token", features={"entropy": (0.0, 12.0)})
    def costly(entropy: Tensor) -> Tensor:
        machine.work(1e-6 * microseconds * entropy[..., 0].numel())
        return torch.softmax(-entropy, dim=-1)

    return falsify(costly, Question(2, lipschitz=2.0), seconds=0.1)


#: 5 µs a row are not called slow, 3.9 times as many are; 8 µs are, and end before the hard stop, which 31 do not.
@pytest.mark.parametrize(("microseconds", "told"), [(5.0, None), (8.0, "a slow rule")])
def test_a_search_on_a_busy_machine_is_the_search_on_an_idle_one(
    monkeypatch: pytest.MonkeyPatch, microseconds: float, told: str | None
) -> None:
    idle, busy = (searched(monkeypatch, load, microseconds) for load in (1.0, 3.9))
    assert busy == idle
    for finding in idle.values():
        assert ("a slow rule" in finding.search) == (told is not None)
        assert "stopped early" not in finding.search


def test_what_takes_too_long_is_stopped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = searched(monkeypatch, 1.0, 2000.0)
    assert all("stopped early at the time limit" in finding.search for finding in found.values())


def test_where_the_thread_hardly_runs_the_wall_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(load=5.0)
    monkeypatch.setattr(clock, "time", machine.clocks())
    measured = Clock()
    machine.work(2.0)
    assert measured.seconds() == pytest.approx(10.0)
    machine.load = 1.0
    machine.work(2.0)  # four of twelve seconds: it works after all
    assert measured.seconds() == pytest.approx(4.0)


def test_the_clock_counts_work_and_counts_waiting() -> None:
    waiting = Clock()
    time.sleep(0.1)
    assert waiting.seconds() >= 0.1
    working, start = Clock(), time.thread_time()
    while time.thread_time() - start < 0.05:
        pass
    assert working.seconds() >= 0.05
