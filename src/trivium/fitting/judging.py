"""How much weights gain over uniform ones, by domain, with intervals over documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from trivium.fitting.observations import Observations
from trivium.scheme import Scheme
from trivium.simplex.restriction import restrict
from trivium.weighting.features import Scale

#: Bootstrap draws, and the share that lies inside an interval.
DRAWS, LEVEL = 2_000, 0.95


@dataclass(frozen=True)
class Gain:
    """A mean over tokens, nats, with a bootstrap interval over documents (drawn within domains)."""

    mean: float
    low: float
    high: float
    tokens: int


def mixed(log_weights: Tensor, data: Observations) -> Tensor:
    """log Σ_k w_k p_k(label) among the teachers that serve, [N]; weights broadcast."""
    weights = log_weights.double().expand_as(data.label_log_prob)
    if data.teacher_mask is not None:
        weights = restrict(weights, data.teacher_mask)
    return (weights + data.label_log_prob).logsumexp(-1)


def weighed(scheme: Scheme, data: Observations) -> Tensor:
    """Return the scheme's log-weights of every token, [N, K], by the code that trains."""
    features = {**data.features, "task": data.task.double().unsqueeze(-1), "domain": data.domain.double().unsqueeze(-1)}
    wanted = {name: value for name, value in features.items() if name in scheme.ranges}
    if not wanted:
        wanted["teachers"] = data.label_log_prob.new_zeros(data.count)
    return scheme.log_weights(wanted).expand_as(data.label_log_prob)


def gain(values: Tensor, data: Observations, chosen: Tensor | None = None) -> Gain:
    """Return the mean of a number a token, [N], over all tokens or the chosen ones.

    Documents are drawn with replacement within each domain; the interval holds the middle 95 % of the means.
    """
    mine = torch.ones(len(data), dtype=torch.bool) if chosen is None else chosen
    values, tokens = values[mine], int(mine.sum())
    keys, place = torch.stack([data.domain[mine], data.document[mine]]).unique(dim=1, return_inverse=True)
    sums = torch.zeros(keys.shape[1], dtype=torch.float64).index_add_(0, place, values.double())
    sizes = torch.bincount(place).double()
    draw, size = torch.Generator().manual_seed(0), max(1, 4_000_000 // keys.shape[1])
    means = []
    for begin in range(0, DRAWS, size):
        count = min(size, DRAWS - begin)
        total, number = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        for domain in keys[0].unique():
            mine_too = (keys[0] == domain).nonzero().flatten()
            picked = mine_too[torch.randint(len(mine_too), (count, len(mine_too)), generator=draw)]
            total += sums[picked].sum(-1)
            number += sizes[picked].sum(-1)
        means.append(total / number)
    tail = (1 - LEVEL) / 2
    low, high = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Gain(float(values.mean()), low, high, tokens)


def gains(values: Tensor, data: Observations) -> dict[str, Gain]:
    """Return the gain over all tokens, under ``"all"``, and in each domain that has some."""
    found = {"all": gain(values, data)}
    for number, name in enumerate(data.domains):
        chosen = data.domain == number
        if len(data.domains) > 1 and bool(chosen.any()):
            found[name] = gain(values, data, chosen)
    return found


def by_scale(
    schemes: Mapping[frozenset[Scale], Scheme], data: Observations
) -> tuple[dict[Scale, float], dict[Scale, float]]:
    """(each scale alone, each scale's share): what it gains by itself, and its mean gain over the orders in which the
    scales may be put together (Shapley), which sums to the gain of the whole.

    Args:
        schemes: the scheme of every set of scales.
    """
    value = {chosen: float(mixed(weighed(scheme, data), data).mean()) for chosen, scheme in schemes.items()}
    scales = sorted({scale for chosen in schemes for scale in chosen})
    share = dict.fromkeys(scales, 0.0)
    orders = list(permutations(scales))
    for order in orders:
        for place, scale in enumerate(order):
            before = frozenset(order[:place])
            share[scale] += (value[before | {scale}] - value[before]) / len(orders)
    alone = {scale: value[frozenset({scale})] - value[frozenset()] for scale in scales}
    return alone, share


def subsets(rules: Iterable[Scale]) -> list[frozenset[Scale]]:
    """Return all sets of scales, the empty one too."""
    found: list[frozenset[Scale]] = [frozenset()]
    for scale in rules:
        found += [chosen | {scale} for chosen in found]
    return found
