"""Functions of one number: exp, log, tanh, powers and the like.

Each is given by its range over an interval, the range of its slope there, and how many half ulps its result is off; the
chain rule does the rest, with the slopes over the numbers of the graph for what errors become.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import Enclosure, Unsupported, chained, number, once, relative_of
from trivium.certification.verify.interval import ULPS, Interval, lower, magnitude, mignitude, upper
from trivium.certification.verify.rounding import LIBRARY, least_normal, own, passed, unit
from trivium.certification.verify.table import needs_float

Range = Callable[[Interval], Interval]
_ATEN = torch.ops.aten
_ONE = torch.ones(1, 1, dtype=torch.float64)


def unary(x: Enclosure, value: Range, slope: Range, units: float = LIBRARY, size: Tensor | None = None) -> Enclosure:
    """f(x) from the ranges of f and of its generalized derivative; ``size``: what its rounding is relative to."""
    made = Enclosure(x.run, value(x.value), lambda: chained((x, lambda: slope(x.box))), x.shape, x.dtype)
    wide = x.wide_box
    reach = value(wide)
    span = upper(reach[1] - reach[0])
    error = torch.minimum(passed(magnitude(slope(wide)), x.error), torch.where(x.error == 0, 0.0, span))
    made.error = error + (own(x.dtype, magnitude(reach) if size is None else size, units) if units else 0.0)
    made.error = made.error.expand(len(made.error), made.width)
    return made


def rising(function: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf) -> Range:
    """Return range of an increasing function with values in [least, most]."""

    def value(x: Interval) -> Interval:
        return lower(function(x[0]), ULPS).clamp_min(least), upper(function(x[1]), ULPS).clamp_max(most)

    return value


def bump(function: Callable[[Tensor], Tensor]) -> Range:
    """Return range of an even function ≥ 0 that falls away from zero."""

    def value(x: Interval) -> Interval:
        return lower(function(magnitude(x)), ULPS).clamp_min(0.0), upper(function(mignitude(x)), ULPS)

    return value


def bend(x: Interval, below: float, above: float) -> Interval:
    """Return slopes of a function that bends at zero: one, the other, or anything between."""
    low, high = min(below, above), max(below, above)
    right, left = x[0] >= 0, x[1] <= 0
    # Numbers alone would be chosen in float32.
    side = torch.where(right, torch.full_like(x[0], above), torch.full_like(x[0], below))
    return torch.where(right | left, side, low), torch.where(right | left, side, high)


def needs(x: Enclosure, low: float, name: str, strict: bool) -> None:
    """Marks sub-boxes where an argument may leave its domain, rounded or not."""
    least = torch.minimum(x.box[0], x.wide_box[0])
    outside = least <= low if strict else least < low
    x.run.mark(outside.any(dim=-1), f"{name} of a number that may be below {low:.3g}")


def scaled(x: Enclosure, factor: float) -> Enclosure:
    """c·x of real numbers, for scores."""
    c = torch.full((1, 1), factor, dtype=torch.float64)
    return Enclosure(x.run, iv.mul(x.value, (c, c)), lambda: chained((x, lambda: (c, c))), x.shape, x.dtype)


def square_of(x: Interval) -> Interval:
    """x²."""
    return lower(mignitude(x) ** 2).clamp_min(0.0), upper(magnitude(x) ** 2)


def _inverse_square(x: Interval) -> Interval:
    return iv.inverse(square_of((lower(x[0]), upper(x[1]))))


def _wave(x: Interval, phase: float) -> Interval:
    """Return range of sin(x + phase): ±1 where a crest or trough may lie inside, else that of the ends."""
    ends = [torch.sin(bound.clamp(-1e9, 1e9) + phase) for bound in x]
    slack = 1e-15 * (magnitude(x) + 4)  # of the phase and of where the crests are

    def inside(offset: float) -> Tensor:
        turn = 2 * math.pi
        after = torch.floor((x[1] + slack + phase - offset) / turn)
        return (after > torch.floor((x[0] - slack + phase - offset) / turn)) | ~(slack < 1e-6)

    low = torch.minimum(*ends) - 2 * slack
    high = torch.maximum(*ends) + 2 * slack
    low = torch.where(inside(-math.pi / 2), -1.0, low.clamp_min(-1.0))
    return low, torch.where(inside(math.pi / 2), 1.0, high.clamp_max(1.0))


def _inverse_of(factor: float, offset: float = 0.0) -> Range:
    """1/(c·x + offset), a slope of a logarithm."""

    def value(x: Interval) -> Interval:
        shift = torch.full((1, 1), offset, dtype=torch.float64)
        c = torch.full((1, 1), 1 / factor, dtype=torch.float64)
        low, high = iv.mul((lower(c), upper(c)), iv.inverse(iv.add(x, (shift, shift))))
        positive = x[0] + offset > 0
        return torch.where(positive, low, -math.inf), torch.where(positive, high, math.inf)

    return value


_exp = rising(torch.exp, 0.0)
_exp2 = rising(torch.exp2, 0.0)
sigmoid_slope = bump(lambda x: torch.sigmoid(x) * torch.sigmoid(-x))
_tanh_slope = bump(lambda x: 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x))
_erf_slope = bump(lambda x: torch.exp(-x * x) * (2 / math.sqrt(math.pi)))
_TWO = torch.full((1, 1), math.log(2), dtype=torch.float64)
_BELL = torch.full((1, 1), 1 / math.sqrt(2 * math.pi), dtype=torch.float64)

#: Range, slope, half ulps (relative to the result, or to one where it crosses zero), and whether it is ≥ 0.
SMOOTH: dict[str, tuple[Range, Range, bool, bool]] = {
    "expm1": (rising(torch.expm1, -1.0), _exp, False, False),
    "exp2": (_exp2, lambda x: iv.mul((lower(_TWO), upper(_TWO)), _exp2(x)), False, True),
    "sigmoid": (rising(torch.sigmoid, 0.0, 1.0), sigmoid_slope, False, True),
    "tanh": (rising(torch.tanh, -1.0, 1.0), _tanh_slope, False, False),
    "erf": (rising(torch.erf, -1.0, 1.0), _erf_slope, False, False),
    "atan": (rising(torch.atan), lambda x: iv.inverse(iv.add(square_of(x), (_ONE, _ONE))), False, False),
    "sin": (lambda x: _wave(x, 0.0), lambda x: _wave(x, math.pi / 2), True, False),
    "cos": (lambda x: _wave(x, math.pi / 2), lambda x: iv.neg(_wave(x, 0.0)), True, False),
}


def smooth(name: str, x: Enclosure) -> Enclosure:
    """Return one of :data:`SMOOTH`."""
    if name == "erf" and x.dtype in (torch.float16, torch.bfloat16):
        # Its vector kernel sums a polynomial that is right to 1.5e-7, however small the result is.
        raise Unsupported(f"erf of {str(x.dtype).removeprefix('torch.')}, which loses small numbers")
    value, slope, absolute, positive = SMOOTH[name]
    made = unary(x, value, slope, size=torch.ones_like(x.box[0]) if absolute else None)
    made.nonnegative = positive
    return made


def exp(x: Enclosure) -> Enclosure:
    """e^x, whose log is x."""
    if x.exponential is not None:
        return x.exponential()
    made = unary(x, _exp, _exp)
    made.scores = made.logarithm = lambda: x
    normal = made.wide_box[0] >= least_normal(x.dtype)
    made.relative = torch.where(normal, x.error + LIBRARY * unit(x.dtype) * (1 + 1e-6), math.inf)
    made.nonnegative = True
    return made


def sigmoid(x: Enclosure) -> Enclosure:
    """1/(1 + e^−x)."""
    return smooth("sigmoid", x)


def of_power(made: Enclosure, x: Enclosure, p: float, units: float) -> None:
    """Sets what errors do to the log of a power: p times as much, as long as the result is a normal number."""
    if made.floating:
        normal = mignitude(made.wide_box) >= 2 * least_normal(made.dtype)
        made.relative = torch.where(normal, (abs(p) * relative_of(x) + 2 * units * unit(made.dtype)), math.inf)


def square(x: Enclosure) -> Enclosure:
    """x²."""
    made = unary(x, square_of, lambda box: (lower(2 * box[0]), upper(2 * box[1])), units=1)
    of_power(made, x, 2.0, 1.0)
    made.nonnegative = True
    return made.computed("a square")


def absolute(x: Enclosure) -> Enclosure:
    """|x|, exactly."""
    made = unary(x, lambda box: (mignitude(box), magnitude(box)), lambda box: bend(box, -1.0, 1.0), units=0)
    made.nonnegative = True
    return made


def relu(x: Enclosure) -> Enclosure:
    """max(x, 0), exactly."""
    made = unary(x, lambda b: (b[0].clamp(min=0.0), b[1].clamp(min=0.0)), lambda b: bend(b, 0.0, 1.0), units=0)
    made.nonnegative = True
    return made


def log_of(x: Enclosure) -> Enclosure:
    """log x without a mark: where x may vanish it is unbounded below, and where it may be negative above too."""
    if x.logarithm is not None:
        return x.logarithm()

    def value(box: Interval) -> Interval:
        return (
            torch.where(box[0] > 0, lower(torch.log(box[0]), ULPS), -math.inf),
            torch.where(box[0] >= 0, upper(torch.log(box[1]), ULPS), math.inf),
        )

    return unary(x, value, _inverse_of(1.0))


def scores_of(x: Enclosure) -> Enclosure:
    """Return bounds s with log x_m = s_m + a term common to the row, valid where x > 0."""
    scores = x.scores() if x.scores is not None else log_of(x)
    return scores.core


def log(x: Enclosure, base: float = math.e) -> Enclosure:
    """log x, for x that the format can hold as a normal number."""
    needs(x, least_normal(x.dtype), "log", strict=False)
    natural = log_of(x)
    rounding = own(x.dtype, magnitude(natural.wide_box), LIBRARY)
    error = relative_of(x) if x.logarithm is not None else torch.minimum(relative_of(x), natural.error)
    made = natural.with_error(error + rounding)
    made.dtype = x.dtype
    if x.scores is not None:
        made.modulo = scores_of(x).with_error(made.error)
        made.modulo.dtype = x.dtype
    if base == math.e:
        return made
    c = torch.full((1, 1), 1 / math.log(base), dtype=torch.float64)
    factor = lower(c, 4), upper(c, 4)
    error = (made.error + rounding) * float(factor[1])
    return Enclosure(
        x.run, iv.mul(made.value, factor), lambda: chained((made, lambda: factor)), x.shape, x.dtype, error * (1 + 1e-6)
    )


def log1p(x: Enclosure) -> Enclosure:
    """log(1 + x)."""
    needs(x, -1.0, "log1p", strict=True)
    return unary(x, rising(torch.log1p), _inverse_of(1.0, 1.0))


def sqrt(x: Enclosure) -> Enclosure:
    """√x; its slope at zero is infinite."""
    needs(x, 0.0, "sqrt", strict=False)

    def root(box: Interval) -> Interval:
        return lower(box[0].clamp(min=0.0).sqrt()).clamp_min(0.0), upper(box[1].clamp(min=0.0).sqrt())

    def slope(box: Interval) -> Interval:
        low, high = root(box)
        return lower(0.5 / high).clamp_min(0.0), torch.where(low > 0, upper(0.5 / low), math.inf)

    made = unary(x, root, slope, units=4)
    of_power(made, x, 0.5, 2.0)
    made.scores = once(lambda: scaled(scores_of(x), 0.5))
    made.nonnegative = True
    return made


def reciprocal(x: Enclosure) -> Enclosure:
    """1/x."""
    small = (mignitude(x.wide_box) < least_normal(x.dtype)).any(dim=-1)
    x.run.mark(small, "a division by a number that may be zero")
    made = unary(x, iv.inverse, lambda box: iv.neg(_inverse_square(box)), units=2)
    of_power(made, x, -1.0, 1.0)
    made.scores = once(lambda: scaled(scores_of(x), -1.0))
    made.nonnegative = x.nonnegative
    return made


def softplus(x: Enclosure, threshold: float = math.inf) -> Enclosure:
    """log(1 + e^x), and x itself above the threshold, a jump of e^−threshold there."""

    def function(z: Tensor) -> Tensor:
        return z.clamp(min=0.0) + torch.log1p(torch.exp(-z.abs()))

    def value(box: Interval) -> Interval:
        low, high = rising(function, 0.0)(box)
        return torch.where(box[1] > threshold, torch.minimum(low, box[0].clamp_min(threshold)), low), high

    def slope(box: Interval) -> Interval:
        steep = rising(torch.sigmoid, 0.0, 1.0)(box)
        wide = x.wide_box  # of whatever is asked: rounding may take it over the threshold
        least, most = torch.minimum(wide[0], box[0]), torch.maximum(wide[1], box[1])
        jump, linear = (least <= threshold) & (most > threshold), least > threshold
        return (
            torch.where(jump, -math.inf, torch.where(linear, 1.0, steep[0])),
            torch.where(jump, math.inf, torch.where(linear, 1.0, steep[1])),
        )

    reach = magnitude(value(x.wide_box))  # an ulp or two of log1p, and what e^x was off, which moves it by at most that
    made = unary(x, value, slope, size=0.3 * reach + 0.6 * reach.clamp(max=1.0))
    made.nonnegative = threshold >= 0
    return made


def power(x: Enclosure, p: float) -> Enclosure:
    """x ** p for a number p."""
    if not math.isfinite(p):
        raise Unsupported("a power whose exponent is not finite")
    if p == 0.0:
        return number(x.run, torch.ones(x.shape, dtype=x.dtype), x.dtype)
    if p == 1.0:
        return x
    if p == 2.0:
        return square(x)
    needs_float(x, f"power {p:g}")
    if p < 0:
        return reciprocal(power(x, -p))
    if p == 0.5:
        return sqrt(x)
    whole, even = p == round(p), p % 2 == 0
    written = float(torch.tensor(p, dtype=torch.float64).to(x.dtype))
    if not math.isfinite(written) or (whole and written != p):
        raise Unsupported(f"power {p:g}, which {str(x.dtype).removeprefix('torch.')} does not hold")
    if not whole:
        needs(x, 0.0, f"power {p:g}", strict=False)

    def ranged(box: Interval, q: float, even: bool) -> Interval:
        if even:
            return lower(mignitude(box) ** q, ULPS).clamp_min(0.0), upper(magnitude(box) ** q, ULPS)
        base = box if whole else (box[0].clamp(min=0.0), box[1].clamp(min=0.0))
        least = -math.inf if whole else 0.0
        if q < 0:  # a slope of x^p, 0 < p < 1
            return lower(base[1] ** q, ULPS).clamp_min(0.0), upper(base[0] ** q, ULPS)
        return lower(base[0] ** q, ULPS).clamp_min(least), upper(base[1] ** q, ULPS)

    def slope(box: Interval) -> Interval:
        factor = torch.full((1, 1), p, dtype=torch.float64)
        return iv.mul((factor, factor), ranged(box, p - 1, whole and not even))

    # Half precision computes e^{p·log x} in float32; its error grows with the exponent.
    units = LIBRARY + 4 * abs(p) if whole else LIBRARY
    made = unary(x, lambda box: ranged(box, p, whole and even), slope, units=units)
    of_power(made, x, p, units)
    if written != p:
        _of_exponent(made, x, p, written)
    made.scores = once(lambda: scaled(scores_of(x), p))
    made.nonnegative = x.nonnegative or (whole and even)
    return made


def _of_exponent(made: Enclosure, x: Enclosure, p: float, written: float) -> None:
    """Adds what an exponent p > 0 that is written down as another changes, of x^p and of its log.

    Below one |x^p − x^q| is at most |p − q|/min(p, q), the largest of x^m·(1 − x^d) being d/(m + d) or less; above one
    it is at most x^p·(e^{|p − q|·log x} − 1).
    """
    low, high = x.wide_box
    off = abs(p - written) * (1 + 1e-9)
    above = magnitude(made.wide_box) * torch.expm1(off * high.clamp_min(1.0).log())
    below = torch.where(low < 1, off / min(p, written), 0.0)
    made.error = (made.error + torch.maximum(above, below) * (1 + 1e-9)).expand(-1, made.width)
    if made.relative is not None:
        logs = torch.maximum(low.clamp_min(0.0).log().abs(), high.clamp_min(0.0).log().abs())
        made.relative = made.relative + off * logs


def power_of(x: Enclosure, base: float) -> Enclosure:
    """base ** x for a positive number."""
    needs_float(x, "an exponent")
    if not 0 < base < math.inf:
        raise Unsupported("a power of anything but a positive number")
    c = torch.full((1, 1), math.log(base), dtype=torch.float64)
    factor = (lower(c, 4), upper(c, 4)) if base != 1 else (c, c)

    def value(box: Interval) -> Interval:
        return _exp(iv.mul(box, factor))

    made = unary(x, value, lambda box: iv.mul(factor, value(box)))
    written = float(torch.tensor(base, dtype=torch.float64).to(x.dtype))
    if not 0 < written < math.inf:
        raise Unsupported(f"a power of {base:g}, which {str(x.dtype).removeprefix('torch.')} does not hold")
    off = abs(math.log1p((written - base) / base)) * (1 + 1e-9)  # b′ˣ = bˣ·e^{x·log(b′/b)}
    moved = magnitude(made.wide_box) * torch.expm1(magnitude(x.wide_box) * off) * (1 + 1e-9)
    made.error = (made.error + moved).nan_to_num(nan=math.inf).expand(-1, made.width)
    made.nonnegative = True
    if base != 1:
        made.scores = once(lambda: scaled(x, math.log(base)))
    return made
