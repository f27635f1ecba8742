"""How much any weights could gain: the best constant ones over everything, a task, a domain, a document (H1, H2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.errors import require
from trivium.fitting.advice import advice
from trivium.fitting.differing import Differing
from trivium.fitting.judging import Gain, gain, gains, mixed
from trivium.fitting.observations import Observations
from trivium.fitting.threads import one_thread
from trivium.former import renamed

#: Nats to which the optimum is known.
GAP = 1e-7
_STEPS = 200


@renamed(gap="duality_gap")
@dataclass(frozen=True)
class ConstantWeights:
    """The best constant weights of a cell: ``value`` = mean log Σ_k w_k p_k(label), nats; no constant weights do better
    than ``value + gap``."""

    weights: Tensor
    value: float
    duality_gap: float


@renamed(serving="teacher_mask")
def best_constant(log_p: Tensor, teacher_mask: Tensor | None = None) -> ConstantWeights:
    """w that maximizes mean log Σ_k w_k p_k(label) / Σ_{k serves} w_k over the simplex.

    **Optimality.** Where all teachers serve, F is concave; with g_k = mean p_k/q at w, F(v) ≤ F(w) + log Σ_k v_k g_k
    (Jensen, on the tokens' responsibilities) ≤ F(w) + log max_k g_k ≤ F(w) + max_k g_k − 1: the duality gap.
    Begun by a few steps of EM (w ← w·g), which climbs from anywhere and is slow near ties; finished by Newton's method
    on min −F(w) + Σ w over w ≥ 0, whose solution sums to one: each quadratic step is a non-negative least-squares
    problem (SciPy), an active set of its own, followed by a line search (after Kim, Carbonetto, Stephens and Anitescu
    2020, mix-SQP). Where some teachers are absent on some tokens the restricted mixture is not concave in w, so a cell
    must have one set of serving teachers.

    Args:
        log_p: log p_k(label), [n, K], nats; −inf allowed where another teacher is possible.
        teacher_mask: bool [n, K], the same in every row; None where all serve.

    Raises:
        InputError: rows that differ in who serves.

    Cost: O(n·K²) a step; 5 to 20 steps.

    >>> found = best_constant(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]).log())
    >>> [round(w, 4) for w in found.weights.tolist()], found.duality_gap < 1e-6
    ([0.7083, 0.2917], True)
    """
    if teacher_mask is not None:
        require(
            bool((teacher_mask == teacher_mask[:1]).all()), "a cell must have one set of serving teachers", "several"
        )
        log_p = log_p.masked_fill(~teacher_mask, -torch.inf)
    present = (log_p.amax(0) > -torch.inf).nonzero().flatten()
    top = log_p.amax(-1, keepdim=True)
    weights = torch.zeros(log_p.shape[1], dtype=torch.float64)
    if len(log_p) == 1:
        weights[int(log_p[0].argmax())] = 1.0
        return ConstantWeights(weights, float(top), 0.0)
    ratios = (log_p[:, present] - top).double().exp().T.contiguous()
    w, duality_gap = _solved(ratios)
    weights[present] = w
    value = float((w @ ratios).log().mean() + top.double().mean())
    return ConstantWeights(weights, value, duality_gap)


def _solved(p: Tensor) -> tuple[Tensor, float]:
    """Return weights [K] for likelihoods [K, n], each column with largest entry one, and their duality gap."""
    from scipy.optimize import nnls

    num_teachers, n = p.shape
    w = torch.full((num_teachers,), 1 / num_teachers, dtype=torch.float64)
    for _ in range(10):
        w = w * (p @ (1 / (w @ p))) / n
    w = w / w.sum()
    best, least = w, math.inf
    for _ in range(_STEPS):
        scaled = p / (w @ p)
        slope = scaled.mean(1)
        duality_gap = max(0.0, float(slope.max()) - 1.0)
        if duality_gap < least:
            best, least = w, duality_gap
        if least < GAP:
            break
        curvature = (scaled @ scaled.T / n).numpy()
        # −F + Σw: gradient 1 − g, second derivative C; the step's end v minimizes ½(v−w)ᵀC(v−w) + (1−g)ᵀ(v−w), v ≥ 0.
        # Near ties C is singular: a ridge far below the gap makes its root exist and leaves the optimum where it is.
        root = np.linalg.cholesky(curvature + 1e-10 * np.trace(curvature) * np.eye(num_teachers)).T
        target = np.linalg.solve(root.T, curvature @ w.numpy() - (1.0 - slope.numpy()))
        w = _line(p, w, torch.from_numpy(nnls(root, target)[0]))
    return best, least


def _line(p: Tensor, w: Tensor, end: Tensor) -> Tensor:
    """Return a point between w and the end of a Newton step that lowers −F + Σ w enough, scaled to sum to one."""
    mixed, moved = w @ p, (end - w) @ p
    now, more = -mixed.log().mean() + w.sum(), (end - w).sum()
    slope, size = more - (moved / mixed).mean(), 1.0
    while size > 1e-12:
        there = mixed + size * moved
        if float(there.min()) > 0 and bool(-there.log().mean() + w.sum() + size * more <= now + 1e-4 * size * slope):
            break
        size /= 2
    found = (w + size * (end - w)).clamp_min(0.0)
    return found / found.sum()


@renamed(gap="duality_gap")
@dataclass(frozen=True)
class Bound:
    """What weights that are constant on each cell gain at most, in hindsight of these very labels.

    ``gain.mean + gap`` is the bound; ``cells`` how many weight vectors it takes.
    """

    gain: Gain
    duality_gap: float
    cells: int


@dataclass(frozen=True)
class Headroom:
    """Upper bounds for rules that are constant on a scale, and the rules beside them; gains over uniform weights.

    Attributes:
        bounds: ``everything``, ``task``, ``domain``, ``document``, ``token``; in hindsight of the labels, for the
            linear pool at T = 1. ``by_domain`` splits each over the domains.
        rules: what each rule gains on the same tokens, by domain and over ``"all"``.
        differing: how much the teachers differ, without any label; None where that was not looked at.
        advice: what follows, in a sentence or two.
    """

    bounds: Mapping[str, Bound]
    by_domain: Mapping[str, Mapping[str, float]]
    rules: Mapping[str, Mapping[str, Gain]]
    differing: Differing | None
    advice: str
    counts: Mapping[str, int]

    def to_data(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        return {
            "bounds": {name: asdict(bound) for name, bound in self.bounds.items()},
            "by_domain": {name: dict(table) for name, table in self.by_domain.items()},
            "rules": {n: {domain: asdict(g) for domain, g in table.items()} for n, table in self.rules.items()},
            "differing": None if self.differing is None else asdict(self.differing),
            "advice": self.advice,
            "counts": dict(self.counts),
            "note": "bounds are in hindsight of these very labels, for the linear pool at temperature 1; where "
            "teachers are absent, a cell is also split by who serves",
        }


def headroom(
    data: Observations, rules: Mapping[str, Tensor] | None = None, differing: Differing | None = None
) -> Headroom:
    """Return bounds of every scale on these observations, and where the rules stand below them.

    A rule that is constant on the cells of a scale gains no more than that scale's bound, whatever it is. A rule that
    adapts inside them may gain more, up to ``token``, the best teacher of each token, at most log K.

    Args:
        rules: log-weights [N, K] or broadcastable, by name.
        differing: of :class:`trivium.fitting.differing.Counting`.

    Cost: O(N·K²) times the 5 to 20 steps of :func:`best_constant`, for each of four partitions.
    """
    with one_thread():
        return _bounded(data, rules or {}, differing)


def _bounded(data: Observations, rules: Mapping[str, Tensor], differing: Differing | None) -> Headroom:
    uniform = data.uniform()
    everything = torch.zeros(len(data), dtype=torch.long)
    partitions = {
        "everything": everything,
        "task": data.task,
        "domain": data.domain,
        "document": numbered(torch.stack([data.domain, data.document])),
    }
    bounds, tables = {}, {}
    for name, cell in partitions.items():
        values, duality_gap, cells = constant_on(data, cell)
        bounds[name] = Bound(gain(values - uniform, data), duality_gap, cells)
        tables[name] = _means(values - uniform, data)
    best = data.label_log_prob.amax(-1) - uniform
    bounds["token"] = Bound(gain(best, data), 0.0, len(data))
    tables["token"] = _means(best, data)
    found = {name: gains(mixed(weights, data) - uniform, data) for name, weights in rules.items()}
    counts = {"tokens": len(data), "documents": data.documents, "impossible_tokens": data.impossible}
    text = advice({name: bound.gain.mean for name, bound in bounds.items()}, tables, found, differing)
    return Headroom(bounds, tables, found, differing, text, counts)


def constant_on(data: Observations, cell: Tensor) -> tuple[Tensor, float, int]:
    """(log q(label) of each token [N], mean duality gap, number of cells) under the best constant weights of each cell,
    [N] numbers. Where teachers are absent a cell is split by who serves, which only raises the bound."""
    split = split_by_teacher_mask(data, cell)
    order = split.argsort(stable=True)
    values, gaps, cells = torch.empty(len(data), dtype=torch.float64), 0.0, 0
    for mine in torch.split(order, torch.bincount(split).tolist()):
        if not len(mine):
            continue
        log_p, teacher_mask = data.label_log_prob[mine], None if data.teacher_mask is None else data.teacher_mask[mine]
        found = best_constant(log_p, teacher_mask)
        values[mine] = (log_p + found.weights.log()).logsumexp(-1)
        gaps, cells = gaps + found.duality_gap * len(mine), cells + 1
    return values, gaps / len(data), cells


def split_by_teacher_mask(data: Observations, cell: Tensor) -> Tensor:
    """Return numbers of the cells [N], each with one set of serving teachers."""
    if data.teacher_mask is None:
        return numbered(cell.unsqueeze(0))
    pattern = data.teacher_mask.unique(dim=0, return_inverse=True)[1]
    return numbered(torch.stack([cell, pattern]))


def numbered(columns: Tensor) -> Tensor:
    """Return the number of each different column, [N]."""
    found: Tensor = columns.unique(dim=1, return_inverse=True)[1]
    return found


def _means(values: Tensor, data: Observations) -> dict[str, float]:
    there = [(name, data.domain == number) for number, name in enumerate(data.domains)]
    return {name: float(values[mine].mean()) for name, mine in there if bool(mine.any())}
