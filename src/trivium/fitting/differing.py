"""How much teachers differ, without any label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from trivium.errors import require

#: Entries of a vocabulary that are compared at once.
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Differing:
    """Means over positions, by domain.

    Attributes:
        information: I = (1/K)·Σ_k KL(p_k‖q), q the mean of the K teachers, nats: what knowing the teacher gains if the
            truth were one of them, drawn uniformly; 0 where all agree, at most log K.
        variation: total variation of each pair of teachers, ``"a, b"``, in [0, 1].
        positions: how many were looked at.
    """

    information: Mapping[str, float]
    variation: Mapping[str, Mapping[str, float]]
    positions: Mapping[str, int]


@torch.no_grad()
def differences(log_p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(I [n], total variation of each pair [n, pairs]) at every position, float64.

    Args:
        log_p: K tensors [n, V] of log-probabilities, float32 or wider.

    Cost: O(K²·V) a position; memory for 2²¹ entries a teacher.

    >>> information, variation = differences([torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.0, 1.0]]).log()])
    >>> round(float(information), 4), float(variation)
    (0.6931, 1.0)
    """
    require(len(log_p) > 0, "teachers differ from one another", "none", "Give one tensor a teacher.")
    rows, vocabulary = log_p[0].shape
    pairs = list(combinations(range(len(log_p)), 2))
    size = max(1, _CHUNK // vocabulary)
    information = torch.zeros(rows, dtype=torch.float64)
    variation = torch.zeros(rows, len(pairs), dtype=torch.float64)
    for start in range(0, rows, size):
        part = slice(start, start + size)
        logs = [values[part] for values in log_p]
        probabilities = [values.exp() for values in logs]
        mean = torch.stack(probabilities).mean(0).log()
        for p, values in zip(probabilities, logs, strict=True):
            # 0·log 0 is 0.
            terms = torch.where(p > 0, p * (values - mean), 0.0)
            information[part] += terms.sum(-1, dtype=torch.float64) / len(log_p)
        for place, (j, k) in enumerate(pairs):
            distance = (probabilities[j] - probabilities[k]).abs().sum(-1, dtype=torch.float64)
            variation[part, place] = 0.5 * distance
    return information.clamp_min(0.0), variation


class Counting:
    """Adds up :func:`differences` of batches, by domain, at evenly spaced positions, so that the whole costs about
    ``work`` comparisons of entries.

    Args:
        teachers, domains: their names.
        positions: how many there are in all.
        vocabulary: entries a distribution.
    """

    def __init__(
        self,
        teacher_names: Sequence[str],
        domains: Sequence[str],
        positions: int,
        vocabulary: int,
        work: float = 3e9,
    ) -> None:
        self.teacher_names, self.domains = teacher_names, domains
        affordable = max(1, int(work / (len(teacher_names) ** 2 * vocabulary)))
        self._every = max(1, -(-positions // affordable))
        self._seen = 0
        pairs = len(teacher_names) * (len(teacher_names) - 1) // 2
        self._information = torch.zeros(len(domains), dtype=torch.float64)
        self._variation = torch.zeros(len(domains), pairs, dtype=torch.float64)
        self._count = torch.zeros(len(domains), dtype=torch.float64)
        self._together = torch.zeros(len(domains), pairs, dtype=torch.float64)

    def add(self, log_p: Sequence[Tensor], domain: Tensor, present: Sequence[int]) -> None:
        """Some positions, K' tensors [n, V] of the teachers numbered ``present``, and their domains [n]."""
        chosen = torch.arange((-self._seen) % self._every, len(domain), self._every)
        self._seen += len(domain)
        if not len(chosen) or len(present) < 2:
            return
        information, variation = differences([values[chosen] for values in log_p])
        domain = domain[chosen]
        places = {pair: place for place, pair in enumerate(combinations(range(len(self.teacher_names)), 2))}
        mine = torch.tensor([places[pair] for pair in combinations(present, 2)])
        self._information.index_add_(0, domain, information)
        self._count.index_add_(0, domain, torch.ones(len(domain), dtype=torch.float64))
        rows = torch.zeros(len(domain), self._variation.shape[1], dtype=torch.float64)
        together = torch.zeros_like(rows)
        rows[:, mine], together[:, mine] = variation, 1.0
        self._variation.index_add_(0, domain, rows)
        self._together.index_add_(0, domain, together)

    def found(self) -> Differing:
        """Return the means."""
        names = [f"{a}, {b}" for a, b in combinations(self.teacher_names, 2)]
        seen = [(number, name) for number, name in enumerate(self.domains) if self._count[number] > 0]
        return Differing(
            {name: float(self._information[number] / self._count[number]) for number, name in seen},
            {
                name: {
                    pair: float(self._variation[number, place] / self._together[number, place])
                    for place, pair in enumerate(names)
                    if self._together[number, place] > 0
                }
                for number, name in seen
            },
            {name: int(self._count[number]) for number, name in seen},
        )
