"""Which cells a run holds and in what order, fitted into the time there is.

A block is one setting, one condition and one seed with all its arms: what is compared within a block shares initial
weights and batches. Blocks go seed by seed through all settings and conditions, so that whenever time runs out the
finished ones cover everything alike. When the whole does not fit, less is planned, in steps that the result tells:
first a slow setting, which text is, trains for fewer steps and has fewer seeds, then all have fewer.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.study.corruption import CONDITIONS
from benchmarks.study.store import Cell

Steps = Mapping[str, int] | None

#: (steps of the slow settings, seeds of the slow settings, seeds of all), most wanted first.
LADDER = (
    *((1.0, 5, 5), (0.75, 5, 5), (0.5, 5, 5), (0.5, 3, 5), (0.25, 3, 5), (0.125, 3, 5), (0.125, 1, 5)),
    *((0.125, 1, 3), (0.125, 1, 2), (0.125, 1, 1)),
)
#: A setting is slow if a cell takes longer than this, in seconds.
SLOW = 15.0


@dataclass(frozen=True)
class Shape:
    """What the plan needs to know of a setting."""

    name: str
    corruption: str
    steps: int
    data: Mapping[str, str]  #: fingerprint by condition
    formulas: Mapping[str, Mapping[str, str]]  #: by condition and arm
    seconds: float  #: of one cell at full steps


@dataclass(frozen=True)
class Plan:
    """Steps and seeds of each setting, and whether the whole is expected to fit."""

    steps: Mapping[str, int]
    seeds: Mapping[str, int]
    seconds: float
    fits: bool

    def cells(self, shapes: list[Shape]) -> Iterator[Cell]:
        """All cells, block by block."""
        for seed in range(max(self.seeds.values(), default=0)):
            for shape in shapes:
                if seed < self.seeds[shape.name]:
                    for condition in CONDITIONS:
                        yield from block(shape, condition, seed, self.steps[shape.name])


def block(shape: Shape, condition: str, seed: int, steps: int) -> list[Cell]:
    """One setting, condition and seed under every arm."""
    corruption = "" if condition == "clean" else shape.corruption
    return [
        Cell(shape.name, condition, corruption, arm, seed, steps, formula, shape.data[condition])
        for arm, formula in shape.formulas[condition].items()
    ]


def fit(
    shapes: list[Shape], available: float, seeds: int = 5, store: Container[Cell] = (), steps: Steps = None
) -> Plan:
    """The first rung of :data:`LADDER` that fits into ``available`` CPU-seconds, else the last.

    Args:
        available: wall-clock seconds times processes.
        seeds: at most so many.
        store: cells that are finished and cost nothing any more.
        steps: those of an earlier call, which stay: cells of other steps are no use to its own.
    """
    plan = Plan({}, {}, 0.0, True)
    for share, slow_seeds, all_seeds in LADDER:
        taken, count, total = {}, {}, 0.0
        for shape in shapes:
            slow = shape.seconds > SLOW
            taken[shape.name] = (steps or {}).get(shape.name) or max(1, round(shape.steps * (share if slow else 1.0)))
            count[shape.name] = min(seeds, slow_seeds if slow else all_seeds)
            cells = [
                cell
                for seed in range(count[shape.name])
                for condition in CONDITIONS
                for cell in block(shape, condition, seed, taken[shape.name])
            ]
            total += sum(cell not in store for cell in cells) * shape.seconds * taken[shape.name] / shape.steps
        plan = Plan(taken, count, total, total <= available)
        if plan.fits:
            break
    return plan
