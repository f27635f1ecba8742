"""Whether a number that a graph computes leaves the bounds of its reading: values, slopes, errors, sums."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from entries.calls import CALLS, FLOATS, Function, RandomCall
from trivium.certification.verify.bounds import Enclosure, Unsupported, relative_of
from trivium.certification.verify.interpreter import Reading
from trivium.weighting.features import Range
from trivium.weighting.program import Program, capture


def captured(function: Function, entries: int, dtype: torch.dtype) -> Program | str:
    """The graph of a function of features, or why there is none."""
    rows = {name: torch.zeros(size, dtype=dtype) for name, size in (("x", entries), ("y", entries), ("s", 1))}
    program = capture(lambda f: _flat(function(f)), rows)
    return program if isinstance(program, Program) else str(program)


def _flat(result: Any) -> tuple[Tensor, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def ranges(low: float, high: float) -> dict[str, Range]:
    return {"x": Range(low, high), "y": Range(low, high), "s": Range(low, high, False, True)}


def sub_boxes(reading: Reading, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """The whole box, small ones, some with ends on whole numbers, some flat."""
    d, span = reading.dimension, reading.high - reading.low
    width = 10 ** (-4 * torch.rand(count, 1, generator=generator, dtype=torch.float64))
    width[0] = 1.0
    low = reading.low + torch.rand(count, d, generator=generator, dtype=torch.float64) * span * (1 - width)
    low[1:4] = torch.maximum(low[1:4].round(), reading.low)
    high = torch.minimum(low + width * span, reading.high)
    return low, torch.where(torch.rand(count, d, generator=generator) < 0.15, low, torch.maximum(low, high))


def points(low: Tensor, high: Tensor, dtype: torch.dtype, generator: torch.Generator, count: int) -> Tensor:
    """[count, N, D]: corners, edges and inner points, in a format; one that leaves its box becomes NaN."""
    t = torch.rand(count, *low.shape, generator=generator, dtype=torch.float64)
    t = torch.where(torch.rand(t.shape, generator=generator) < 0.3, t.round(), t)
    u = (low + t * (high - low)).to(dtype).double()
    inside = ((u >= low) & (u <= high)).all(-1, keepdim=True)
    return torch.where(inside, u, torch.nan)


def run(program: Program, place: int, entries: int, u: Tensor, dtype: torch.dtype) -> Tensor:
    """What the graph computes at points [count, N, D], as float64 [count, N, M]."""
    features = {
        "x": u[..., :entries].to(dtype),
        "y": u[..., entries : 2 * entries].to(dtype),
        "s": u[..., 2 * entries :].to(dtype),
    }
    used = {name: features[name] for name in program.inputs}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made = program(used)[place]
    return made.double().reshape(*u.shape[:-1], -1)


#: Told where a format was bounded, so that what is refused in some formats is not taken for refused in all.
BOUNDED = "bounded"


def breaches(call: RandomCall, seed: int, count: int) -> Iterator[str]:
    """What a call does that its bounds do not say, in each format, and :data:`BOUNDED`; ``count`` points a format."""
    exact: dict[int, Enclosure] = {}
    generator = torch.Generator().manual_seed(seed)
    box_seed = torch.Generator().manual_seed(seed)
    for dtype in FLOATS:
        program = captured(call.function, call.entries, dtype)
        if isinstance(program, str):
            yield f"{dtype}: not captured: {program}"
            continue
        outputs = len(next(n for n in program.graph.graph.nodes if n.op == "output").args[0])
        for place in range(outputs):
            try:
                reading = Reading(program, ranges(call.low, call.high), call.entries, place)
                boxes = sub_boxes(reading, box_seed.manual_seed(seed), 8)
                with torch.no_grad():
                    out, taken = reading.enclose(*boxes)
            except Unsupported as refusal:
                yield f"refused: {refusal}"
                continue
            yield BOUNDED
            u = points(*boxes, dtype, generator, max(1, count // 8))
            u = torch.where(u.isnan().any(-1, keepdim=True), _start(boxes, dtype), u)
            good = ~taken.bad & _within(u, boxes)
            if not bool(good.any()):
                continue
            # Where nothing is said an operation may raise, as an index beyond its table does: ask it nowhere else.
            u = torch.where(good.unsqueeze(-1), u, u[good][0])
            found = run(program, place, call.entries, u, dtype)
            for breach in _compare(out, found, good):
                yield f"{dtype} output {place}: {breach}"
            if dtype is torch.float64:
                exact[place] = out
                v = points(*boxes, dtype, generator, max(1, count // 8))
                v = torch.where(v.isnan().any(-1, keepdim=True) | ~good.unsqueeze(-1), u, v)
                moved = run(program, place, call.entries, v, dtype)
                if bool((leaves_slopes(moved - found, out, v - u, found) & good.unsqueeze(-1)).any()):
                    yield f"output {place}: slope"
                exact_program = program
            elif call.exact and place in exact:
                real = run(exact_program, place, call.entries, u, torch.float64)
                for breach in _rounded(out, exact[place], found, real, good):
                    yield f"{dtype} output {place}: {breach}"


def _start(boxes: tuple[Tensor, Tensor], dtype: torch.dtype) -> Tensor:
    return boxes[0].to(dtype).double()


def _within(u: Tensor, boxes: tuple[Tensor, Tensor]) -> Tensor:
    return ((u >= boxes[0]) & (u <= boxes[1])).all(-1)


def _compare(out: Enclosure, found: Tensor, good: Tensor) -> Iterator[str]:
    low, high = out.wide_box
    outside = ~((found >= low) & (found <= high))
    if bool((outside & good.unsqueeze(-1)).any()):
        where = (outside & good.unsqueeze(-1)).nonzero()[0].tolist()
        row = where[1] if len(low) > 1 else 0
        yield f"value {found[tuple(where)]:.9g} not in {low[row, where[2]]:.9g} … {high[row, where[2]]:.9g}"
    if out.total is not None and out.total.exact:
        off = (found.sum(-1) - out.total.constant).abs() > (out.total.error + out.total.sum_error) * 1.001 + 1e-13 * (
            1 + found.abs().sum(-1)
        )
        if bool((off & good).any()):
            yield "total"
    if out.nonnegative and bool(((found < 0) & good.unsqueeze(-1)).any()):
        yield "sign"


def leaves_slopes(change: Tensor, out: Enclosure, step: Tensor, scale: Tensor) -> Tensor:
    """Whether f(v) − f(u) is not among Σ_i J_i·(v_i − u_i)."""
    noise = 1e-9 * (1 + scale.abs().amax(-1, keepdim=True)) + 2 * out.error
    if out.jacobian is None:
        return change.abs() > noise
    ends = [(bound * step.unsqueeze(-2)).nan_to_num(nan=0.0) for bound in out.jacobian]
    low, high = torch.minimum(*ends).sum(-1), torch.maximum(*ends).sum(-1)
    return (change > high + noise) | (change < low - noise)


def _rounded(out: Enclosure, exact: Enclosure, found: Tensor, real: Tensor, good: Tensor) -> Iterator[str]:
    """Where nothing jumps, the error says how far a format strays from the real number."""
    if not out.floating or found.shape != real.shape:
        return
    slopes = exact.jacobian
    smooth = slopes is None or bool((slopes[0].isfinite() & slopes[1].isfinite()).all())
    jumps = out.jacobian is not None and not bool((out.jacobian[1].isfinite()).all())
    if not smooth or jumps:
        return
    far = (found - real).abs() > out.error * 1.001 + exact.error + 1e-12 * (1 + real.abs())
    if bool((far & good.unsqueeze(-1)).any()):
        yield f"error {float(((found - real).abs() * good.unsqueeze(-1)).max()):.3g} above {float(out.error.max()):.3g}"
    off = (found.abs().log() - real.abs().log()).abs() > relative_of(out) * 1.001 + 1e-12
    if bool((off & good.unsqueeze(-1)).any()):
        yield "relative error"


def attack(overload: Any, seed: int, calls: int, points: int, first: bool = False) -> list[str]:
    """Breaches over random calls of one entry, or of the ``first`` call with any; refusals where all were refused."""
    found, refused, taken = [], [], 0
    for number in range(calls):
        r = Random(f"{overload} {seed} {number}")
        call = r.choice(CALLS[overload])(r)
        if number % 3 == 2:  # so far out that sums, products and powers of features overflow on the way
            reach = 10.0 ** r.choice([2, 4, 19, 37, 38])
            call = replace(call, low=-reach, high=reach) if call.low < 0 else replace(call, high=reach)
        lines = list(breaches(call, hash((seed, number)) % 2**31, points))
        told = [line for line in lines if line != BOUNDED]
        refused += [text for text in told if text.startswith("refused") or "not captured" in text]
        found += [
            f"{seed}/{number}: {text}" for text in told if not text.startswith("refused") and "not captured" not in text
        ]
        taken += BOUNDED in lines
        if first and found:
            break
    return found if taken or found else [f"never bounded: {refused[:2]}"]
