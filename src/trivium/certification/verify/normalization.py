"""Softmax and shares: bounded through differences of scores, in which what a row has in common cancels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import ENTRIES, Enclosure, Unsupported, join, once, relative_of, select
from trivium.certification.verify.functions import scores_of
from trivium.certification.verify.interval import ULPS, Interval, lower, magnitude, mignitude, upper
from trivium.certification.verify.rounding import LIBRARY, least_normal, own, unit, vanishing
from trivium.certification.verify.table import Call, entry, needs_float
from trivium.certification.verify.totals import Total

_ATEN = torch.ops.aten
#: Scores of one softmax at most: all pairs of them are compared.
SCORES = 64


def differences(s: Enclosure) -> tuple[Interval, Interval | None]:
    """d[..., k, j] = s_k − s_j: values [2N, M, M], slopes over the sub-boxes [N, M, M, D]."""
    if s.width > SCORES:
        raise Unsupported(f"a softmax of {s.width} scores, more than {SCORES}")

    def outer(x: Interval) -> Interval:
        return iv.sub((x[0].unsqueeze(2), x[1].unsqueeze(2)), (x[0].unsqueeze(1), x[1].unsqueeze(1)))

    value = outer(s.value)
    same = torch.eye(s.width, dtype=torch.bool)
    low, high = value[0].masked_fill(same, 0.0), value[1].masked_fill(same, 0.0)
    slopes = s.jacobian
    if slopes is None:
        return (low, high), None
    n, m = s.run.count, s.width
    steep = outer(slopes)
    steep = steep[0].masked_fill(same[..., None], 0.0), steep[1].masked_fill(same[..., None], 0.0)
    flat = steep[0].reshape(n, m * m, -1), steep[1].reshape(n, m * m, -1)
    centre = low[n:].reshape(n, m * m), high[n:].reshape(n, m * m)
    near = iv.mean_value(centre, flat, s.run.radius)
    below, above = iv.meet((low[:n], high[:n]), (near[0].reshape(n, m, m), near[1].reshape(n, m, m)))
    return (torch.cat([below, low[n:]]), torch.cat([above, high[n:]])), steep


def _powers(difference: Interval) -> Interval:
    return lower(torch.exp(-difference[1]), ULPS).clamp_min(0.0), upper(torch.exp(-difference[0]), ULPS)


def _share_of(difference: Interval) -> Interval:
    """1/Σ_j exp(s_j − s_k), from d = s_k − s_j."""
    low, high = iv.inverse(iv.total(_powers(difference), -1))
    return low.clamp_min(0.0), high.clamp_max(1.0)


def _box(x: Interval, n: int) -> Interval:
    return x if len(x[0]) == 1 else (x[0][:n], x[1][:n])


def _pull(w: Interval, steep: Interval) -> Interval:
    """Σ_j w_j·d_kj over the sub-boxes, [N, M, D], from weights [N, M] and slopes of s_k − s_j [N, M, M, D].

    Also (1 − w_k) times a mean of d_kj over j ≠ k, which is often the tighter of the two.
    """
    m = steep[0].shape[1]
    weighted = iv.total(iv.mul((w[0][:, None, :, None], w[1][:, None, :, None]), steep), 2)
    if m == 1:
        return weighted
    same = torch.eye(m, dtype=torch.bool)[..., None]
    mean = steep[0].masked_fill(same, torch.inf).amin(dim=2), steep[1].masked_fill(same, -torch.inf).amax(dim=2)
    rest = lower(1 - w[1]).clamp_min(0.0), upper(1 - w[0]).clamp_max(1.0)
    return iv.meet(weighted, iv.mul((rest[0].unsqueeze(-1), rest[1].unsqueeze(-1)), mean))


def uneven(s: Enclosure) -> Tensor:
    """Return what errors of scores change in the log of a share: at most that of its own and the largest one."""
    return s.error + s.error.amax(dim=-1, keepdim=True)


def softmax_of(scores: Enclosure, dtype: torch.dtype | None = None) -> Enclosure:
    """w_k = e^{s_k}/Σ_j e^{s_j}, computed by one operation that subtracts the largest score first."""
    s = scores.core
    kind = s.dtype if dtype is None else dtype
    difference, steep = differences(s)
    value = _share_of(difference)
    n = s.run.count

    def slopes() -> Interval | None:
        if steep is None:
            return None
        w = _box(value, n)
        return iv.mul((w[0].unsqueeze(-1), w[1].unsqueeze(-1)), _pull(w, steep))

    made = Enclosure(s.run, value, slopes, scores.shape, kind)
    # s − max s is off by half an ulp of itself, and at most as far below as the pairs are apart.
    apart = _box(difference, n)[1].flatten(1).amax(dim=1, keepdim=True).clamp_min(0.0)
    plain = (s.width + LIBRARY + 3 + math.log(s.width)) * unit(kind)
    off = (uneven(s) + plain) * (1 + 1e-6)
    high = made.box[1]
    made.error = (high * torch.expm1(off) + 2 * unit(kind) * torch.ones_like(high) * 0.4 + vanishing(kind)) * (1 + 1e-6)
    logs = off + unit(kind) * apart * (1 + 1e-3)
    made.relative = torch.where(made.box[0] > least_normal(kind) * 2, logs, math.inf)
    made.error = torch.minimum(made.error, high * torch.expm1(logs) + vanishing(kind))
    made.scores, made.logarithm = (lambda: s), once(lambda: log_softmax_of(s))
    made.total = Total(1.0, sum_error=_of_shares(s.width, kind))
    made.nonnegative = True
    return made


def _of_shares(width: int, dtype: torch.dtype) -> float:
    """Return how far computed shares of a computed sum of positive numbers may be from summing to one."""
    return (width + 8) * unit(dtype) + width * vanishing(dtype)


def log_softmax_of(scores: Enclosure) -> Enclosure:
    """log w_k, with slopes Σ_j w_j·∂(s_k − s_j)."""
    s = scores.core
    difference, steep = differences(s)
    share = _share_of(difference)
    sums = iv.total(_powers(difference), -1)
    value = -upper(torch.log(sums[1]), ULPS), -lower(torch.log(sums[0].clamp_min(1.0)), ULPS).clamp_min(0.0)

    def slopes() -> Interval | None:
        return None if steep is None else _pull(_box(share, s.run.count), steep)

    made = Enclosure(s.run, value, slopes, scores.shape, s.dtype)
    apart = _box(difference, s.run.count)[1].flatten(1).amax(dim=1, keepdim=True).clamp_min(0.0)
    size = magnitude(made.box) + apart + s.width + LIBRARY + 3 + math.log(s.width)
    made.error = (uneven(s) + own(s.dtype, size, 1.0)) * (1 + 1e-6)
    made.modulo = s.with_error(made.error)
    made.exponential = once(lambda: _exponential(made, s))
    return made


def _exponential(logs: Enclosure, s: Enclosure) -> Enclosure:
    """exp of a log-softmax, with the rounding of both."""
    made = softmax_of(s)
    made.relative = logs.error + LIBRARY * unit(s.dtype) * (1 + 1e-6)
    made.error = made.box[1] * torch.expm1(made.relative) * (1 + 1e-6) + vanishing(s.dtype)
    made.total = Total(1.0, sum_error=float(torch.expm1(made.relative).max()) + s.width * vanishing(s.dtype))
    made.relative = torch.where(made.box[0] > least_normal(s.dtype) * 2, made.relative, math.inf)
    return made.reshaped(logs.shape)


def log_sum_exp(x: Enclosure) -> Enclosure:
    """log Σ_j e^{s_j}, [1]: increasing in every score, with slopes that average those of the scores."""
    low = lower(torch.logsumexp(x.lo, -1, keepdim=True), 2 * ULPS + x.width)
    high = upper(torch.logsumexp(x.hi, -1, keepdim=True), 2 * ULPS + x.width)
    # log of a sum near one: the error is relative to the sum, so absolute here
    slack = (ULPS + x.width) * iv.EPS * (1 + magnitude(x.value).amax(dim=-1, keepdim=True))
    value = lower(low - slack), upper(high + slack)

    def slopes() -> Interval | None:
        inner = x.jacobian
        if inner is None:
            return None
        w = softmax_of(x).box
        mean = iv.total(iv.mul((w[0].unsqueeze(-1), w[1].unsqueeze(-1)), inner), 1)
        low, high = iv.meet(mean, (inner[0].amin(dim=1), inner[1].amax(dim=1)))
        return low.unsqueeze(1), high.unsqueeze(1)

    made = Enclosure(x.run, value, slopes, (1,), x.dtype)
    made.error = x.error.amax(dim=-1, keepdim=True) + rounding_of_log_sum(x, made)
    made.normalizer = x.number
    return made


def rounding_of_log_sum(x: Enclosure, made: Enclosure) -> Tensor:
    """Of max s + log Σ e^{s − max s}."""
    # What s − max s is off by is weighed by e^{s − max s}, as in a softmax.
    return own(x.dtype, magnitude(made.wide_box) + 3 * math.log(x.width) + x.width + LIBRARY)


def less_log_sum(x: Enclosure, y: Enclosure) -> Enclosure:
    """x − y where y = log Σ e^x was computed apart."""
    made = log_softmax_of(x.core)
    made.error = uneven(x.core) + rounding_of_log_sum(x, y) + own(x.dtype, magnitude(made.box), 1.001)
    made.modulo = x.core.with_error(made.error)
    return made.reshaped(x.shape)


def shares(x: Enclosure, total: Enclosure, quotient: Enclosure) -> Enclosure:
    """x over its sum: softmax(log x) where x > 0, and wherever x ≥ 0 still between 0 and 1.

    Entries sum to one, whatever their signs, as long as the sum is not zero.
    """
    n = x.run.count
    u = unit(x.dtype)
    spread = magnitude(x.wide_box).sum(-1, keepdim=True) / mignitude(total.wide_box)
    spread = spread if not x.nonnegative else torch.ones_like(spread)
    sum_error = float((spread * (x.width + 8) * u * (1 + 1e-6)).max()) + x.width * vanishing(x.dtype)
    positive = (x.lo > 0).all(dim=-1, keepdim=True)
    if bool(positive.all()):
        exact = softmax_of(scores_of(x), x.dtype)
        low, high = iv.meet(exact.value, quotient.value) if len(exact.lo) == len(quotient.lo) else exact.value
    else:
        exact = quotient
        low, high = quotient.value
        if bool(positive.any()):
            exact = softmax_of(scores_of(x), x.dtype)
            low = torch.where(positive, exact.lo, low)
            high = torch.where(positive, exact.hi, high)
        nonnegative = (x.lo >= 0).all(dim=-1, keepdim=True)
        low = torch.where(nonnegative, low.clamp(min=0.0), low)
        high = torch.where(nonnegative, high.clamp(max=1.0), high)

    def slopes() -> Interval | None:
        one, other = exact.jacobian, quotient.jacobian
        if one is None or other is None:
            return None
        where = positive[:n].unsqueeze(-1)
        return torch.where(where, one[0], other[0]), torch.where(where, one[1], other[1])

    made = Enclosure(x.run, (low, high), slopes, quotient.shape, x.dtype, quotient.error)
    off = relative_of(x)
    made.relative = off + off.amax(-1, keepdim=True) + (x.width + 4) * u
    made.relative = torch.where(made.box[0] > 2 * least_normal(x.dtype), made.relative, math.inf)
    tighter = made.box[1] * torch.expm1(made.relative) + vanishing(x.dtype)
    made.error = torch.where(made.relative.isfinite(), torch.minimum(made.error, tighter), made.error)
    made.scores, made.total = once(lambda: scores_of(x)), Total(1.0, sum_error=sum_error)
    if bool(positive.all()):
        made.logarithm = once(lambda: log_softmax_of(scores_of(x)))
    made.nonnegative = x.nonnegative
    return made


def grouped(x: Enclosure, dims: list[int]) -> tuple[list[Enclosure], Tensor]:
    """Return the parts of x along some of its dims, each flattened, and the places [G, R] of their entries in x."""
    rank = len(x.shape)
    places = torch.arange(x.width).reshape(x.shape)
    kept = [d for d in range(rank) if d not in dims]
    count = math.prod(x.shape[d] for d in dims)
    places = places.permute(*kept, *dims).reshape(-1, max(count, 1)) if rank else places.reshape(1, 1)
    if count == 0:
        raise Unsupported("a reduction over nothing")
    return [select(x, row, (count,)) for row in places], places


def wrapped(dim: Any, rank: int) -> list[int]:
    """Axes from arguments: none is all of them."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return list(range(rank))
    given = list(dim) if isinstance(dim, list | tuple) else [dim]
    return [int(d) % rank if rank else 0 for d in given if rank]


def along(call: Call, x: Enclosure, dim: Any, step: Callable[[Enclosure], Enclosure]) -> Enclosure:
    """Return an operation from vectors to vectors, on each of those along one axis."""
    parts, places = grouped(x, wrapped(dim, len(x.shape)))
    if places.numel() > ENTRIES:
        raise Unsupported(f"a tensor of {places.numel()} numbers a row")
    made = [step(part) for part in parts]
    back = places.flatten().argsort()
    return select(join(call.run, made), back, call.shape)


@entry(_ATEN._softmax.default)
def _softmax(call: Call, x: object, dim: int) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    return along(call, operand, dim, softmax_of)


@entry(_ATEN._log_softmax.default)
def _log_softmax(call: Call, x: object, dim: int) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    return along(call, operand, dim, log_softmax_of)


@entry(_ATEN.logsumexp.default)
def _logsumexp(call: Call, x: object, dim: object, keepdim: bool = False) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    parts, _ = grouped(operand, wrapped(dim, len(operand.shape)))
    return join(call.run, [log_sum_exp(part) for part in parts]).reshaped(call.shape)
