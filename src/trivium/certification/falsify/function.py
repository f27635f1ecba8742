"""W-F: a captured rule that is another function as written, an opaque one that looks at other rows or earlier calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp
from trivium.certification.falsify.probe import Probe
from trivium.scheme.tree import leaves
from trivium.weighting.base import Operator, UserRule
from trivium.weighting.program import Program

#: Batch sizes whose first row is compared with the same row alone.
SIZES = (2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 63, 65, 100, 129, 200, 257, 512, 1024, 2049, 4096, 10_000)
_REPEATS = 12
_CHUNK = 512
_ENOUGH = 64
_DROPS = 250
#: Rows up to which every one is evaluated alone.
MANY = 64
#: A change found: its size, the row, the batch, and the rows that were put beside it or called before.
Found = tuple[float, int, Tensor, Tensor | None]


def from_graph(operator: Operator, box: Box, points: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how far an operator's user functions, as they are written, are from their graphs at each row of a batch,
    [N]."""
    worst = torch.zeros(len(points), dtype=torch.float64)
    features = box.split(points, dtype)
    for rule in leaves(operator):
        program = rule.program(box.num_teachers, dtype) if isinstance(rule, UserRule) else None
        if not isinstance(rule, UserRule) or not isinstance(program, Program):
            continue
        alone = program(features)[0]
        with torch.no_grad():
            written = rule.as_written(features).double()
        worst = torch.maximum(worst, difference(written, alone.double()))
    return worst


def differing(operator: Operator, box: Box, dtype: torch.dtype) -> tuple[Tensor, int, int | None] | None:
    """Return a batch [N, D] on which a user's function in an operator is not its graph, the row, and the line
    if known."""
    for rule in leaves(operator):
        found = rule.difference(box.num_teachers, dtype) if isinstance(rule, UserRule) else None
        if found is None:
            continue
        rows = len(next(iter(found.features.values())))
        points = box.center.repeat(rows, 1)
        for name, group in zip(box.ranges, box.groups, strict=True):
            if name in found.features:
                points[:, group] = found.features[name].double()
        return points, found.row, found.line
    return None


class Changes:
    """How far weights of the same row differ between calls of one opaque operator."""

    def __init__(self, probe: Probe, dtype: torch.dtype) -> None:
        self.probe, self.dtype, self.box = probe, dtype, probe.box

    def call(self, points: Tensor) -> Tensor | None:
        """Return weights [..., K] of one call, or None where the operator refuses this shape or batch."""
        try:
            return self.probe.call(points, self.dtype)[0]
        except TimeUp:
            raise
        except Exception:  # an undefined point is a matter of W-N; a refused shape is one that training would refuse
            return None

    def of(self, batch: Tensor, other: Tensor | None = None, patience: int = 0) -> Tensor:
        """Return the largest change of each row of ``batch`` [N, D] under every protocol, [N].

        Protocols: every row alone (of a long batch 16); reversed; rotated; among extreme rows; in other shapes; with
        the rows of ``other`` put behind and before it; after a call on ``other``; and twelve more calls. If nothing
        changed, up to ``patience`` calls more, for a state that takes long to show.
        """
        reference = self._alone(batch)
        worst = torch.zeros(len(batch), dtype=torch.float64)
        for weights in self._protocols(batch, other):
            worst = torch.maximum(worst, difference(weights, reference))
        while patience > 0 and float(worst.max()) <= 0:
            worst, patience = torch.maximum(worst, difference(self.call(batch), reference)), patience - 1
        return worst

    def lasting(self, batch: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the change that shows again right after: what an earlier, different call left behind does not
        count."""
        return torch.minimum(self.of(batch, other), self.of(batch, other))

    def beside(self, batch: Tensor, row: int) -> float:
        """Return how far one row of a batch is from itself alone, in two calls."""
        weights, alone = self.call(batch), self.call(batch[row : row + 1])
        return 0.0 if weights is None or alone is None else float(difference(weights[[row]], alone)[0])

    def _protocols(self, batch: Tensor, other: Tensor | None) -> Iterator[Tensor | None]:
        n, d = batch.shape
        every = torch.arange(n)
        yield self.call(batch)
        for order in (every.flip(0), every.roll(1)):
            weights = self.call(batch[order])
            yield weights[order.argsort()] if weights is not None else None
        for stacked in (batch.reshape(n, 1, d), batch.reshape(1, n, d), batch.expand(2, n, d)):
            weights = self.call(stacked)
            yield weights.reshape(-1, n, self.box.num_teachers)[-1] if weights is not None else None
        for beside in (self.box.low[None], self.box.high[None], other):
            if beside is not None:
                behind, before = self.call(torch.cat([batch, beside])), self.call(torch.cat([beside, batch]))
                yield behind[:n] if behind is not None else None
                yield before[len(beside) :] if before is not None else None
        if other is not None:
            self.call(other)
            yield self.call(batch)
            yield self._alone(batch)
        for _ in range(_REPEATS):
            yield self.call(batch)

    def _alone(self, batch: Tensor) -> Tensor:
        """Return every row in a call of its own; of a long batch some, the others NaN, which compares as no change."""
        alone = torch.full((len(batch), self.box.num_teachers), math.nan, dtype=torch.float64)
        for row in range(0, len(batch), 1 if len(batch) <= MANY else len(batch) // 16):
            weights = self.call(batch[row : row + 1])
            if weights is not None:
                alone[row] = weights[0]
        return alone


def difference(weights: Tensor | None, reference: Tensor) -> Tensor:
    """max_k of the change per row [N]; rows without numbers on either side are a matter of W-N."""
    if weights is None or weights.shape != reference.shape:
        return torch.zeros(len(reference), dtype=torch.float64)
    one_nan = weights.isnan().any(dim=-1) != reference.isnan().any(dim=-1)
    change = (weights - reference).abs().amax(dim=-1).nan_to_num(nan=0.0, posinf=math.inf)
    return torch.where(one_nan & ~reference.isnan().any(dim=-1), torch.full_like(change, math.inf), change)


class Coupling:
    """A search for a batch in which some row of ``pool`` [N, D] has other weights."""

    def __init__(self, changes: Changes, pool: Tensor, limit: float, seed: int) -> None:
        self.changes, self.pool, self.limit = changes, pool, limit
        self.generator = torch.Generator().manual_seed(seed)
        self.worst = 0.0
        self.found: list[Found] = []

    def run(self, rounds: int, calls: int) -> None:
        """Protocols on a small batch; batches of many sizes, orders and companions; the same call over and over."""
        pick = self.pool[torch.randperm(len(self.pool), generator=self.generator)]
        self._note(self.changes.of(pick[:8], pick[8:16]), pick[:8], pick[8:16])
        parts = [self.changes.call(chunk) for chunk in self.pool.split(_CHUNK)]
        if any(part is None for part in parts):
            return
        reference = torch.cat([part for part in parts if part is not None])
        for rows in self._batches(rounds):
            change, batch = difference(self.changes.call(self.pool[rows]), reference[rows]), self.pool[rows]
            size, row = float(change.max()), int(change.argmax())
            self.worst = max(self.worst, size)
            if size > self.limit and len(self.found) < _ENOUGH:
                # The row has other weights in this batch than by itself, or it had in the one before.
                start = int(rows[row]) // _CHUNK * _CHUNK
                here = self.changes.beside(batch, row) > self.limit
                before = (size, int(rows[row]) - start, self.pool[start : start + _CHUNK], None)
                self.found.append((size, row, batch, None) if here else before)
        first = self.changes.call(pick[:2])
        for _ in range(calls if first is not None else 0):
            again = self.changes.call(pick[:2])
            if first is not None and self._note(difference(again, first), pick[:2]):
                return

    def _note(self, change: Tensor, batch: Tensor, other: Tensor | None = None) -> bool:
        """Keep the row that changes most, if one does."""
        value, row = change.max(dim=0)
        self.worst = max(self.worst, float(value))
        if float(value) > self.limit:
            self.found.append((float(value), int(row), batch, other))
        return float(value) > self.limit

    def _batches(self, rounds: int) -> Iterator[Tensor]:
        """Yield rows of the pool that are called together."""
        n = len(self.pool)
        order = torch.randperm(n, generator=self.generator)
        yield from (order[torch.arange(size) % n] for size in SIZES)
        for start in range(rounds):
            rows = order[32 * start : 32 * start + 32]
            for one in torch.cat([torch.arange(min(32, n)), order[-8:]]):
                yield torch.cat([rows, one[None]])
                yield torch.cat([one[None], rows])
        yield from order.split(509)
        yield from (self.pool[:, 0].argsort() if self.pool.shape[1] else order).split(1021)

    def ranked(self) -> list[Found]:
        """Return what was found, in the fewest rows first."""
        by_size = sorted(self.found, key=lambda f: (len(f[2]), -f[0]))
        return [*by_size[:8], *sorted(self.found, key=lambda f: -f[0])[:4], *by_size[8:16]]


def drop(row: int, batch: Tensor, holds: Callable[[Tensor, int], bool]) -> tuple[int, Tensor]:
    """Halves of the other rows are dropped as long as ``holds`` of (batch, place of the row) in what is left."""
    rows, tries, size = list(range(len(batch))), 0, len(batch) // 2
    while size >= 1 and tries < _DROPS:
        for start in range(0, len(rows), size):
            tries += 1
            fewer = [r for place, r in enumerate(rows) if not start <= place < start + size or r == row]
            if len(fewer) < len(rows) and holds(batch[fewer], fewer.index(row)):
                rows = fewer
                break
        else:
            size //= 2
    return rows.index(row), batch[rows]
