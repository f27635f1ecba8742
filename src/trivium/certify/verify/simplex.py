"""Softmax and shares: bounded through differences of scores, in which what a row has in common cancels."""

from __future__ import annotations

from typing import Any

import torch

from trivium.certify.verify import interval as iv
from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.elementwise import scores_of
from trivium.certify.verify.form import Form
from trivium.certify.verify.interval import ULPS, Interval, lower, upper
from trivium.certify.verify.lifting import lift
from trivium.certify.verify.trace import Trace, Unsupported


def last_axis(x: Bounds, dim: Any, name: str) -> None:
    """Refuses any axis but the last, given as −1."""
    if isinstance(dim, tuple | list) and len(dim) == 1:
        dim = dim[0]
    if dim is None:
        raise Unsupported(f"{name} over all rows: give dim=-1")
    if dim != -1:
        raise Unsupported(f"{name} over dim={dim}, which may be that of the rows: give dim=-1")
    if not x.axis:
        raise Unsupported(f"{name} over dim=-1 of one number a row, which is the axis of the rows")


def differences(s: Bounds) -> tuple[Interval, Interval | None]:
    """d[..., k, j] = s_k − s_j: values [2N, M, M], slopes over the sub-boxes [N, M, M, D]."""

    def outer(x: Interval) -> Interval:
        return iv.sub((x[0].unsqueeze(2), x[1].unsqueeze(2)), (x[0].unsqueeze(1), x[1].unsqueeze(1)))

    value = outer(s.value)
    same = torch.eye(s.width, dtype=torch.bool)
    low, high = value[0].masked_fill(same, 0.0), value[1].masked_fill(same, 0.0)
    slopes = s.jacobian
    if slopes is None:
        return (low, high), None
    n, m = s.trace.count, s.width
    steep = outer(slopes)
    steep = steep[0].masked_fill(same[..., None], 0.0), steep[1].masked_fill(same[..., None], 0.0)
    flat = steep[0].reshape(n, m * m, -1), steep[1].reshape(n, m * m, -1)
    centre = low[n:].reshape(n, m * m), high[n:].reshape(n, m * m)
    near = iv.mean_value(centre, flat, s.trace.radius)
    below, above = iv.meet((low[:n], high[:n]), (near[0].reshape(n, m, m), near[1].reshape(n, m, m)))
    return (torch.cat([below, low[n:]]), torch.cat([above, high[n:]])), steep


def _share_of(difference: Interval) -> Interval:
    """1/Σ_j exp(s_j − s_k), from d = s_k − s_j."""
    powers = lower(torch.exp(-difference[1]), ULPS).clamp_min(0.0), upper(torch.exp(-difference[0]), ULPS)
    low, high = iv.inverse(iv.total(powers, -1))
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


def softmax_of(scores: Bounds) -> Bounds:
    """w_k = e^{s_k}/Σ_j e^{s_j}."""
    s = scores.core
    difference, steep = differences(s)
    value = _share_of(difference)

    def slopes() -> Interval | None:
        if steep is None:
            return None
        w = _box(value, s.trace.count)
        return iv.mul((w[0].unsqueeze(-1), w[1].unsqueeze(-1)), _pull(w, steep))

    made = Bounds(s.trace, value, slopes, True)
    made.scores, made.logarithm, made.total = (lambda: s), (lambda: log_softmax_of(s)), Form(1.0)
    return made


def softmax(trace: Trace, x: Any, dim: Any = None, dtype: Any = None) -> Bounds:
    """softmax over the last axis."""
    x = lift(trace, x)
    last_axis(x, dim, "softmax")
    return softmax_of(x)


def log_softmax(trace: Trace, x: Any, dim: Any = None, dtype: Any = None) -> Bounds:
    """s_k − log Σ_j e^{s_j}."""
    x = lift(trace, x)
    last_axis(x, dim, "log_softmax")
    return log_softmax_of(x.core)


def log_softmax_of(s: Bounds) -> Bounds:
    """log w_k, with slopes Σ_j w_j·∂(s_k − s_j)."""
    difference, steep = differences(s)
    share = _share_of(difference)
    powers = lower(torch.exp(-difference[1]), ULPS).clamp_min(0.0), upper(torch.exp(-difference[0]), ULPS)
    sums = iv.total(powers, -1)
    value = -upper(torch.log(sums[1]), ULPS), -lower(torch.log(sums[0].clamp_min(1.0)), ULPS).clamp_min(0.0)

    def slopes() -> Interval | None:
        return None if steep is None else _pull(_box(share, s.trace.count), steep)

    made = Bounds(s.trace, value, slopes, True)
    made.modulo, made.exponential = s, lambda: softmax_of(s)
    return made


def logsumexp(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False) -> Bounds:
    """log Σ_j e^{s_j}: increasing in every score, with slopes that average those of the scores."""
    x = lift(trace, x)
    last_axis(x, dim, "logsumexp")
    low = lower(torch.logsumexp(x.lo, -1, keepdim=True), 2 * ULPS + x.width)
    high = upper(torch.logsumexp(x.hi, -1, keepdim=True), 2 * ULPS + x.width)
    # log of a sum near one: the error is relative to the sum, so absolute here
    slack = (ULPS + x.width) * iv.EPS * (1 + iv.magnitude(x.value).amax(dim=-1, keepdim=True))
    value = lower(low - slack), upper(high + slack)

    def slopes() -> Interval | None:
        inner = x.jacobian
        if inner is None:
            return None
        share = softmax_of(x)
        w = share.box
        mean = iv.total(iv.mul((w[0].unsqueeze(-1), w[1].unsqueeze(-1)), inner), 1)
        low, high = iv.meet(mean, (inner[0].amin(dim=1), inner[1].amax(dim=1)))
        return low.unsqueeze(1), high.unsqueeze(1)

    made = Bounds(trace, value, slopes, keepdim)
    made.normalizer = x
    return made


def shares(x: Bounds, quotient: Bounds) -> Bounds:
    """x over its row sum: softmax(log x) where x > 0, and wherever x ≥ 0 still between 0 and 1.

    Entries sum to one, whatever their signs, as long as the sum is not zero.
    """
    n = x.trace.count
    positive = (x.lo > 0).all(dim=-1, keepdim=True)
    if bool(positive.all()):
        return softmax_of(scores_of(x))
    low, high = quotient.value
    if bool(positive.any()):
        exact = softmax_of(scores_of(x))
        low = torch.where(positive, exact.lo, low)
        high = torch.where(positive, exact.hi, high)
    else:
        exact = quotient
    nonnegative = (x.lo >= 0).all(dim=-1, keepdim=True)
    low = torch.where(nonnegative, low.clamp(min=0.0), low)
    high = torch.where(nonnegative, high.clamp(max=1.0), high)

    def slopes() -> Interval | None:
        one, other = exact.jacobian, quotient.jacobian
        if one is None or other is None:
            return None
        where = positive[:n].unsqueeze(-1)
        return torch.where(where, one[0], other[0]), torch.where(where, one[1], other[1])

    made = Bounds(x.trace, (low, high), slopes, True)
    made.scores, made.total = (lambda: scores_of(x)), Form(1.0)
    return made


OPERATIONS.update({"softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp})
OPERATIONS["softmin"] = lambda trace, x, dim=None, dtype=None: softmax(trace, apply("neg", (x,), {}), dim)
