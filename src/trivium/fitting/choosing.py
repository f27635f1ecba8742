"""Penalty and budget by cross-validation over documents, warm-started; and what guarantees cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.errors import InfeasibleError
from trivium.fitting.family import Family
from trivium.fitting.likelihood import Likelihood, layout
from trivium.fitting.observations import Observations
from trivium.fitting.optimize import climb

#: λ, strongest first. Each begins where the next weaker ended: a strong penalty leads into poorer optima, from which a
#: weaker one does not come out.
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
#: Nats of the whole that are tried, and drawn in the curve.
BUDGETS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
FLOORS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3)
#: Tokens, of whole documents, on which is chosen, and the folds they are cut into.
CHOOSING, FOLDS = 6_000, 3
#: Documents that suffice; of fewer, four times the tokens are taken.
ENOUGH = 15
#: Relative gain of a step at which an ascent stops here: a few millionths of a nat decide nothing.
_PRECISION = 5e-6


@dataclass(frozen=True)
class Point:
    """One point of a curve: the mean held-out gain over uniform weights, nats a token, and its standard error over
    documents."""

    at: float
    gain: float
    error: float


class Folds:
    """Documents in folds, each fold predicted by what was fitted to the others."""

    def __init__(self, family: Family, data: Observations, seed: int = 0) -> None:
        few = data.drawn(CHOOSING, seed)
        self.data = few if few.documents >= ENOUGH else data.drawn(4 * CHOOSING, seed)
        if self.data.documents < FOLDS:
            self.data = data
        self.number = min(FOLDS, self.data.documents)
        self.shape = layout(family, self.data)
        fold = self.data.folds(self.number, seed) if self.number > 1 else torch.zeros(len(self.data))
        self.place = torch.cat([(fold == number).nonzero().flatten() for number in range(self.number)])
        if not self.usable:
            return
        self._fitted = [Likelihood(family, self.data.where(fold != n), self.shape) for n in range(self.number)]
        self._judged = [Likelihood(family, self.data.where(fold == n), self.shape) for n in range(self.number)]
        self._document = self.data.document[self.place]
        self._uniform = self.data.uniform()[self.place]

    @property
    def usable(self) -> bool:
        """Whether there are two documents."""
        return self.number > 1

    def begin(self, family: Family, penalty: float, seed: int) -> list[Tensor]:
        """Return a start for every fold: the best of what zero and random strengths lead to."""
        draw, found = torch.Generator().manual_seed(seed), []
        size = self.shape.size
        starts = [spread * torch.randn(size, generator=draw, dtype=torch.float64) for spread in (0.0, 0.3, 1.0)]
        for part in self._fitted:
            fitted = part.again(family)
            reached = [climb(fitted, penalty, start, precision=_PRECISION, rounds=2) for start in starts]
            found.append(max(reached, key=lambda pair: pair[1])[0])
        return found

    def point(self, family: Family, penalty: float, starts: Sequence[Tensor], at: float) -> tuple[Point, list[Tensor]]:
        """Return the held-out gain of a family under a penalty, and where each fold ended."""
        found, ends = [], []
        for fitted, judged, start in zip(self._fitted, self._judged, starts, strict=True):
            end = climb(fitted.again(family), penalty, start, precision=_PRECISION, rounds=1)[0]
            found.append(judged.again(family).token_log_likelihood(end))
            ends.append(end)
        return self._point(torch.cat(found) - self._uniform, at), ends

    def _point(self, gain: Tensor, at: float) -> Point:
        documents, place = self._document.unique(return_inverse=True)
        mean = gain.mean()
        sums = torch.zeros(len(documents), dtype=torch.float64).index_add_(0, place, gain - mean)
        return Point(at, float(mean), float(sums.square().sum().sqrt() / len(gain)))


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose, and what it saw. All gains are held out of the folds that they judge, within the
    documents that the fit may use."""

    penalty: float
    budget: float
    penalties: tuple[Point, ...] = ()
    budgets: tuple[Point, ...] = ()
    floors: tuple[Point, ...] = ()
    costs: tuple[tuple[str, float], ...] = ()
    start: Tensor | None = None


def choose(
    family: Family, data: Observations, limit: float | None = None, penalty: float | None = None, seed: int = 0
) -> tuple[Family, Choice]:
    """Return the family with its budget chosen, and the choice; with a single document nothing can be chosen.

    Args:
        family: with the budget from which the search begins, or that is kept.
        limit: the largest budget of the whole that may be chosen; None keeps the family's.
        penalty: λ; None chooses it.
    """
    folds = Folds(family, data, seed)
    if not folds.usable:
        return family, Choice(1e-2 if penalty is None else penalty, family.whole)
    tried = PENALTIES if penalty is None else (penalty,)
    ends = folds.begin(family, tried[-1], seed)
    penalties: list[Point] = []
    path: list[list[Tensor]] = []
    for number in reversed(tried):
        point, ends = folds.point(family, number, ends, number)
        penalties.insert(0, point)
        path.insert(0, ends)
    place = _strongest(penalties)
    best, reached = penalties[place].at, path[place]
    budgets, by_budget = _along(folds, best, _scaled(family, limit or family.whole), reached, family.whole)
    if limit is not None:
        allowed = [point for point in budgets if point.at <= limit * (1 + 1e-9)]
        chosen = max(allowed, key=lambda point: point.gain).at
        family, reached = with_budget(family, chosen), by_budget[chosen]
    floors, _ = _along(folds, best, _floored(family, data.teacher_names), reached, family.floor)
    by_floor = {point.at: point.gain for point in floors}
    here, costs = by_floor[family.floor], []
    for name, other in freer(family).items():
        known = by_floor.get(0.0) if name == "floor" else None
        gain = folds.point(other, best, reached, 0.0)[0].gain if known is None else known
        costs.append((name, gain - here))
    start = torch.stack(reached).mean(0)
    return family, Choice(best, family.whole, tuple(penalties), budgets, floors, tuple(costs), start)


def _strongest(path: Sequence[Point]) -> int:
    """Return the first, strongest penalty that is as good as the best: within a tenth of its standard error. A weaker
    one would only leave strengths undetermined that decide nothing."""
    best = max(path, key=lambda point: point.gain)
    return next(n for n, point in enumerate(path) if point.gain >= best.gain - max(1e-4, 0.1 * best.error))


def with_budget(family: Family, whole: float) -> Family:
    """Return the family with so many nats in all; budgets by scale keep their proportions."""
    if isinstance(family.budget, float | int):
        return replace(family, budget=whole)
    return replace(family, budget={scale: number * whole / family.whole for scale, number in family.budget.items()})


def freer(family: Family) -> dict[str, Family]:
    """Return the family without each of its guarantees, by name."""
    found = {"budget": with_budget(family, 40.0)}
    if family.floor > 0:
        found["floor"] = replace(family, floor=0.0)
    if family.cap < 1:
        found["cap"] = replace(family, cap=1.0)
    if family.order is not None:
        found["order"] = replace(family, order=None, order_margin=0.0)
    return found


def _scaled(family: Family, limit: float) -> list[tuple[float, Family]]:
    whole = sorted({*BUDGETS, family.whole, limit})
    return [(number, with_budget(family, number)) for number in whole]


def _floored(family: Family, teacher_names: Sequence[str]) -> list[tuple[float, Family]]:
    found = []
    for floor in sorted({*FLOORS, family.floor}):
        other = replace(family, floor=floor)
        try:
            other.conforming(teacher_names)
        except InfeasibleError:
            continue
        if floor <= 1 / len(teacher_names):
            found.append((floor, other))
    return found


def _along(
    folds: Folds, penalty: float, path: Sequence[tuple[float, Family]], starts: Sequence[Tensor], origin: float
) -> tuple[tuple[Point, ...], dict[float, list[Tensor]]]:
    """Return a point for each family, each begun where its neighbour towards ``origin``, where the starts are from,
    ended."""
    points, ends = {}, {}
    for side in ([p for p in path if p[0] >= origin], [p for p in reversed(path) if p[0] < origin]):
        begun = starts
        for at, family in side:
            points[at], begun = folds.point(family, penalty, begun, at)
            ends[at] = list(begun)
    return tuple(points[at] for at, _ in path), ends
