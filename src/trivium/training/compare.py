"""Runs side by side: bits per byte, or nats an example, with paired bootstrap intervals over documents and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import require
from trivium.former import renamed

DRAWS, LEVEL = 4000, 0.95
#: Documents of a domain below which a bootstrap of them says little.
FEW = 5


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


@renamed(nats="nll")
def bootstrap(nll: Mapping[str, Tensor], rows: Table, draws: int = DRAWS, seed: int = 0) -> Replicates:
    """Resample documents within each domain, and seeds where there are several, the same for all runs.

    Args:
        nll: held-out nats a row for each run, [N], or [seeds, N] with seed s the same in every run.
        rows: the N rows; those of one document are drawn together.

    The mean over domains of Σ nats / (Σ bytes · ln 2) is the statistic; of examples, each of which is a document, the
    mean nats an example, or the accuracy where ``nll`` are zeros and ones. Cost O(draws · documents · runs · seeds),
    memory O(draws · runs · seeds) beside 48 MiB.

    Raises:
        InputError: runs with different numbers of seeds, or of rows.
    """
    stacked = {name: value.reshape(-1, value.shape[-1]) for name, value in nll.items()}
    shapes = {tuple(value.shape) for value in stacked.values()}
    require(len(shapes) == 1, "compared runs must share seeds and rows", sorted(shapes), "Evaluate them alike.")
    seeds, count = shapes.pop()
    require(count == len(rows), "nats must be one a row", f"{count} for {len(rows)} rows", "Use the same table.")
    keys = list(zip(rows.domain.tolist(), rows.document, strict=True))
    documents = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    number = torch.tensor([documents[key] for key in keys])
    size = torch.zeros(len(documents), dtype=torch.float64).index_add_(0, number, rows.size.double())
    domain = torch.tensor([key[0] for key in documents])
    summed = {
        name: torch.zeros(len(documents), seeds, dtype=torch.float64).index_add_(0, number, value.T.double())
        for name, value in stacked.items()
    }
    generator = torch.Generator().manual_seed(seed)
    ratios = {name: torch.zeros(draws, seeds, dtype=torch.float64) for name in stacked}
    by_domain: dict[str, dict[str, float]] = {name: {} for name in stacked}
    for d, label in enumerate(rows.domains):
        inside = domain == d
        units = size[inside] * rows.nats_a_unit
        drawn = _drawn({name: value[inside] for name, value in summed.items()}, units, draws, generator)
        for name, value in summed.items():
            ratios[name] += drawn[name] / len(rows.domains)
            by_domain[name][label] = float(value[inside].sum() / units.sum() / seeds)
    of_seeds = _counts(seeds, draws, generator) / seeds
    values = {name: (ratio * of_seeds).sum(-1) for name, ratio in ratios.items()}
    return Replicates(values, {name: sum(m.values()) / len(m) for name, m in by_domain.items()}, by_domain)


@renamed(nats="nll")
def comparison(
    nll: Mapping[str, Mapping[str, Tensor]],
    rows: Table,
    labels: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    note: str,
) -> dict[str, Any]:
    """Return the content of ``comparison.json``.

    Args:
        nll: by what is measured (``"student"``, ``"mixture"``), then by run.
        labels: what tables call each run.
        pairs: (a, b) for the differences a − b.
    """
    table, differences = [], []
    key = "bits_per_byte" if rows.unit == "bits per byte" else "nats"
    for what, runs in nll.items():
        replicates = bootstrap(runs, rows)
        for name in runs:
            table.append(
                {
                    "name": name,
                    "label": labels[name],
                    "what": what,
                    key: replicates.domains[name],
                    "mean": replicates.estimates[name],
                    "interval": replicates.interval(name),
                }
            )
        differences += [{"what": what, **replicates.difference(a, b)} for a, b in pairs if a in runs and b in runs]
    domains = list(rows.domains)
    return {"unit": rows.unit, "domains": domains, "rows": table, "differences": differences, "note": note + few(rows)}


def few(rows: Table) -> str:
    """Return what to add to a note where a domain has so few documents that resamples of them hardly differ; else
    empty."""
    documents = Counter(domain for domain, _ in set(zip(rows.domain.tolist(), rows.document, strict=True)))
    least = min(documents.values())
    plural = "s" * (least > 1)
    return "" if least >= FEW else f" A domain has {least} document{plural} only, so intervals are too narrow."


def _drawn(summed: Mapping[str, Tensor], units: Tensor, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Σ nats / Σ units over resamples of n documents, [draws, seeds] for each run; the same resamples for all.

    Args:
        summed: by run, [n, seeds]. units: [n].
    """
    block = max(1, 2**21 // len(units))
    found: dict[str, list[Tensor]] = {name: [] for name in summed}
    for start in range(0, draws, block):
        counts = _counts(len(units), min(block, draws - start), generator)
        for name, value in summed.items():
            found[name].append(counts @ value / (counts @ units).unsqueeze(-1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _counts(size: int, draws: int, generator: torch.Generator) -> Tensor:
    """Return how often each of ``size`` items is drawn, [draws, size]; one item is always drawn once."""
    drawn = torch.randint(size, (draws, size), generator=generator)
    return torch.zeros(draws, size, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones_like(drawn, dtype=torch.float64)
    )


def _interval(values: Tensor) -> list[float]:
    tail = (1 - LEVEL) / 2
    return torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=values.dtype)).tolist()
