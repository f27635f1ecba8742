"""Points of the box that random sampling misses: corners, ties, one against the rest, edges, written thresholds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from trivium.certification.falsify.box import Box

#: Distances from an edge or a written number, in the feature's unit or of its span.
NEAR = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
_CORNERS = 4096


@dataclass
class Points:
    """A seeded source of points [N, D] of one box.

    Attributes:
        box: where the points lie.
        seed: of its own generator; the global one is left alone.
        levels: values worth trying for each coordinate, ascending.
    """

    box: Box
    seed: int
    levels: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.levels = [self._level(d, []) for d in range(self.box.dimension)]

    def add_levels(self, values: Sequence[float] | Sequence[Sequence[float]]) -> None:
        """Values to try besides: for every coordinate alike, or a list for each."""
        for d in range(self.box.dimension):
            mine = values[d] if len(values) == self.box.dimension and isinstance(values[d], Sequence) else values
            own = self._level(d, [float(v) for v in mine])  # type: ignore[arg-type, union-attr]
            self.levels[d] = torch.unique(torch.cat([self.levels[d], own]))

    def _level(self, d: int, extra: Sequence[float]) -> Tensor:
        low, high = float(self.box.low[d]), float(self.box.high[d])
        span = high - low
        values = [low, high, (low + high) / 2, 0.0, 1.0]
        for near in NEAR:
            values += [low + near * span, high - near * span, low + near, high - near]
        for value in extra:
            values += [value, -value, low + value * span]
            values += [value + sign * near for near in NEAR[:4] for sign in (1, -1)]
        level = torch.tensor([v for v in values if low <= v <= high], dtype=torch.float64)
        distinct: Tensor = torch.unique(level.round() if self.box.integer[d] else level)
        return distinct

    def uniform(self, n: int) -> Tensor:
        """Independent uniform points."""
        unit = torch.rand(n, self.box.dimension, generator=self.generator, dtype=torch.float64)
        return self.box.snap(self.box.low + unit * self.box.span)

    def sobol(self, n: int) -> Tensor:
        """Low-discrepancy points."""
        if self.box.dimension == 0:
            return torch.zeros(n, 0, dtype=torch.float64)
        unit = SobolEngine(self.box.dimension, scramble=True, seed=self.seed).draw(n, dtype=torch.float64)
        return self.box.snap(self.box.low + unit * self.box.span)

    def edges(self, n: int) -> Tensor:
        """Log-uniform distances, down to 1e-12 of the span, from a random corner."""
        shape = (n, self.box.dimension)
        depth = 10 ** (-12 * torch.rand(shape, generator=self.generator, dtype=torch.float64))
        top = torch.rand(shape, generator=self.generator) < 0.5
        return self.box.snap(
            torch.where(top, self.box.high - depth * self.box.span, self.box.low + depth * self.box.span)
        )

    def corners(self) -> Tensor:
        """Return all 2^D corners, or a random 4096 of them with the one-against-the-rest ones."""
        d = self.box.dimension
        if d <= 12:
            bits = torch.tensor(list(itertools.product((False, True), repeat=d)), dtype=torch.bool).reshape(2**d, d)
        else:
            some = torch.rand(_CORNERS, d, generator=self.generator) < 0.5
            one = torch.eye(d, dtype=torch.bool)
            bits = torch.cat([some, one, ~one])
        return torch.where(bits, self.box.high, self.box.low)

    def picks(self, n: int) -> Tensor:
        """Return every coordinate one of its levels."""
        columns = [level[torch.randint(len(level), (n,), generator=self.generator)] for level in self.levels]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(n, 0, dtype=torch.float64)

    def mixed(self, n: int) -> Tensor:
        """Return each coordinate a level or a random number, with a share that differs from row to row."""
        shape = (n, self.box.dimension)
        share = torch.rand(n, 1, generator=self.generator)
        return torch.where(torch.rand(shape, generator=self.generator) < share, self.picks(n), self.uniform(n))

    def tied(self, points: Tensor) -> Tensor:
        """Return the same points with teachers made equal in random groups, for all features at once; some off by a
        hair."""
        tied = points.clone()
        num_teachers = self.box.num_teachers
        group = torch.randint(max(1, num_teachers), (len(points), num_teachers), generator=self.generator)
        group[::3] = 0
        for coordinates in self.box.groups:
            if len(coordinates) == num_teachers:
                tied[:, coordinates] = points[:, coordinates].gather(1, group)
        hair = 10 ** (-2 - 10 * torch.rand(len(points), 1, generator=self.generator, dtype=torch.float64))
        hair[::2] = 0.0
        return self.box.snap(tied + hair * self.box.span * (torch.rand(points.shape, generator=self.generator) - 0.5))

    def odd_one(self, n: int) -> Tensor:
        """Near one-hot: all teachers at one level, one teacher at another."""
        picks, other = self.picks(n), self.picks(n)
        who = torch.randint(max(1, self.box.num_teachers), (n, 1), generator=self.generator)
        for coordinates in self.box.groups:
            if len(coordinates) == self.box.num_teachers:
                rest = picks[:, coordinates[:1]].expand(-1, self.box.num_teachers)
                picks[:, coordinates] = rest.scatter(1, who, other[:, coordinates].gather(1, who))
        return self.box.snap(picks)

    def pool(self, n: int) -> Tensor:
        """About n points of every kind, each kind in a fixed share."""
        part = max(16, n // 8)
        some = torch.cat([self.picks(part), self.mixed(2 * part), self.sobol(part), self.edges(part)])
        return torch.cat(
            [self.corners(), self.odd_one(part), some, self.tied(some[:: max(1, len(some) // (2 * part))])]
        )
