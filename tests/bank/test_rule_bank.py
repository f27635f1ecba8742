"""Every break of the bank is found, with a witness that replays on a fresh rule, and nothing else is called a break."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from operator import attrgetter

import pytest
import torch

from bank.rules import BROKEN, CONFORMING, Case
from tiers import spread
from trivium.certification.falsify import falsify, replay
from trivium.certification.specification import Result, Witness
from trivium.weighting.program import Program

#: Nominal seconds of a search: less than the command line gives, so the bank stays a test.
SECONDS = 2.0
CASES = CONFORMING + BROKEN
#: Wall-clock seconds a rule may take in the median.
MEDIAN = 10.0
NAME = attrgetter("name")


@pytest.fixture(scope="module")
def times() -> Iterator[list[float]]:
    spent: list[float] = []
    yield spent
    assert statistics.median(spent) < MEDIAN, f"median time per rule {statistics.median(spent):.1f} s"


def searched(case: Case, times: list[float]) -> dict[str, Result]:
    start = time.perf_counter()
    found = falsify(case.make(), case.specification, seconds=SECONDS)
    times.append(time.perf_counter() - start)
    return found


def test_the_bank_is_as_large_as_it_must_be() -> None:
    assert len(CONFORMING) >= 30
    assert len(BROKEN) >= 30
    assert len({case.name for case in CASES}) == len(CASES)
    assert set().union(*(case.breaks for case in BROKEN)) == {"W-F", "W-N", "W-P", "W-B", "W-R", "W-S"}


@pytest.mark.parametrize("case", spread(CONFORMING, 14, NAME))
def test_no_false_alarm(case: Case, times: list[float]) -> None:
    found = searched(case, times)
    assert tuple(found) == case.specification.axioms
    alarms = {axiom: result.witness for axiom, result in found.items() if result.verdict != "NOT FALSIFIED"}
    assert not alarms


@pytest.mark.parametrize("case", spread(BROKEN, 12, NAME, kind=lambda case: case.breaks))
def test_break_is_found_and_replays(case: Case, times: list[float]) -> None:
    found = searched(case, times)
    violated = {axiom for axiom, result in found.items() if result.verdict == "VIOLATED"}
    must = case.breaks - {"W-F"} if case.becomes else case.breaks
    assert must <= violated, {axiom: found[axiom] for axiom in must - violated}
    assert violated <= case.breaks | case.also, {axiom: found[axiom].witness for axiom in violated - case.breaks}
    for axiom in violated - ({"W-F"} if case.becomes else set()):  # by chance, of what draws anew at each capture
        witness = found[axiom].witness
        assert witness is not None
        stored = Witness.from_json(json.loads(json.dumps(witness.to_json())))
        assert stored == witness or axiom == "W-N"  # a residual that is NaN or infinite equals nothing
        residual = replay(case.make(), stored)
        assert stored.breaks(residual), f"{axiom}: {residual} on replay, {witness.residual} when found"


@pytest.mark.parametrize("case", [case for case in BROKEN if case.becomes], ids=lambda case: case.name)
def test_what_becomes_a_function_of_its_row_is_one(case: Case) -> None:
    """Neither rows beside a row, nor the size, shape or order of the batch, nor calls before it move its weights."""
    made, teachers = case.make(), case.specification.num_teachers
    ((name, interval),) = made.ranges.items()
    batch = torch.rand(64, teachers, generator=torch.Generator().manual_seed(0)) * interval.high
    batch[1] = batch[0]
    batch[2:4] *= 0.001
    program = made.program(teachers)
    assert isinstance(program, Program)
    alone = torch.cat([program({name: row[None]})[0] for row in batch])
    for _ in range(600):
        made(batch)  # as written, which may count, learn or draw
    many = batch.repeat(60, 1)
    for rows, weights in (
        (batch, program({name: batch})[0]),
        (many, program({name: many})[0]),
        (batch, program({name: batch.flip(0)})[0].flip(0)),
        (batch, program({name: batch[None]})[0][0]),
        (batch, program({name: batch.clone().requires_grad_(True)})[0].detach()),
    ):
        assert torch.allclose(weights, alone.repeat(len(rows) // 64, 1), atol=1e-6, rtol=0.0)
