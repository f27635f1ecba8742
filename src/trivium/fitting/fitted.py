"""Fitting a scheme: penalty and budget chosen, strengths found, intervals, gains held out, what guarantees cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trivium.errors import require
from trivium.fitting.bounds import best_constant
from trivium.fitting.choosing import Choice, choose
from trivium.fitting.family import Family, Fit
from trivium.fitting.intervals import one_step
from trivium.fitting.judging import Gain, by_scale, gains, mixed, subsets, weighed
from trivium.fitting.likelihood import Likelihood
from trivium.fitting.observations import Observations
from trivium.fitting.optimize import maximize
from trivium.fitting.threads import one_thread
from trivium.scheme import Scheme
from trivium.simplex.typed import typed
from trivium.weighting.features import Scale


@dataclass(frozen=True)
class Strength:
    """One fitted number with its 95 % interval; ``what`` is a feature, or ``TASK, TEACHER`` of a bias. Nats a unit."""

    scale: Scale
    what: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """A fitted scheme and what is known of it. Gains are over uniform weights, nats a token (or an example).

    Attributes:
        rules: the fitted rule of each scale and its budget; ``scheme`` is their product, projected, as
            :func:`trivium.scheme.compose` makes it.
        strengths: every number with its interval.
        choice: penalty, budget and the curves that cross-validation saw.
        gains: of the scheme, by domain and over ``"all"``, on documents that were not fitted.
        told: of the best constant weights a domain, fitted to the same documents: what being told the domain gains.
        others: of the schemes it is compared with, on the same documents.
        ahead: what the fitted scheme gains over each of those.
        alone, shares: of each scale, on the same documents: by itself, and its part of the whole gain.
        fitted_gain: on the documents that were fitted.
    """

    scheme: Scheme
    rules: Mapping[Scale, Fit]
    strengths: tuple[Strength, ...]
    choice: Choice
    gains: Mapping[str, Gain]
    told: Mapping[str, Gain]
    others: Mapping[str, Mapping[str, Gain]]
    ahead: Mapping[str, Mapping[str, Gain]]
    alone: Mapping[Scale, float]
    shares: Mapping[Scale, float]
    fitted_gain: float
    counts: Mapping[str, int]

    def to_data(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""

        def plain(table: Mapping[str, Gain]) -> dict[str, Any]:
            return {name: asdict(found) for name, found in table.items()}

        choice = self.choice
        return {
            "formula": self.scheme.formula(),
            "teachers": list(self.scheme.teacher_names),
            "strengths": [asdict(strength) for strength in self.strengths],
            "budgets": {scale: found.budget for scale, found in self.rules.items()},
            "penalty": choice.penalty,
            "budget": choice.budget,
            "curves": {
                name: [asdict(point) for point in points]
                for name, points in (
                    ("penalty", choice.penalties),
                    ("budget", choice.budgets),
                    ("floor", choice.floors),
                )
            },
            "costs": dict(choice.costs),
            "gain": plain(self.gains),
            "told_the_domain": plain(self.told),
            "others": {name: plain(table) for name, table in self.others.items()},
            "ahead_of": {name: plain(table) for name, table in self.ahead.items()},
            "scales": {scale: {"alone": self.alone[scale], "share": self.shares[scale]} for scale in self.alone},
            "gain_where_fitted": self.fitted_gain,
            "counts": dict(self.counts),
            "held_out": "gain, told_the_domain, others, ahead_of and scales are of documents that were not fitted; "
            "curves and costs are cross-validated within those that were",
        }


@typed()
def fit(
    family: Family,
    data: Observations,
    judged: Observations,
    *,
    limit: float | None = None,
    penalty: float | None = None,
    others: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Fitted:
    """Maximize mean log Σ_k w_k p_k(label), the log-likelihood of the linear pool at T = 1, over the family's schemes.

    By L-BFGS in float64, through squash, budgets, product and conforming projection, so that what is fitted is what
    runs; less a ridge penalty in units of the features' spread. Deterministic.

    Args:
        family: features, bounds, and the budget: what is kept, or where the search begins.
        data: what is fitted; penalty and budget are chosen by cross-validation over its documents.
        judged: other documents, which judge the result and are never fitted.
        limit: the largest budget of the whole, nats, that may be chosen; None keeps the family's.
        penalty: λ; None chooses it.
        others: log-weights [N, K] or broadcastable on the tokens of ``judged``, by name, to compare with.
        seed: of folds, starts and bootstrap draws.

    Raises:
        InputError: a feature that the observations lack, teachers that differ.
        InfeasibleError: bounds that no weights meet (T1).

    Cost: about a hundred passes of O(N·K·F) over all tokens, and some hundreds over a part of them.
    """
    fine = penalty is None or (math.isfinite(penalty) and penalty >= 0)
    require(fine, "a penalty must be a number ≥ 0", penalty, "Leave it out to have it chosen.")
    open_ended = limit is None or (math.isfinite(limit) and limit > 0)
    require(open_ended, "a limit of the budget must be a positive number of nats", limit, "Try 8.")
    for observed in (data, judged):
        lacking = [name for name in family.features if name not in observed.features]
        require(not lacking, "the observations must hold every feature that is fitted", lacking, "Collect them.")
    require(
        (data.teacher_names, data.tasks) == (judged.teacher_names, judged.tasks),
        "what is fitted and what judges must be of the same teachers and tasks",
        f"{list(data.teacher_names)} and {list(judged.teacher_names)}",
        "Read both alike.",
    )
    with one_thread():
        return _fitted(family, data, judged, limit, penalty, others or {}, seed)


def _fitted(
    family: Family,
    data: Observations,
    judged: Observations,
    limit: float | None,
    penalty: float | None,
    others: Mapping[str, Tensor],
    seed: int,
) -> Fitted:
    data, judged = (_admitted(family, observed) for observed in (data, judged))
    family, choice = choose(family, data, limit, penalty, seed)
    likelihood = Likelihood(family, data)
    x = maximize(likelihood, choice.penalty, () if choice.start is None else (choice.start,), seed)
    rules = likelihood.shape.rules(x)
    scheme = family.scheme(data.teacher_names, rules)
    uniform = judged.uniform()
    mine = mixed(weighed(scheme, judged), judged)
    given = {name: mixed(weights, judged) for name, weights in others.items()}
    schemes = {
        chosen: family.scheme(data.teacher_names, {scale: rules[scale] for scale in rules if scale in chosen})
        for chosen in subsets(rules)
    }
    alone, shares = by_scale(schemes, judged)
    return Fitted(
        scheme,
        rules,
        _strengths(likelihood, choice.penalty, x, rules, seed),
        choice,
        gains(mine - uniform, judged),
        gains(_told(data, judged) - uniform, judged),
        {name: gains(values - uniform, judged) for name, values in given.items()},
        {name: gains(mine - values, judged) for name, values in given.items()},
        alone,
        shares,
        float((mixed(weighed(scheme, data), data) - data.uniform()).mean()),
        {
            "tokens": len(data),
            "documents": data.documents,
            "judged_tokens": len(judged),
            "judged_documents": judged.documents,
            "impossible_tokens": data.impossible + judged.impossible,
        },
    )


def _admitted(family: Family, data: Observations) -> Observations:
    """Return the features of the family alone, clipped to their ranges as every rule clips them."""
    boxes = family.ranges()
    return replace(data, features={n: data.features[n].clamp(box.low, box.high) for n, box in boxes.items()})


def _told(data: Observations, judged: Observations) -> Tensor:
    """log q(label) under the best constant weights of each domain, by who serves, fitted to ``data``; under uniform
    ones where it has no such tokens."""
    weights = torch.zeros_like(judged.label_log_prob)
    keys = [_key(observed) for observed in (data, judged)]
    for key in keys[1].unique(dim=0):
        mine, there = ((known == key).all(-1) for known in keys)
        if bool(mine.any()):
            teacher_mask = None if data.teacher_mask is None else data.teacher_mask[mine]
            weights[there] = best_constant(data.label_log_prob[mine], teacher_mask).weights.clamp_min(1e-12).log()
    return mixed(weights, judged)


def _key(data: Observations) -> Tensor:
    teacher_mask = torch.ones_like(data.label_log_prob) if data.teacher_mask is None else data.teacher_mask
    return torch.cat([data.domain.unsqueeze(-1), teacher_mask.long()], -1)


def _strengths(
    likelihood: Likelihood, penalty: float, x: Tensor, rules: Mapping[Scale, Fit], seed: int
) -> tuple[Strength, ...]:
    shape, data = likelihood.shape, likelihood.data
    draws = one_step(likelihood, penalty, x, seed)
    found = []
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    for scale, (rule, _) in rules.items():
        drawn = torch.stack([shape.strengths(row, scale).flatten() for row in draws])
        if scale != "task":
            drawn = drawn[:, shape.units[scale].isfinite()]
        low, high = drawn.quantile(tails, dim=0).tolist()
        names = list(rule.strengths) or [f"{task}, {teacher}" for task in data.tasks for teacher in data.teacher_names]
        values = list(rule.strengths.values()) or [number for row in rule.bias for number in row]
        found += [Strength(scale, *row) for row in zip(names, values, low, high, strict=True)]
    return tuple(found)
