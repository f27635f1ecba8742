"""Every break of the bank is found, with a witness that replays on a fresh rule, and nothing else is called a break."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

import pytest

from bank.rules import BROKEN, CONFORMING, Case
from trivium.certify.falsify import falsify, replay
from trivium.certify.question import Finding, Witness

#: Nominal seconds of a search: less than the command line gives, so the bank stays a test.
SECONDS = 2.0
CASES = CONFORMING + BROKEN
#: Wall-clock seconds a rule may take in the median.
MEDIAN = 10.0


@pytest.fixture(scope="module")
def times() -> Iterator[list[float]]:
    spent: list[float] = []
    yield spent
    assert statistics.median(spent) < MEDIAN, f"median time per rule {statistics.median(spent):.1f} s"


def searched(case: Case, times: list[float]) -> dict[str, Finding]:
    start = time.perf_counter()
    found = falsify(case.make(), case.question, seconds=SECONDS)
    times.append(time.perf_counter() - start)
    return found


def test_the_bank_is_as_large_as_it_must_be() -> None:
    assert len(CONFORMING) >= 30
    assert len(BROKEN) >= 30
    assert len({case.name for case in CASES}) == len(CASES)
    assert set().union(*(case.breaks for case in BROKEN)) == {"W-F", "W-N", "W-P", "W-B", "W-R", "W-S"}


@pytest.mark.parametrize("case", CONFORMING, ids=lambda case: case.name)
def test_no_false_alarm(case: Case, times: list[float]) -> None:
    found = searched(case, times)
    assert tuple(found) == case.question.axioms
    alarms = {axiom: finding.witness for axiom, finding in found.items() if finding.verdict != "NOT FALSIFIED"}
    assert not alarms


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_break_is_found_and_replays(case: Case, times: list[float]) -> None:
    found = searched(case, times)
    violated = {axiom for axiom, finding in found.items() if finding.verdict == "VIOLATED"}
    assert case.breaks <= violated, {axiom: found[axiom] for axiom in case.breaks - violated}
    assert violated <= case.breaks | case.also, {axiom: found[axiom].witness for axiom in violated - case.breaks}
    for axiom in violated:
        witness = found[axiom].witness
        assert witness is not None
        stored = Witness.from_json(json.loads(json.dumps(witness.to_json())))
        assert stored == witness or axiom == "W-N"  # a residual that is NaN or infinite equals nothing
        residual = replay(case.make(), stored)
        assert stored.breaks(residual), f"{axiom}: {residual} on replay, {witness.residual} when found"
