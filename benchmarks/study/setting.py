"""What a setting is: inputs, labels and teachers' logits in three splits, and the student that learns there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

#: A student maps (inputs [B, …], task [B]) to logits [B, T, V].
Student = Callable[[int], nn.Module]


@dataclass(frozen=True, eq=False)
class Split:
    """N examples; T = 1 where one label is predicted.

    Attributes:
        inputs: what the student reads, [N, …].
        labels: [N, T], −100 where nothing is predicted.
        logits: one tensor [N, T, V] a teacher.
        task, domain: [N], what is known of an example when a teacher is asked; rules may read both.
        group: [N], what only the oracle knows.
        unit: [N], which examples are resampled together (documents); ``size`` [units] is a unit's denominator and
            ``stratum`` [units] the part of the data whose mean enters the metric.
    """

    inputs: Tensor
    labels: Tensor
    logits: tuple[Tensor, ...]
    task: Tensor
    domain: Tensor
    group: Tensor
    unit: Tensor
    size: Tensor
    stratum: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Setting:
    """Data, teachers and student of one setting."""

    name: str
    title: str
    metric: str  #: ``error`` (share of wrong labels) or ``bits`` (bits per byte)
    teacher_names: tuple[str, ...]
    tasks: tuple[str, ...]
    domains: tuple[str, ...]
    groups: tuple[str, ...]
    splits: Mapping[str, Split]
    student: Student
    steps: int
    batch_size: int
    learning_rate: float
    corruption: str  #: the main one, see ``corruption.KINDS``
    noisy: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)  #: logits of teachers trained on bad labels
    hard_labels: bool = True

    def with_logits(self, logits: Mapping[str, tuple[Tensor, ...]]) -> Setting:
        return replace(self, splits={name: replace(s, logits=logits[name]) for name, s in self.splits.items()})


@lru_cache(maxsize=64)
def losses(split: Split, by: Literal["task", "domain", "group"], count: int) -> Tensor:
    """Each teacher's mean nats a label in each of ``count`` parts, [count, K]; over all where a part is empty."""
    nll = torch.stack([nats_of(z, split.labels) for z in split.logits], -1)
    known = (split.labels >= 0).sum(-1).double()
    whole = nll.sum(0) / known.sum()
    found = []
    for part in range(count):
        inside = getattr(split, by) == part
        found.append(nll[inside].sum(0) / known[inside].sum() if bool(inside.any()) else whole)
    return torch.stack(found).float()


def nats_of(logits: Tensor, labels: Tensor) -> Tensor:
    """−Σ_t log p(label_t) of each example, [N], float64, in chunks so that text fits."""
    found = []
    for z, label in zip(logits.split(64), labels.split(64), strict=True):
        log_p = z.float().log_softmax(-1).gather(-1, label.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        found.append(-torch.where(label >= 0, log_p, 0.0).double().sum(-1))
    return torch.cat(found)


def one_label(inputs: Tensor, labels: Tensor, logits: np.ndarray, task: Tensor, domain: Tensor, group: Tensor) -> Split:
    """A split of single labels: every example is a unit of its own, all in one stratum."""
    n = len(labels)
    return Split(
        inputs=inputs,
        labels=labels.view(n, 1),
        logits=tuple(torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32)).unsqueeze(1) for z in logits),
        task=task,
        domain=domain,
        group=group,
        unit=torch.arange(n),
        size=torch.ones(n, dtype=torch.float64),
        stratum=torch.zeros(n, dtype=torch.long),
    )


class Perceptron(nn.Module):
    """inputs → hidden → one head a task."""

    def __init__(self, inputs: int, hidden: int, labels: int, tasks: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.head, self.labels = nn.Linear(hidden, labels * tasks), labels

    def forward(self, inputs: Tensor, task: Tensor) -> Tensor:
        every = self.head(self.body(inputs)).view(len(inputs), -1, self.labels)
        return every[torch.arange(len(inputs)), task].unsqueeze(1)


class Bag(nn.Module):
    """Hashed n-grams (index 0 pads) → mean embedding → labels.

    Not ``EmbeddingBag``: rules that learn through the student differentiate it twice.
    """

    def __init__(self, buckets: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets, hidden, padding_idx=0)
        self.head = nn.Linear(hidden, labels)

    def forward(self, inputs: Tensor, task: Tensor) -> Tensor:
        count = (inputs > 0).sum(-1, keepdim=True).clamp_min(1)
        mean = self.embedding(inputs.long()).sum(-2) / count
        return self.head(torch.relu(mean)).unsqueeze(1)


def seeded(make: Callable[[], nn.Module]) -> Student:
    """Initial weights that depend on the seed alone."""

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return make()

    return build


LN2 = math.log(2)
