"""Each teacher's share of the weight, by scale, so that a teacher without weight is seen."""

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

    Shares are means over positions, and losses means over optimizer steps, however these were cut into batches: a batch
    counts for n/N of a step, where n of the N positions that its step predicts are its own.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self._clear()

    def _clear(self) -> None:
        self.batches = self.positions = 0
        self.steps = 0.0
        self.sums: dict[str, float] = defaultdict(float)
        self.weights: dict[str, Tensor] = {}
        self.influence: dict[str, float] = {}

    @torch.no_grad()
    def add(
        self,
        step: StepOutput,
        mask: Tensor,
        teacher_mask: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> None:
        """Take in one batch.

        Args:
            mask: [B, T], which positions count.
            teacher_mask: [B, K], which teachers serve a row; shares and influence are those among them. None: all.
            normalizer: the positions that the whole step predicts; None: the batch is a step of its own.
        """
        self.batches += 1
        for name, value in (("loss", step.loss), ("distillation", step.distillation), ("label", step.label)):
            self.sums[name] += float(value)
        count = int(mask.sum())
        self.steps += 1.0 if normalizer is None else count / max(float(normalizer), 1.0)
        if count == 0:  # nothing is predicted, so nobody has a share
            return
        self.positions += count
        for scale, log_weights in [*self.scheme.by_scale(step.features).items(), ("all", step.log_weights)]:
            chosen = log_weights.expand(*mask.shape, -1)[mask]
            largest = influence(chosen)
            if teacher_mask is not None:
                present = teacher_mask.unsqueeze(1).expand(*mask.shape, -1)[mask]
                chosen = restrict(chosen, present)
                largest = chosen.amax(-1) - chosen.masked_fill(~present, torch.inf).amin(-1)
            total = count * chosen.exp().mean(0).double().cpu()
            self.weights[scale] = self.weights.get(scale, torch.zeros_like(total)) + total
            self.influence[scale] = max(self.influence.get(scale, 0.0), float(largest.max()))

    def take(self) -> dict[str, Any]:
        """Since the last call, in the shape of a trace line: losses a step, mean shares, largest influence; and of how
        many ``steps`` and ``positions`` they are."""
        steps, positions = self.steps or 1.0, max(self.positions, 1)
        names = self.scheme.teacher_names
        record: dict[str, Any] = {name: value / steps for name, value in self.sums.items()}
        record |= {"steps": self.steps, "positions": self.positions}
        record["share"] = {s: dict(zip(names, (w / positions).tolist(), strict=True)) for s, w in self.weights.items()}
        record["influence"] = dict(self.influence)
        self._clear()
        return record

    def state(self) -> dict[str, Any]:
        """Return what has been added and not been taken yet, for a checkpoint."""
        return {
            "batches": self.batches,
            "positions": self.positions,
            "steps": self.steps,
            "sums": dict(self.sums),
            "weights": dict(self.weights),
            "influence": dict(self.influence),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        self._clear()
        if "positions" not in state:  # of an earlier version, which added up means: this line begins here
            return
        self.batches, self.influence = int(state["batches"]), dict(state["influence"])
        self.positions, self.steps = int(state["positions"]), float(state["steps"])
        self.sums.update(state["sums"])
        self.weights.update(state["weights"])


def combined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one record of those that several processes took in the same steps: losses weighted by each one's part of
    the steps, shares by its positions; influence is the largest."""
    counts = ("steps", "positions")
    steps = sum(record["steps"] for record in records) or 1.0
    losses = [name for name in records[0] if name not in ("share", "influence", *counts)]
    found: dict[str, Any] = {name: sum(r[name] * r["steps"] for r in records) / steps for name in losses}
    scales = dict.fromkeys(scale for record in records for scale in record["share"])
    found["share"], found["influence"] = {}, {}
    for scale in scales:
        having = [record for record in records if scale in record["share"]]
        names, positions = having[0]["share"][scale], sum(record["positions"] for record in having)
        found["share"][scale] = {
            name: sum(r["share"][scale][name] * r["positions"] for r in having) / positions for name in names
        }
        found["influence"][scale] = max(record["influence"][scale] for record in having)
    return found
