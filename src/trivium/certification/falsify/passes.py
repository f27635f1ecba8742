"""The passes of a search over one weight vector or pair at a time; each adds to what its ground has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.certification.falsify.ascent import ascend, climb
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp
from trivium.certification.falsify.ground import Ground
from trivium.certification.falsify.guide import Guide
from trivium.certification.falsify.lipschitz import climb_pairs, climb_slopes, noise, zoom
from trivium.certification.falsify.objectives import Objective, Worst
from trivium.certification.falsify.points import Points
from trivium.certification.falsify.probe import Probe
from trivium.certification.falsify.rounding import errors
from trivium.certification.falsify.scan import lines, scan
from trivium.certification.falsify.sites import Sites, branch_form
from trivium.simplex.rounding import log_slack
from trivium.weighting.base import UserRule
from trivium.weighting.program import Program

#: Axioms whose tolerance still says something in bfloat16.
NARROW = frozenset({"W-N", "W-P", "W-B"})
_STARTS = 24
#: Steps, in spans, by which points leave a branch on either side.
_AWAY = (1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def follow(ground: Ground, pool: Tensor) -> Tensor:
    """Bisect the branches in the graph; returns the pool with points at and around them."""
    points, program = ground.points, ground.probe.program(ground.dtype)
    some = ground.shuffled(pool)[: ground.count(4096)]
    if not isinstance(program, Program):
        return pool
    sites = Sites(ground.probe, program, ground.dtype)
    try:
        seen = sites(some)
        if seen.keys.shape[1] == 0:
            return pool
        guide = Guide(sites, points)
        close = guide.approach(some, seen, generations=ground.steps(20))
        both = torch.cat([close, some])
        found = guide.boundaries(both, sites(both), pairs=6)
    except TimeUp:
        raise
    except Exception:  # the rule raises somewhere in its box, which the plain evaluation reports
        return pool
    points.add_levels(found.levels)
    richer = torch.cat([points.picks(ground.count(8192)), points.mixed(ground.count(4096))])
    ground.see(richer)
    sides = torch.cat([found.low, found.high])
    log_w = ground.see(sides)[1]
    ground.sides = (found.low, found.high)
    for pairs in ground.pairs:
        pairs.observe(found.low, found.high, log_w[: len(found.low)], log_w[len(found.low) :])
    step = (found.high - found.low).sign() * ground.box.span
    around = torch.cat(
        [ground.box.snap(x) for size in _AWAY for x in (found.low - size * step, found.high + size * step)]
    )
    ground.see(torch.cat([close, around]))
    ground.say("branches", f"{len(sides)} points beside branches, by bisection")
    keep = ground.shuffled(torch.cat([sides, close, around]))[:4096]
    return torch.cat([pool, keep, richer[:2048]])


def scan_lines(ground: Ground, pool: Tensor) -> None:
    """Dense lines along every coordinate through four base points; the oddest intervals are cut further.

    Where there is no graph to read, lines are all there is to find a spike: then they are walked again and again, each
    time between the points of the last.
    """
    bases = torch.cat([ground.points.uniform(2), ground.shuffled(pool)[:2]])
    start, end = lines(ground.points, bases)
    if len(start) == 0:
        return
    rounds = 1 if ground.probe.captured(ground.dtype) else 6
    count = max(256, min(2**17, int(ground.effort * 4e5 / len(start))))
    for done in range(rounds):
        low, high = scan(start, end, count, ground.see, ground.box, skip=done * len(start))
        for pairs in ground.pairs:
            residual = pairs.observe(low, high, ground.see(low)[1], ground.see(high)[1])
            top = residual.topk(min(48, len(residual))).indices
            zoom(low[top], high[top], ground.see, pairs)
            zoom(low, high, ground.see, pairs, levels=3, bends=True)
        ground.say("lines", f"{len(start)} lines of {(done + 1) * count:,} points")


def climb_all(ground: Ground) -> None:
    """Gradients and evolution on every objective, from the worst points seen and from fresh ones."""
    for index, objective in enumerate(ground.worst.objectives):
        known = ground.worst.starts(index)
        if known is None or ground.box.dimension == 0:
            continue
        starts = torch.cat([known, ground.points.mixed(_STARTS), ground.points.uniform(_STARTS)])
        steps = ground.steps(16)
        ground.see(ascend(objective.value, starts, ground.probe, steps=steps, dtype=ground.dtype))
        _evolve(ground, objective, index, ground.dtype)
        ground.say("ascent", "gradient and evolutionary ascent")


def _evolve(ground: Ground, objective: Objective, index: int, dtype: torch.dtype) -> None:
    known = ground.worst.starts(index)
    if known is None or ground.box.dimension == 0:
        return
    climb(
        lambda batch: objective.value(batch, *ground.see(batch, dtype)),
        torch.cat([known, ground.points.uniform(8), ground.points.picks(8)]),
        ground.points,
        generations=ground.steps(24),
        children=24,
    )


def read_rounding(ground: Ground, pool: Tensor) -> None:
    """Record what rounding may do to a pair: derived from the graph at some points, or measured where there is none."""
    if not ground.pairs or ground.box.dimension == 0:
        return
    program = ground.probe.program(ground.dtype)
    for pairs in ground.pairs:
        if isinstance(program, Program):
            ground.probe.clock.check()
            pairs.noise = 2 * float(errors(program, ground.box, ground.shuffled(pool)[:64], ground.dtype).max())
        else:
            some = ground.points.uniform(48 if ground.effort > 0.1 else 12)
            seen = noise(some[::2], some[1::2], ground.see, pairs)
            pairs.noise = max(16 * seen, log_slack(ground.rounding))


def slopes(ground: Ground, pool: Tensor) -> None:
    """Local slopes, random segments and the worst pairs, for W-R and declared regularity."""
    points = ground.points
    for pairs in ground.pairs:
        if ground.box.dimension == 0:
            continue
        u, v = points.uniform(24), points.uniform(24)
        zoom(u, v, ground.see, pairs)
        zoom(u, v, ground.see, pairs, bends=True)
        shuffled = ground.shuffled(pool)
        one, two = shuffled[: 2 * (min(len(shuffled), ground.count(4096)) // 2)].chunk(2)
        far = pairs.observe(one, two, ground.see(one)[1], ground.see(two)[1]).topk(min(16, len(one))).indices
        zoom(one[far], two[far], ground.see, pairs)
        starts = torch.cat([shuffled, points.uniform(64)])[-ground.count(1280 // (1 + ground.box.dimension)) :]
        climb_slopes(starts, ground.see, pairs, points, ground.steps(12))
        climb_pairs(ground.see, pairs, points, ground.steps(16))


def in_float32(ground: Ground, narrow: Ground, pool: Tensor) -> None:
    """float32: every pointwise axiom, and pairs. Where it computes something else than float64 does, all over again."""
    probe, dtype = ground.probe, narrow.dtype
    best = [c.point[None] for kept in ground.worst.best.values() for c in kept]
    ground.see(torch.cat([pool[: ground.count(6144)], pool[-ground.count(2048) :], *best]), dtype)
    ours, theirs = probe.program(dtype), probe.program(ground.dtype)
    alike = isinstance(ours, Program) and isinstance(theirs, Program) and branch_form(ours) == branch_form(theirs)
    if not alike:
        narrow_pool = follow(narrow, pool)
        for index, objective in enumerate(ground.worst.objectives):
            if not objective.strict:
                _evolve(ground, objective, index, dtype)
    if not narrow.pairs or ground.box.dimension == 0:
        return
    read_rounding(narrow, pool)
    if not alike:
        slopes(narrow, narrow_pool)
        scan_lines(narrow, narrow_pool)
        return
    some = ground.shuffled(pool)[: 2 * (ground.count(2048) // 2)]
    half = len(some) // 2
    ends = [(some[:half], some[half : 2 * half])]
    if ground.sides is not None:
        ends.append(ground.sides)
    kept = [pair for pairs in ground.pairs for pair in pairs.kept if pair.other is not None]
    if kept:
        ends.append((torch.stack([c.point for c in kept]), torch.stack([c.other for c in kept if c.other is not None])))
    u, v = torch.cat([a for a, _ in ends]), torch.cat([b for _, b in ends])
    log_u, log_v = narrow.see(u)[1], narrow.see(v)[1]
    for pairs in narrow.pairs:
        pairs.observe(u, v, log_u, log_v)


def half(ground: Ground, pool: Tensor) -> None:
    """bfloat16, for W-N, W-P and W-B."""
    everything = ground.worst
    best = [c.point[None] for kept in everything.best.values() for c in kept]
    ground.worst = Worst([o for o in everything.objectives if o.axiom in NARROW])
    try:
        ground.see(torch.cat([pool[: ground.count(6144)], pool[-ground.count(2048) :], *best]), torch.bfloat16)
    finally:
        everything.merge(ground.worst)
        ground.worst = everything


def other_teachers(ground: Ground, seed: int, found: list[tuple[Box, Worst]]) -> None:
    """Record for which other K up to 16 the rule gives no numbers. One that is written for K alone raises, which is
    no breach, and one whose weights then sum to something else was not asked about. The function is asked, and its
    graph is where that gives none, since a capture for each K costs more than the rest of a search."""
    tried = []
    operator, dtype = ground.probe.operator, ground.dtype
    for num_teachers in range(1, 17):
        if num_teachers == ground.box.num_teachers:
            continue
        box = Box.of(operator, num_teachers)
        probe, points = Probe(operator, box, ground.probe.clock, leads=False), Points(box, seed)
        probe.clock.check()
        rows = torch.cat([points.uniform(32), points.odd_one(32), points.tied(points.picks(32))])
        if isinstance(operator, UserRule):
            try:
                written = operator.as_written(box.split(rows, dtype)).detach()
            except Exception:
                continue
            rows = rows[written.double().isnan().any(dim=-1)] if len(written) == len(rows) else rows
        elif not probe.accepts(rows[0], dtype):
            continue
        worst = Worst([o for o in ground.worst.objectives if o.axiom == "W-N"])
        if len(rows):
            weights, log_weights = probe(rows, dtype)
            undefined = weights.isnan().any(dim=-1)
            worst.observe(rows[undefined], weights[undefined], log_weights[undefined], dtype, dtype)
        found.append((box, worst))
        ground.probe.rows += probe.rows
        tried.append(num_teachers)
    if tried:
        ground.say("teachers", f"numbers also for K in {tried[0]}…{tried[-1]}")
