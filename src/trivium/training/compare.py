"""Runs side by side: bits per byte with paired bootstrap intervals over documents and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.data.rows import Rows
from trivium.errors import require

DRAWS, LEVEL = 4000, 0.95


@dataclass(frozen=True)
class Replicates:
    """Bootstrap replicates of each run's mean bits per byte, paired: draw b of every run saw the same documents."""

    values: dict[str, Tensor]
    estimates: dict[str, float]
    domains: dict[str, dict[str, float]]

    def interval(self, name: str) -> list[float]:
        """95 % percentile interval of one run."""
        return _interval(self.values[name])

    def difference(self, a: str, b: str) -> dict[str, Any]:
        """a − b with its paired interval; negative: a is better."""
        return {
            "a": a,
            "b": b,
            "difference": self.estimates[a] - self.estimates[b],
            "interval": _interval(self.values[a] - self.values[b]),
        }


def bootstrap(nats: Mapping[str, Tensor], rows: Rows, draws: int = DRAWS, seed: int = 0) -> Replicates:
    """Resample documents within each domain, and seeds where there are several, the same for all runs.

    Args:
        nats: held-out nats a row for each run, [N], or [seeds, N] with seed s the same in every run.
        rows: the N rows; those of one document are drawn together.

    The mean over domains of Σ nats / (Σ bytes · ln 2) is the statistic. Cost O(draws · documents · seeds).

    Raises:
        InputError: runs with different numbers of seeds, or of rows.
    """
    stacked = {name: value.reshape(-1, value.shape[-1]) for name, value in nats.items()}
    shapes = {tuple(value.shape) for value in stacked.values()}
    require(len(shapes) == 1, "compared runs must share seeds and rows", sorted(shapes), "Evaluate them alike.")
    seeds, count = shapes.pop()
    require(count == len(rows), "nats must be one a row", f"{count} for {len(rows)} rows", "Use the same table.")
    keys = list(zip(rows.domain.tolist(), rows.document, strict=True))
    documents = list(dict.fromkeys(keys))
    number = torch.tensor([documents.index(key) for key in keys])
    size = torch.zeros(len(documents), dtype=torch.float64).index_add_(0, number, rows.bytes.double())
    domain = torch.tensor([key[0] for key in documents])
    generator = torch.Generator().manual_seed(seed)
    counts = [_counts(int((domain == d).sum()), draws, generator) for d in range(len(rows.domains))]
    seed_counts = _counts(seeds, draws, generator) / seeds
    values, estimates, by_domain = {}, {}, {}
    for name, value in stacked.items():
        summed = torch.zeros(seeds, len(documents), dtype=torch.float64).index_add_(1, number, value)
        replicate, means = torch.zeros(draws, dtype=torch.float64), {}
        for d, label in enumerate(rows.domains):
            inside = domain == d
            drawn = (counts[d] @ summed[:, inside].T) / (counts[d] @ size[inside]).unsqueeze(-1) / math.log(2)
            replicate += (drawn * seed_counts).sum(-1) / len(rows.domains)
            means[label] = float(summed[:, inside].sum() / size[inside].sum() / seeds / math.log(2))
        values[name], by_domain[name] = replicate, means
        estimates[name] = sum(means.values()) / len(means)
    return Replicates(values, estimates, by_domain)


def comparison(
    nats: Mapping[str, Mapping[str, Tensor]],
    rows: Rows,
    labels: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    note: str,
) -> dict[str, Any]:
    """The content of ``comparison.json``.

    Args:
        nats: by what is measured (``"student"``, ``"mixture"``), then by run.
        labels: what tables call each run.
        pairs: (a, b) for the differences a − b.
    """
    table, differences = [], []
    for what, runs in nats.items():
        replicates = bootstrap(runs, rows)
        for name in runs:
            table.append(
                {
                    "name": name,
                    "label": labels[name],
                    "what": what,
                    "bits_per_byte": replicates.domains[name],
                    "mean": replicates.estimates[name],
                    "interval": replicates.interval(name),
                }
            )
        differences += [{"what": what, **replicates.difference(a, b)} for a, b in pairs if a in runs and b in runs]
    domains = list(rows.domains)
    return {"unit": "bits per byte", "domains": domains, "rows": table, "differences": differences, "note": note}


def _counts(size: int, draws: int, generator: torch.Generator) -> Tensor:
    """How often each of ``size`` items is drawn, [draws, size]; one item is always drawn once."""
    drawn = torch.randint(size, (draws, size), generator=generator)
    return torch.zeros(draws, size, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones_like(drawn, dtype=torch.float64)
    )


def _interval(values: Tensor) -> list[float]:
    tail = (1 - LEVEL) / 2
    return torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=values.dtype)).tolist()
