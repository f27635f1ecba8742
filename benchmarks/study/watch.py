"""What is counted while a cell trains and is tested."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.study.setting import Split
from trivium.scheme import Scheme
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import MonitorSection


class Watch:
    """The monitor, with one thing more: rows whose weights are NaN get uniform ones and are counted.

    Published rules have inputs on which they are undefined. That is an outcome to report; a run that stops there
    could not be ranked with the others.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.monitor = Monitor(MonitoredBounds.of(scheme, MonitorSection()), "record")
        self.rows, self.undefined, self.share = 0, 0, None

    def watch(self, log_weights: Tensor, mask: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        bad = torch.isnan(log_weights).any(-1, keepdim=True) & mask.unsqueeze(-1)
        self.rows += int(mask.sum())
        self.undefined += int(bad.sum())
        log_weights = torch.where(bad, -math.log(log_weights.shape[-1]), log_weights)
        used = self.monitor.watch(log_weights, mask, teacher_mask)
        summed = used[mask].exp().double().sum(0)
        self.share = summed if self.share is None else self.share + summed
        return used

    def watch_gradients(self, log_weights: Tensor, mask: Tensor, gram: Tensor) -> None:
        self.monitor.watch_gradients(log_weights, mask, gram)

    def record(self) -> dict[str, Any]:
        """Shares of the teachers, share of undefined rows, and the worst residual of each broken axiom."""
        broken: dict[str, float] = {}
        for line in self.monitor.take_violations():
            broken[line["axiom"]] = max(broken.get(line["axiom"], 0.0), line["residual"])
        shares = [] if self.share is None else (self.share / max(self.rows, 1)).tolist()
        return {"shares": shares, "undefined": self.undefined / max(self.rows, 1), "broken": broken}


def measured(split: Split, predict: Any) -> dict[str, Tensor]:
    """Nats and wrong labels of each unit, [units], from log-probabilities a chunk of examples at a time."""
    chunk = 512 if split.labels.shape[-1] == 1 else 16
    found = {name: torch.zeros(len(split.size), dtype=torch.float64) for name in ("nats", "wrong")}
    for index in torch.arange(len(split)).split(chunk):
        log_p, labels = predict(index), split.labels[index]
        known = labels >= 0
        nll = -log_p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        wrong = log_p.argmax(-1) != labels
        for name, value in (("nats", nll), ("wrong", wrong)):
            found[name].index_add_(0, split.unit[index], torch.where(known, value, 0).double().sum(-1))
    return found
