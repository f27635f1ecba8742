"""Each teacher's share of the weight, per scale: a starved teacher must show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.scheme import Scheme
from trivium.simplex.geometry import influence
from trivium.simplex.restriction import restrict
from trivium.training.step import StepOutput


class Shares:
    """Adds up losses, mean weights and influence over the batches between two lines of the trace.

    Args:
        accumulation: batches an optimizer step; each batch's loss is its part of the step's.
    """

    def __init__(self, scheme: Scheme, accumulation: int = 1) -> None:
        self.scheme, self.accumulation = scheme, accumulation
        self._clear()

    def _clear(self) -> None:
        self.batches = self.weighed = 0
        self.sums: dict[str, float] = defaultdict(float)
        self.weights: dict[str, Tensor] = {}
        self.influence: dict[str, float] = {}

    @torch.no_grad()
    def add(self, step: StepOutput, mask: Tensor, teacher_mask: Tensor | None = None) -> None:
        """Take in one batch.

        Args:
            mask: [B, T], which positions count.
            teacher_mask: [B, K], which teachers serve a row; shares and influence are those among them. None: all.
        """
        self.batches += 1
        for name, value in (("loss", step.loss), ("distillation", step.distillation), ("label", step.label)):
            self.sums[name] += float(value)
        if not bool(mask.any()):  # nothing is predicted, so nobody has a share
            return
        self.weighed += 1
        for scale, log_weights in [*self.scheme.by_scale(step.features).items(), ("all", step.log_weights)]:
            chosen = log_weights.expand(*mask.shape, -1)[mask]
            largest = influence(chosen)
            if teacher_mask is not None:
                present = teacher_mask.unsqueeze(1).expand(*mask.shape, -1)[mask]
                chosen = restrict(chosen, present)
                largest = chosen.amax(-1) - chosen.masked_fill(~present, torch.inf).amin(-1)
            mean = chosen.exp().mean(0).double().cpu()
            self.weights[scale] = self.weights.get(scale, torch.zeros_like(mean)) + mean
            self.influence[scale] = max(self.influence.get(scale, 0.0), float(largest.max()))

    def take(self) -> dict[str, Any]:
        """Since the last call, in the shape of a trace line: losses a step, mean shares, largest influence."""
        count, weighed = max(self.batches, 1), max(self.weighed, 1)
        names = self.scheme.teacher_names
        record: dict[str, Any] = {name: value * self.accumulation / count for name, value in self.sums.items()}
        record["share"] = {s: dict(zip(names, (w / weighed).tolist(), strict=True)) for s, w in self.weights.items()}
        record["influence"] = dict(self.influence)
        self._clear()
        return record

    def state(self) -> dict[str, Any]:
        """What has been added and not been taken yet, for a checkpoint."""
        return {
            "batches": self.batches,
            "weighed": self.weighed,
            "sums": dict(self.sums),
            "weights": dict(self.weights),
            "influence": dict(self.influence),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self._clear()
        self.batches, self.influence = int(state["batches"]), dict(state["influence"])
        self.weighed = int(state.get("weighed", self.batches))
        self.sums.update(state["sums"])
        self.weights.update(state["weights"])


def combined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One record of those that several processes took in the same steps: losses add up, as each is over the tokens
    of all; shares are averaged over those that have some; influence is the largest."""
    first = records[0]
    found: dict[str, Any] = {n: sum(r[n] for r in records) for n in first if n not in ("share", "influence")}
    scales = dict.fromkeys(scale for record in records for scale in record["share"])
    found["share"], found["influence"] = {}, {}
    for scale in scales:
        having = [record for record in records if scale in record["share"]]
        names = having[0]["share"][scale]
        found["share"][scale] = {n: sum(r["share"][scale][n] for r in having) / len(having) for n in names}
        found["influence"][scale] = max(record["influence"][scale] for record in having)
    return found
