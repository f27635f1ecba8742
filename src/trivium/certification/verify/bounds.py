"""A quantity of a rule, bounded over many sub-boxes of its features at once."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from trivium.certification.verify.interval import (
    Interval,
    add,
    lower,
    magnitude,
    mean_value,
    meet,
    mignitude,
    mul,
    upper,
)
from trivium.certification.verify.rounding import FLOATS, KINDS, largest, passed, smallest
from trivium.certification.verify.totals import Total

Shape = tuple[int, ...]
#: Numbers of one tensor of a row that depends on features, at most.
ENTRIES = 4096
_ASIDE: ContextVar[bool] = ContextVar("aside", default=False)


class Unsupported(Exception):
    """The graph leaves what can be bounded soundly; the message says where, in a phrase."""


class SubBoxes:
    """The sub-boxes of one reading of a graph, and what happened in it.

    Attributes:
        low, high, centre, radius: [N, D].
        bad: [N], sub-boxes where an operation may be undefined, or overflow; ``reason`` names the first.
        magnitudes: of the quantities that a :class:`~trivium.certification.verify.totals.Total` names.
        reals: by the id of a constant of the graph, which numbers it holds in real arithmetic, [1, M] twice.
    """

    def __init__(self, low: Tensor, high: Tensor, reals: Mapping[int, Interval] | None = None) -> None:
        self.reals = reals or {}
        self.low, self.high = low, high
        self.centre = torch.minimum(torch.maximum(low / 2 + high / 2, low), high)
        reach = torch.maximum(high - self.centre, self.centre - low)
        self.radius = torch.where(reach > 0, torch.nextafter(reach, torch.full_like(reach, torch.inf)), reach)
        self.count, self.dimension = low.shape
        self.bad = torch.zeros(self.count, dtype=torch.bool)
        self.reason = ""
        self.magnitudes: dict[int, float] = {}
        self._numbers = 0

    def next_number(self) -> int:
        """Return a number for the next quantity."""
        self._numbers += 1
        return self._numbers

    def mark(self, rows: Tensor, reason: str) -> None:
        """Sub-boxes ([N] or [1] bool) over which no statement can be made."""
        if bool(rows.any()):
            self.reason = self.reason or reason
            self.bad = self.bad | rows


class Enclosure:
    """Enclosures of a tensor of one row, flattened to M entries, over N sub-boxes with D coordinates.

    Attributes:
        lo, hi: [2N, M] (or [1, M] for a constant): rows 0…N−1 over the sub-box, rows N…2N−1 at its centre, in real
            arithmetic.
        error: [N or 1, M], how far the tensor of the graph, in its own format, may lie outside of them; where no
            comparison or rounding to whole numbers is undecided, how far it may lie from the real number.
        shape, dtype: as in the graph.
        number: which quantity of the graph it is; a reshaped one is the same.
        total: Σ over the M entries as a sum of single numbers, where that is known exactly.
        modulo: an equal quantity but for a term common to all entries, where one is known.
        logarithm: gives log x with better slopes than those of x over x, for x > 0, where known.
        scores: gives Bounds s with log x_m = s_m + a common term, for x > 0, where known.
        relative: [N or 1, M], a bound on how far the log of the graph's x is from log x, where one is known.
        dominant: Bounds that move at least as far in Hilbert's metric.
        limited: Bounds s for a score max(s, max s − B), which moves by no more than s (T6).
        exponential: gives e^x, where that is known better than from x alone.
        source: the number of the Bounds whose sum this is.
        normalizer: the number of the Bounds whose log-sum-exp this is.
        extreme: the number of the Bounds whose maximum (True) or minimum (False) this is.
        lead: Bounds x, where this is the distance of x to its maximum or minimum.
        offset: such an extreme, and a constant that was added to it.
        repeated: the single number that all entries are.
        nonnegative: whether the graph's own numbers are surely ≥ 0.
        whole: whether it is a feature of whole numbers, so that rounding it changes nothing at the points that count.
    """

    def __init__(
        self,
        run: SubBoxes,
        value: Interval,
        slopes: Callable[[], Interval | None],
        shape: Shape,
        dtype: torch.dtype,
        error: Tensor | None = None,
    ) -> None:
        self.run, self.shape, self.dtype = run, shape, dtype
        self.lo, self.hi = value
        self.error = torch.zeros(1, 1, dtype=torch.float64) if error is None else error
        self.error = self.error.expand(len(self.error), self.width)
        self._slopes = slopes
        self._jacobian: Interval | None = None
        self._known = False
        self.number = run.next_number()
        self.total: Total | None = None
        self.modulo: Enclosure | None = None
        self.logarithm: Callable[[], Enclosure] | None = None
        self.scores: Callable[[], Enclosure] | None = None
        self.relative: Tensor | None = None
        self.dominant: Enclosure | None = None
        self.limited: Enclosure | None = None
        self.exponential: Callable[[], Enclosure] | None = None
        self.source: int | None = None
        self.normalizer: int | None = None
        self.extreme: tuple[int, bool] | None = None
        self.lead: Enclosure | None = None
        self.offset: tuple[Enclosure, Enclosure] | None = None
        self.repeated: Enclosure | None = None
        self.nonnegative = self.whole = False

    @property
    def jacobian(self) -> Interval | None:
        """Enclosure [N, M, D] of Clarke's generalized partial derivatives over each sub-box; None: constant."""
        if not self._known:
            slopes, self._known = self._slopes(), True
            self._slopes = _nothing
            if slopes is not None:
                shape = (self.run.count, self.width, self.run.dimension)
                self._jacobian = slopes[0].expand(shape), slopes[1].expand(shape)
        return self._jacobian

    @property
    def value(self) -> Interval:
        """[2N or 1, M], in real arithmetic."""
        return self.lo, self.hi

    @property
    def box(self) -> Interval:
        """Rows over the sub-boxes, [N or 1, M]."""
        n = self.run.count
        return (self.lo, self.hi) if self.constant else (self.lo[:n], self.hi[:n])

    @property
    def centre(self) -> Interval:
        """Rows at the centres, [N or 1, M]."""
        n = self.run.count
        return (self.lo, self.hi) if self.constant else (self.lo[n:], self.hi[n:])

    @property
    def wide(self) -> Interval:
        """[2N or 1, M], of the tensor in the graph's own arithmetic."""
        error = self.error
        if len(error) > 1 and not self.constant:
            error = torch.cat([error, error])
        return self._widened(self.value, error)

    @property
    def wide_box(self) -> Interval:
        """:attr:`wide` over the sub-boxes, [N or 1, M]."""
        return self._widened(self.box, self.error)

    def _widened(self, value: Interval, error: Tensor) -> Interval:
        low, high = torch.where(error == 0, value[0], lower(value[0] - error)), value[1] + error
        low = low.clamp_min(0.0) if self.nonnegative else low
        return low, torch.where(error == 0, high, upper(high))

    @property
    def width(self) -> int:
        """M."""
        return int(self.lo.shape[-1])

    @property
    def constant(self) -> bool:
        """Whether it depends on no feature."""
        return len(self.lo) == 1

    @property
    def floating(self) -> bool:
        """Whether its arithmetic rounds."""
        return self.dtype in FLOATS

    @property
    def core(self) -> Enclosure:
        """``modulo``, or itself."""
        return self if self.modulo is None else self.modulo

    @property
    def as_total(self) -> Total:
        """Itself, a single number, as a :class:`Total`; or the sum of a constant."""
        if self.total is None and self.constant:
            self.total = Total.between(self.lo.flatten().tolist(), self.hi.flatten().tolist())
            self.total = self.total.rounded(float(self.error.sum()))
        elif self.total is None:
            self.total = Total.symbol(self.number)
            self.run.magnitudes[self.number] = float(magnitude(self.wide).max())
        return self.total

    def reshaped(self, shape: Shape) -> Enclosure:
        """Return the same entries in the same order."""
        if shape == self.shape:
            return self
        made = copy.copy(self)
        made.shape = shape
        if not self._known:
            made._slopes = lambda: self.jacobian
        return made

    def rounded(self, amount: Tensor) -> Enclosure:
        """With an error that is larger by ``amount``."""
        return self.with_error(self.error + amount)

    def with_error(self, error: Tensor) -> Enclosure:
        """Return the same real numbers with another error; of its relations those are kept that hold for real
        numbers."""
        made = Enclosure(self.run, self.value, lambda: self.jacobian, self.shape, self.dtype, error)
        made.limited, made.lead = self.limited, self.lead
        return made

    def tightened(self) -> Enclosure:
        """With what the mean value theorem adds: f(u) ∈ f(c) + Σ_i [∂f/∂u_i]·(u_i − c_i)."""
        jacobian = self.jacobian
        if jacobian is None or self.constant:
            return self
        centre = self.centre
        low, high = meet(self.box, mean_value(centre, jacobian, self.run.radius))
        self.lo, self.hi = torch.cat([low, centre[0]]), torch.cat([high, centre[1]])
        return self

    def check(self, name: str) -> None:
        """Marks sub-boxes where the result may overflow its format, or is no number."""
        low, high = self.wide_box
        beyond = ~((low >= smallest(self.dtype)) & (high <= largest(self.dtype))).all(dim=-1)
        self.run.mark(beyond, f"{name} may overflow or be undefined")

    def computed(self, name: str) -> Enclosure:
        """Itself, checked, a number on the way to a result that need not show it; not so :func:`aside`."""
        if not _ASIDE.get():
            self.check(name)
        return self


@contextmanager
def aside() -> Iterator[None]:
    """While relations are made of quantities that the graph does not compute: whether they overflow is no matter."""
    before = _ASIDE.set(True)
    try:
        yield
    finally:
        _ASIDE.reset(before)


def _nothing() -> Interval | None:
    return None


def once(make: Callable[[], Enclosure]) -> Callable[[], Enclosure]:
    """Return the same, made at its first use, :func:`aside`."""

    @functools.cache
    def made() -> Enclosure:
        with aside():
            return make()

    return made


def number(run: SubBoxes, value: float | Tensor, dtype: torch.dtype) -> Enclosure:
    """Return a constant as Bounds: the real number that the graph names, with what writing it in ``dtype`` changes.

    Raises:
        Unsupported: one that is not finite, a whole number that the format does not hold (torch wraps it), or a tensor
            of more than :data:`ENTRIES` numbers or of another kind.
    """
    tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
    if tensor.dtype not in KINDS:
        raise Unsupported(f"a constant of {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.numel() > ENTRIES:
        raise Unsupported(f"arithmetic on a constant of {tensor.numel()} numbers")
    exact = torch.tensor([[value]], dtype=torch.float64) if not isinstance(value, Tensor) else _exact(tensor)
    if not bool(exact.isfinite().all()):
        raise Unsupported("a constant that is not finite")
    if dtype not in FLOATS and not bool(((exact >= smallest(dtype)) & (exact <= largest(dtype))).all()):
        raise Unsupported(f"a number that {str(dtype).removeprefix('torch.')} does not hold")
    if isinstance(value, int) and abs(value) > 2**53:
        raise Unsupported("a whole number beyond 2^53")
    if dtype in FLOATS:
        error = (exact.to(dtype).to(torch.float64) - exact).abs()
    elif bool((exact == exact.round()).all()):
        error = torch.zeros_like(exact)
    else:
        raise Unsupported("a number that is not whole among whole ones")
    made = Enclosure(run, (exact, exact), _nothing, tuple(tensor.shape), dtype, error)
    made.nonnegative = bool((exact >= 0).all())
    made.whole = bool((exact == exact.round()).all()) and bool((error == 0).all())
    return made


def _exact(tensor: Tensor) -> Tensor:
    if not tensor.dtype.is_floating_point and bool((tensor.to(torch.int64).abs() > 2**53).any()):
        raise Unsupported("a whole number beyond 2^53")
    return tensor.to(torch.float64).reshape(1, -1)


def chained(*parts: tuple[Enclosure, Callable[[], Interval]]) -> Interval | None:
    """Σ factor·slopes of operands, the chain rule: factors [N or 1, M] are asked only of operands that move."""
    total: Interval | None = None
    for x, factor in parts:
        inner = x.jacobian
        if inner is not None:
            steep = factor()
            moved = mul((steep[0].unsqueeze(-1), steep[1].unsqueeze(-1)), inner)
            total = moved if total is None else add(total, moved)
    return total


def inherited(*parts: tuple[Enclosure, Interval]) -> Tensor:
    """Σ |factor|·error of operands, with factors over all that the operands may be, [N or 1, M]."""
    return sum((passed(magnitude(factor), x.error) for x, factor in parts), torch.zeros(1, 1, dtype=torch.float64))


def relative_of(x: Enclosure) -> Tensor:
    """Return how far log |x| of the graph may lie from log |x|, [N or 1, M]; infinite where x may vanish."""
    least = mignitude(x.box) - x.error
    plain = torch.where(x.error == 0, 0.0, torch.where(least > 0, x.error / least * (1 + 1e-9), math.inf))
    return plain if x.relative is None else torch.minimum(plain, x.relative)


def aligned(*parts: Enclosure) -> tuple[Shape, list[Enclosure]]:
    """Return the shape to which operands broadcast, and the operands with one entry or as many as that shape has."""
    try:
        shape = tuple(torch.broadcast_shapes(*(part.shape for part in parts)))
    except RuntimeError as error:
        raise Unsupported(f"operands of the shapes {[list(part.shape) for part in parts]}") from error
    count = math.prod(shape)
    if count > ENTRIES:
        raise Unsupported(f"a tensor of {count} numbers a row, more than {ENTRIES}")
    made = []
    for part in parts:
        part = part.repeated if part.repeated is not None and part.width == count else part
        if part.width not in (1, count):
            places = torch.arange(part.width).reshape(part.shape).expand(shape).flatten()
            part = select(part, places, shape)
        made.append(part)
    return shape, made


def select(x: Enclosure, places: Tensor, shape: Shape) -> Enclosure:
    """Return the entries at ``places`` [M'], a tensor of whole numbers, in a shape of M' entries."""
    if places.numel() == x.width and bool((places == torch.arange(x.width)).all()):
        return x.reshaped(shape)
    if places.numel() > ENTRIES:
        raise Unsupported(f"a tensor of {places.numel()} numbers a row, more than {ENTRIES}")

    def slopes() -> Interval | None:
        inner = x.jacobian
        return None if inner is None else (inner[0][:, places], inner[1][:, places])

    made = Enclosure(x.run, (x.lo[:, places], x.hi[:, places]), slopes, shape, x.dtype, x.error[:, places])
    made.nonnegative, made.whole = x.nonnegative, x.whole
    if x.width == 1:
        made.repeated = x
        if places.numel() == 1:
            made.total = x.as_total
    elif x.repeated is not None:
        made.repeated = x.repeated
    elif places.numel() == x.width and bool((places.sort().values == torch.arange(x.width)).all()):
        made.total = x.total
    if x.relative is not None:
        made.relative = x.relative.expand(len(x.relative), x.width)[:, places]
    return made


def join(run: SubBoxes, parts: list[Enclosure]) -> Enclosure:
    """Side by side, as one vector."""
    if len(parts) == 1:
        return parts[0].reshaped((parts[0].width,))
    tall = max(len(part.lo) for part in parts)
    rows = max(len(part.error) for part in parts)
    widths = [part.width for part in parts]

    def slopes() -> Interval | None:
        inner = [part.jacobian for part in parts]
        if all(steep is None for steep in inner):
            return None
        zeros = [torch.zeros(1, width, run.dimension, dtype=torch.float64) for width in widths]
        ends: list[Tensor] = []
        for end in (0, 1):
            steep = [zero if j is None else j[end] for j, zero in zip(inner, zeros, strict=True)]
            ends.append(torch.cat([part.expand(run.count, -1, -1) for part in steep], dim=1))
        return ends[0], ends[1]

    low, high = (
        torch.cat([end.expand(tall, -1) for end in ends], dim=1)
        for ends in zip(*(p.value for p in parts), strict=False)
    )
    error = torch.cat([part.error.expand(rows, -1) for part in parts], dim=1)
    made = Enclosure(run, (low, high), slopes, (sum(widths),), parts[0].dtype, error)
    made.nonnegative = all(part.nonnegative for part in parts)
    if all(part.width == 1 or part.total is not None or part.constant for part in parts):
        made.total = functools.reduce(lambda one, other: one + other, [part.as_total for part in parts])
    return made
