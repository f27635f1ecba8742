"""W-F: whether a row's weights depend on other rows, on the call, on the shape of the batch or on what came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trivium.axioms import FunctionOfItsRow
from trivium.certify.falsify.probe import Probe

#: Batch sizes whose first row is compared with the same row alone.
SIZES = (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200, 256, 257, 512, 1000, 1024)
LARGE = (2049, 4096, 10_000)
_REPEATS = 12
_DROPS = 250
#: Rows up to which every one is evaluated alone.
MANY = 64


class Changes:
    """How far weights of the same row differ between calls of one operator."""

    def __init__(self, probe: Probe, dtype: torch.dtype) -> None:
        self.probe, self.dtype, self.box = probe, dtype, probe.box

    def call(self, points: Tensor) -> Tensor | None:
        """Weights [..., K] of one call, or None where the operator refuses this shape or batch."""
        try:
            return self.probe.call(points, self.dtype)[0]
        except Exception:  # an undefined point is a matter of W-N; a refused shape is one that training would refuse
            return None

    def of(self, batch: Tensor, other: Tensor | None = None, patience: int = 0) -> Tensor:
        """The largest change of each row of ``batch`` [N, D] under every protocol, [N].

        Protocols: those of the axiom; every row alone (of a long batch 16); the batch in other shapes; with the rows
        of ``other`` put behind and before it; after a call on ``other``; with gradients on; and twelve more calls. If
        nothing changed, up to ``patience`` calls more, for a state that takes long to show.
        """
        worst = self._by_axiom(batch)
        reference = self._alone(batch)
        for weights in self._protocols(batch, other):
            worst = torch.maximum(worst, _difference(weights, reference))
        slack = FunctionOfItsRow().tolerance(self.dtype, self.box.teachers)
        while patience > 0 and float(worst.max()) <= slack:
            worst, patience = torch.maximum(worst, _difference(self.call(batch), reference)), patience - 1
        return worst

    def lasting(self, batch: Tensor, other: Tensor | None = None) -> Tensor:
        """The change that shows again right after: what an earlier, different call left behind does not count."""
        return torch.minimum(self.of(batch, other), self.of(batch, other))

    def _protocols(self, batch: Tensor, other: Tensor | None) -> Iterator[Tensor | None]:
        n, d = batch.shape
        yield self.call(batch)
        for stacked in (batch.reshape(n, 1, d), batch.reshape(1, n, d), batch.expand(2, n, d)):
            weights = self.call(stacked)
            yield weights.reshape(-1, n, self.box.teachers)[-1] if weights is not None else None
        if other is not None:
            behind, before = self.call(torch.cat([batch, other])), self.call(torch.cat([other, batch]))
            yield behind[:n] if behind is not None else None
            yield before[len(other) :] if before is not None else None
            self.call(other)
            yield self.call(batch)
            yield self._alone(batch)
        yield self.call(batch.clone().requires_grad_(True))
        for _ in range(_REPEATS):
            yield self.call(batch)

    def _alone(self, batch: Tensor) -> Tensor:
        """Every row in a call of its own; of a long batch some, the others NaN, which compares as no change."""
        alone = torch.full((len(batch), self.box.teachers), math.nan, dtype=torch.float64)
        for row in range(0, len(batch), 1 if len(batch) <= MANY else len(batch) // 16):
            weights = self.call(batch[row : row + 1])
            if weights is not None:
                alone[row] = weights[0]
        return alone

    def _by_axiom(self, batch: Tensor) -> Tensor:
        def evaluate(features: dict[str, Tensor]) -> Tensor:
            points = torch.cat([features[name].double() for name in self.box.ranges], dim=-1)
            weights = self.call(points)
            if weights is None:
                raise ValueError("refused")
            return weights.clamp(min=0.0).log()

        features = self.box.split(batch, torch.float64)
        if not self.box.ranges:
            return torch.zeros(len(batch), dtype=torch.float64)
        try:
            found = FunctionOfItsRow().residual(evaluate, features)  # type: ignore[arg-type]
        except ValueError:
            return torch.zeros(len(batch), dtype=torch.float64)
        return torch.where(found.isinf(), torch.zeros_like(found), found)


def _difference(weights: Tensor | None, reference: Tensor) -> Tensor:
    """max_k of the change per row [N]; rows without numbers on either side are a matter of W-N."""
    if weights is None or weights.shape != reference.shape:
        return torch.zeros(len(reference), dtype=torch.float64)
    one_nan = weights.isnan().any(dim=-1) != reference.isnan().any(dim=-1)
    change = (weights - reference).abs().amax(dim=-1).nan_to_num(nan=0.0, posinf=math.inf)
    return torch.where(one_nan & ~reference.isnan().any(dim=-1), torch.full_like(change, math.inf), change)


class Coupling:
    """A search for a batch in which some row's weights change."""

    def __init__(self, changes: Changes, pool: Tensor, limit: float, seed: int) -> None:
        self.changes, self.pool, self.limit = changes, pool, limit
        self.generator = torch.Generator().manual_seed(seed)
        self.worst = 0.0
        self.found: list[tuple[float, int, Tensor, Tensor | None]] = []

    def note(self, residual: Tensor, batch: Tensor, other: Tensor | None = None) -> None:
        """Keep the row that changes most, if it does."""
        if len(residual):
            value, row = residual.max(dim=0)
            self.worst = max(self.worst, float(value))
            if float(value) > self.limit:
                self.found.append((float(value), int(row), batch, other))

    def run(self, rounds: int) -> None:
        """Protocols on small batches; sizes; companions; the whole pool against itself in another order."""
        pick = self.pool[torch.randperm(len(self.pool), generator=self.generator)]
        small, company = pick[:16], self.pool[: min(32, len(self.pool))]
        self.note(self.changes.of(small, pick[16:24]), small, pick[16:24])
        self._sizes(pick)
        for start in range(rounds):
            self._companions(pick[24 + 32 * start : 56 + 32 * start], torch.cat([company, pick[-8:]]))
        self._whole(self.pool)

    def compare(self, batch: Tensor) -> None:
        """The first row of a batch against the same row alone."""
        weights, alone = self.changes.call(batch), self.changes.call(batch[:1])
        if weights is not None and alone is not None:
            self.note(_difference(weights[:1], alone), batch)

    def repeat(self, batch: Tensor, calls: int) -> None:
        """The same call over and over, for chance and for a state that is slow to show."""
        first = self.changes.call(batch)
        for _ in range(calls if first is not None else 0):
            weights = self.changes.call(batch)
            if weights is not None and first is not None and not torch.equal(weights, first):
                self.note(_difference(weights, first), batch)
                return

    def _sizes(self, pick: Tensor) -> None:
        row = pick[:1]
        alone = self.changes.call(row)
        for size in (*SIZES, *LARGE):
            batch = pick[torch.arange(size) % len(pick)]
            weights = self.changes.call(batch)
            if alone is not None and weights is not None:
                self.note(_difference(weights[:1], alone), batch)

    def _companions(self, rows: Tensor, company: Tensor) -> None:
        reference = self.changes.call(rows) if len(rows) else None
        if reference is None:
            return
        for one in company:
            for batch, part in (
                (torch.cat([rows, one[None]]), slice(0, len(rows))),
                (torch.cat([one[None], rows]), slice(1, len(rows) + 1)),
            ):
                weights = self.changes.call(batch)
                if weights is not None:
                    residual = torch.zeros(len(batch), dtype=torch.float64)
                    residual[part] = _difference(weights[part], reference)
                    self.note(residual, batch)

    def _whole(self, pool: Tensor) -> None:
        """Chunks of the pool as it comes, shuffled, sorted and doubled must agree."""
        n = len(pool)
        reference = self._chunks(pool, 512)
        orders: list[Callable[[], Tensor]] = [
            lambda: torch.randperm(n, generator=self.generator),
            lambda: torch.arange(n).flip(0),
            lambda: pool[:, 0].argsort() if pool.shape[1] else torch.arange(n),
            lambda: torch.arange(n).repeat_interleave(2)[:n],
        ]
        for number, make in enumerate(orders):
            order = make()
            size = (509, 64, 1021, 128)[number]
            weights = self._chunks(pool[order], size)
            if reference is None or weights is None:
                return
            residual = _difference(weights, reference[order])
            self.worst = max(self.worst, float(residual.max()))
            for row in residual.topk(min(2, n)).indices.tolist():
                if float(residual[row]) > self.limit:
                    # One of the two chunks that held the row is the one in which it changes.
                    for place, chunk_size, rows in ((row, size, pool[order]), (int(order[row]), 512, pool)):
                        start = place // chunk_size * chunk_size
                        chunk = rows[start : start + chunk_size]
                        self.found.append((float(residual[row]), place - start, chunk, None))

    def _chunks(self, points: Tensor, size: int) -> Tensor | None:
        parts = [self.changes.call(chunk) for chunk in points.split(size)]
        return None if any(part is None for part in parts) else torch.cat([p for p in parts if p is not None])

    def smallest(self) -> tuple[float, int, Tensor, Tensor | None] | None:
        """The change found in the fewest rows, with rows dropped as long as it persists: (size, row, batch, other)."""
        by_size = sorted(self.found, key=lambda f: (len(f[2]), -f[0]))
        found = by_size[:8] + sorted(self.found, key=lambda f: -f[0])[:4] + by_size[8:16]
        for _, row, batch, other in found:
            if len(batch) > MANY:
                reduced = self._drop(row, batch)
                if reduced is None:
                    continue
                row, batch = reduced
            change = self.changes.lasting(batch, other)
            row = row if float(change[row]) > self.limit else int(change.argmax())
            if float(change[row]) > self.limit:
                return float(change[row]), row, batch, other
        return None

    def _drop(self, row: int, batch: Tensor) -> tuple[int, Tensor] | None:
        """Halves of the other rows are dropped while the row still differs from itself alone."""
        alone = self.changes.call(batch[row : row + 1])

        def changed(rows: list[int]) -> bool:
            weights = self.changes.call(batch[rows])
            if alone is None or weights is None:
                return False
            return float(_difference(weights[[rows.index(row)]], alone)[0]) > self.limit

        rows, tries = list(range(len(batch))), 0
        if not changed(rows):
            return None
        size = len(rows) // 2
        while size >= 1 and tries < _DROPS:
            for start in range(0, len(rows), size):
                tries += 1
                fewer = [r for place, r in enumerate(rows) if not start <= place < start + size or r == row]
                if len(fewer) < len(rows) and changed(fewer):
                    rows = fewer
                    break
            else:
                size //= 2
        return rows.index(row), batch[rows]
