"""Points on both sides of every branch in the graph of a rule, and the values at which it branches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from trivium.certification.falsify.ascent import climb
from trivium.certification.falsify.points import Points
from trivium.certification.falsify.sites import Sites, VisitedSites

#: Each round cuts a segment into 16 pieces, so 14 rounds are 56 halvings.
_CUTS, _ROUNDS = 16, 14
_ISLANDS = 6
_SITES = 96
_LEVELS = 10


@dataclass
class BranchBoundaries:
    """Pairs of neighbours on two sides of a branch.

    Attributes:
        low, high: [M, D], one pair a row, closer than any two points that a search would compare otherwise.
        levels: for each coordinate the values at which crossing it changes a branch, the most frequent first.
    """

    low: Tensor
    high: Tensor
    levels: list[list[float]]


class Guide:
    """Follows the branches of a captured rule."""

    def __init__(self, sites: Sites, points: Points) -> None:
        self.sites, self.points, self.box = sites, points, points.box

    def boundaries(self, pool: Tensor, seen: VisitedSites, pairs: int) -> BranchBoundaries:
        """Bisect every branch that takes two values in the pool, along one coordinate at a time."""
        ends = self._changing(seen, pairs)
        if ends is None:
            return self._nothing()
        a, b, site = pool[ends[0]], pool[ends[1]], ends[2]
        # From a to b one coordinate at a time: some step must change the branch, and it is parallel to an axis.
        d = self.box.dimension
        order = torch.randperm(d, generator=self.points.generator)
        steps = [a]
        for coordinate in order.tolist():
            step = steps[-1].clone()
            step[:, coordinate] = b[:, coordinate]
            steps.append(step)
        path = torch.stack(steps, dim=1)
        run = self.sites(path.reshape(-1, d))
        keys = run.keys.reshape(len(a), d + 1, -1).gather(2, site[:, None, None].expand(-1, d + 1, 1)).squeeze(-1)
        changed = keys[:, 1:] != keys[:, :-1]
        keep = changed.any(dim=1)
        first = changed.int().argmax(dim=1)
        rows = torch.arange(len(a))
        low, high, site = path[rows, first][keep], path[rows, first + 1][keep], site[keep]
        low, high = self.bisect(low, high, site)
        return BranchBoundaries(low, high, self._levels(low, high))

    def bisect(self, low: Tensor, high: Tensor, site: Tensor) -> tuple[Tensor, Tensor]:
        """Cut segments [M, D] on whose ends branch ``site`` [M] differs, down to neighbouring floats."""
        if not len(low):
            return low, high
        m, d = low.shape
        key = self.sites(low).keys.gather(1, site[:, None])
        t = torch.linspace(0, 1, _CUTS + 1, dtype=torch.float64)[1:-1, None]
        rows = torch.arange(m)
        for _ in range(_ROUNDS):
            path = self.box.snap(torch.lerp(low[:, None], high[:, None], t)).reshape(-1, d)
            keys = self.sites(path).keys.gather(1, site.repeat_interleave(_CUTS - 1)[:, None]).reshape(m, -1)
            other = torch.cat([keys != key, torch.ones(m, 1, dtype=torch.bool)], dim=1).int().argmax(dim=1)
            whole = torch.cat([low[:, None], path.reshape(m, -1, d), high[:, None]], dim=1)
            low, high = whole[rows, other], whole[rows, other + 1]
        return low, high

    def approach(self, pool: Tensor, seen: VisitedSites, generations: int) -> Tensor:
        """Points near branches that the pool rarely takes, alone and two at a time: evolution on their distances.

        A window such as |x − 3| < 1e-5 is missed by any sampling, but the distance to it is not.
        """
        targets, scale = self._targets(seen)
        if not targets:
            return pool[:0]
        first = torch.tensor([t[0] for t in targets])
        second = torch.tensor([t[1] for t in targets])

        def distance(run: VisitedSites, of: Tensor) -> Tensor:
            near = (run.distances.abs() / scale).nan_to_num(nan=1.0, posinf=1.0)
            return torch.maximum(near.gather(1, first[of][:, None]), near.gather(1, second[of][:, None])).squeeze(1)

        near = (seen.distances.abs() / scale).nan_to_num(nan=1.0, posinf=1.0)
        best = torch.maximum(near[:, first], near[:, second]).topk(min(_ISLANDS, len(pool)), dim=0, largest=False)
        owner = torch.arange(len(targets)).repeat_interleave(len(best.indices))
        return climb(
            lambda batch: -distance(self.sites(batch), owner.repeat_interleave(len(batch) // len(owner))),
            pool[best.indices.T.reshape(-1)],
            self.points,
            generations=generations,
            children=16,
        )

    def _targets(self, seen: VisitedSites) -> tuple[list[tuple[int, int]], Tensor]:
        """Branches that one side of is rare, and pairs of branches; the scale of each distance."""
        known = ~seen.distances.isnan().all(dim=0)
        scale = seen.distances.abs().nan_to_num(nan=0.0, posinf=0.0).median(dim=0).values.clamp(min=1e-12)
        sites = torch.nonzero(known).flatten().tolist()[: _SITES // 2]
        positive = (seen.distances > 0).double().mean(dim=0)
        rare = [s for s in sites if min(float(positive[s]), 1 - float(positive[s])) < 0.02]
        lively = [s for s in sites if s not in rare] if len(sites) > 12 else sites
        pool = (rare + lively)[:12]
        pairs = [(i, j) for place, i in enumerate(pool) for j in pool[place + 1 :]]
        return [(s, s) for s in sites] + pairs, scale

    def _changing(self, seen: VisitedSites, pairs: int) -> tuple[Tensor, Tensor, Tensor] | None:
        starts, ends, sites = [], [], []
        generator = self.points.generator
        n = len(seen.keys)
        count = 0
        for site in range(seen.keys.shape[1]):
            key = seen.keys[:, site]
            if count >= _SITES or bool((key == key[0]).all()):
                continue
            # A rare outcome must be an end of some pair, so pairs are drawn from each outcome alike.
            rare = torch.nonzero(key != key.mode().values).flatten()
            pick = rare[torch.randint(len(rare), (pairs,), generator=generator)]
            other = torch.randint(n, (pairs,), generator=generator)
            differ = key[pick] != key[other]
            if bool(differ.any()):
                count += 1
                starts.append(pick[differ])
                ends.append(other[differ])
                sites.append(torch.full((int(differ.sum()),), site))
        return (torch.cat(starts), torch.cat(ends), torch.cat(sites)) if starts else None

    def _levels(self, low: Tensor, high: Tensor) -> list[list[float]]:
        """Values at which a branch changes; a threshold written in the rule comes again and again."""
        counts: list[Counter[float]] = [Counter() for _ in self.box.groups]
        for u, v in zip(low, high, strict=True):
            for coordinate in torch.nonzero(u != v).flatten().tolist()[:1]:
                counts[int(self.box.feature[coordinate])][round(float(v[coordinate]), 9)] += 1
        common = [[value for value, _ in count.most_common(_LEVELS)] for count in counts]
        for values in common:
            ordered = sorted(values)
            values += [(x + y) / 2 for x, y in pairwise(ordered)]
        return [common[int(f)] for f in self.box.feature.tolist()]

    def _nothing(self) -> BranchBoundaries:
        none = torch.zeros(0, self.box.dimension, dtype=torch.float64)
        return BranchBoundaries(none, none, [[] for _ in range(self.box.dimension)])
