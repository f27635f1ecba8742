"""The passes of a search over one weight vector or pair at a time; each adds to what its ground has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.certify.falsify.ascent import ascend, climb
from trivium.certify.falsify.box import Box
from trivium.certify.falsify.ground import Ground
from trivium.certify.falsify.guide import Guide
from trivium.certify.falsify.objectives import Objective, Worst
from trivium.certify.falsify.points import Points
from trivium.certify.falsify.probe import Probe
from trivium.certify.falsify.regularity import climb_pairs, climb_slopes, noise, zoom
from trivium.certify.falsify.scan import lines, scan
from trivium.certify.falsify.trace import traced

#: Axioms whose tolerance still says something in bfloat16.
_NARROW = frozenset({"W-N", "W-P", "W-B"})
_STARTS = 24
#: Steps, in spans, by which points leave a branch on either side.
_AWAY = (1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def follow(ground: Ground, pool: Tensor) -> Tensor:
    """Bisect the branches that a trace sees; returns the pool with points at and around them."""
    probe, points = ground.probe, ground.points
    some = ground.shuffled(pool)[: ground.count(4096)]
    seen = traced(probe, some) if ground.dtype is torch.float64 else None
    if seen is None or seen.keys.shape[1] == 0:
        return pool
    guide = Guide(probe, points, seen.keys.shape[1])
    close = guide.approach(some, seen, generations=int(12 + 8 * ground.effort))
    both = torch.cat([close, some])
    run = traced(probe, both, guide.columns)
    if run is None:
        return pool
    found = guide.boundaries(both, run, pairs=6)
    points.add_levels(found.levels)
    richer = torch.cat([points.picks(ground.count(8192)), points.mixed(ground.count(4096))])
    ground.see(richer)
    sides = torch.cat([found.low, found.high])
    log_w = ground.see(sides)[1]
    for pairs in ground.pairs:
        pairs.observe(found.low, found.high, log_w[: len(found.low)], log_w[len(found.low) :])
    step = (found.high - found.low).sign() * ground.box.span
    around = torch.cat(
        [ground.box.snap(x) for size in _AWAY for x in (found.low - size * step, found.high + size * step)]
    )
    ground.see(torch.cat([close, around]))
    ground.said.append(f"{len(sides)} points beside branches, by bisection")
    keep = ground.shuffled(torch.cat([sides, close, around]))[:4096]
    return torch.cat([pool, keep, richer[:2048]])


def scan_lines(ground: Ground, pool: Tensor) -> None:
    """Dense lines along every coordinate through four base points; the oddest intervals are cut further."""
    bases = torch.cat([ground.points.uniform(2), ground.shuffled(pool)[:2]])
    start, end = lines(ground.points, bases)
    if len(start) == 0:
        return
    # Without gradients there are no operations to trace either, so lines are all there is to find a spike.
    opaque = len(ascend(lambda _, w, log_w: log_w[:, 0], bases, ground.probe, steps=1)) == 0
    count = max(512, min(2**17, int(ground.effort * (2.4e6 if opaque else 6e5) / len(start))))
    low, high = scan(start, end, count, ground.see, ground.probe)
    for pairs in ground.pairs:
        residual = pairs.observe(low, high, ground.see(low)[1], ground.see(high)[1])
        top = residual.topk(min(48, len(residual))).indices
        zoom(low[top], high[top], ground.see, pairs)
        zoom(low, high, ground.see, pairs, levels=3, bends=True)
    ground.said.append(f"{len(start)} lines of {count:,} points")


def climb_all(ground: Ground) -> None:
    """Gradients and evolution on every objective, from the worst points seen and from fresh ones."""
    for index, objective in enumerate(ground.worst.objectives):
        known = ground.worst.starts(index)
        if known is None or ground.box.dimension == 0:
            continue
        starts = torch.cat([known, ground.points.mixed(_STARTS), ground.points.uniform(_STARTS)])
        ground.see(ascend(objective.value, starts, ground.probe, steps=int(6 + 10 * ground.effort)))
        _evolve(ground, objective, index, ground.dtype)
    ground.said.append("gradient and evolutionary ascent")


def _evolve(ground: Ground, objective: Objective, index: int, dtype: torch.dtype) -> None:
    known = ground.worst.starts(index)
    if known is None or ground.box.dimension == 0:
        return
    climb(
        lambda batch: objective.value(batch, *ground.see(batch, dtype)),
        torch.cat([known, ground.points.uniform(8), ground.points.picks(8)]),
        ground.points,
        generations=int(8 + 16 * ground.effort),
        children=24,
        probe=ground.probe,
    )


def slopes(ground: Ground, pool: Tensor) -> None:
    """Local slopes, random segments and the worst pairs, for W-R and declared regularity."""
    points = ground.points
    for pairs in ground.pairs:
        if ground.box.dimension == 0:
            continue
        u, v = points.uniform(24), points.uniform(24)
        pairs.noise = noise(u, v, ground.see, pairs)
        zoom(u, v, ground.see, pairs)
        zoom(u, v, ground.see, pairs, bends=True)
        shuffled = ground.shuffled(pool)
        one, two = shuffled[: 2 * (min(len(shuffled), ground.count(4096)) // 2)].chunk(2)
        far = pairs.observe(one, two, ground.see(one)[1], ground.see(two)[1]).topk(min(16, len(one))).indices
        zoom(one[far], two[far], ground.see, pairs)
        starts = torch.cat([shuffled, points.uniform(64)])[-ground.count(1280 // (1 + ground.box.dimension)) :]
        climb_slopes(starts, ground.see, pairs, points, ground.probe, int(4 + 8 * ground.effort))
        climb_pairs(ground.see, pairs, points, ground.probe, int(4 + 12 * ground.effort))


def other_dtypes(ground: Ground, pool: Tensor) -> None:
    """float32 for every pointwise axiom, bfloat16 for W-N, W-P and W-B."""
    names = [str(ground.dtype)]
    for dtype in (torch.float32, torch.bfloat16):
        if dtype is ground.dtype or not ground.probe.accepts(ground.box.center, dtype):
            continue
        names.append(str(dtype))
        everything = ground.worst
        best = [c.point[None] for kept in everything.best.values() for c in kept]
        if dtype is torch.bfloat16:
            ground.worst = Worst([o for o in everything.objectives if o.axiom in _NARROW])
        ground.see(torch.cat([pool[: ground.count(6144)], pool[-ground.count(2048) :], *best]), dtype)
        if dtype is torch.bfloat16:
            everything.merge(ground.worst)
            ground.worst = everything
            continue
        for index, objective in enumerate(ground.worst.objectives):
            if not objective.strict:
                _evolve(ground, objective, index, dtype)
    ground.said.append(", ".join(name.removeprefix("torch.") for name in names))


def other_teachers(ground: Ground, seed: int) -> list[tuple[Box, Worst]]:
    """For which other K up to 16 the rule gives no numbers. One that is written for K alone raises, which is no breach,
    and one whose weights then sum to something else was not asked about."""
    found, tried = [], []
    for teachers in range(1, 17):
        if teachers == ground.box.teachers:
            continue
        box = Box.of(ground.probe.operator, teachers)
        probe, points = Probe(ground.probe.operator, box), Points(box, seed)
        rows = torch.cat([points.uniform(32), points.odd_one(32), points.tied(points.picks(32))])
        if not probe.accepts(rows[0], ground.dtype):
            continue
        worst = Worst([o for o in ground.worst.objectives if o.axiom == "W-N"])
        weights, log_weights = probe(rows, ground.dtype)
        undefined = weights.isnan().any(dim=-1)
        worst.observe(rows[undefined], weights[undefined], log_weights[undefined], ground.dtype, ground.dtype)
        found.append((box, worst))
        ground.probe.rows += probe.rows
        tried.append(teachers)
    if tried:
        ground.said.append(f"numbers also for K in {tried[0]}…{tried[-1]}")
    return found
