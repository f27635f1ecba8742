"""One cell: a student trained under one arm, and what it and the mixture get wrong.

The step is :func:`trivium.training.step.distillation_step`, the same page that the trainer runs; around it is only
what a benchmark needs. Arms that share a seed share initial weights, batches and schedule.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.study.arms import Arm
from benchmarks.study.setting import Setting, Split, losses
from trivium.aggregation import POOLS
from trivium.scheme.tree import leaves
from trivium.training.collect import Batch, collect_features
from trivium.training.evaluate import is_predictor
from trivium.training.monitor import Bounds, Monitor
from trivium.training.recipe import MonitorSection
from trivium.training.step import distillation_step
from trivium.weighting.features import NEEDS_STUDENT
from trivium.weighting.learned import Learned, Lesson

WARMUP, CLIP = 20, 1.0


class Watch:
    """The monitor, with one thing more: rows whose weights are NaN get uniform ones and are counted.

    Published rules have inputs on which they are undefined. That is an outcome to report; a run that stops there
    could not be ranked with the others.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor, self.rows, self.undefined, self.share = monitor, 0, 0, None

    def watch(self, log_weights: Tensor, mask: Tensor, serving: Tensor | None = None) -> Tensor:
        bad = torch.isnan(log_weights).any(-1, keepdim=True) & mask.unsqueeze(-1)
        self.rows += int(mask.sum())
        self.undefined += int(bad.sum())
        log_weights = torch.where(bad, -math.log(log_weights.shape[-1]), log_weights)
        used = self.monitor.watch(log_weights, mask, serving)
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


def batches(setting: Setting, seed: int, steps: int) -> Tensor:
    """Row numbers of every step, [steps, B]: epochs in an order that the seed alone decides."""
    n, wanted = len(setting.splits["train"]), steps * setting.batch_size
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(-(-wanted // n))]
    return torch.cat(orders)[:wanted].view(steps, setting.batch_size)


def batch_of(split: Split, index: Tensor, arm: Arm, columns: dict[str, Tensor]) -> Batch:
    return Batch(
        labels=split.labels[index],
        teacher_logits=[z[index] for z in split.logits],
        domain=(split.group if arm.by_group else split.domain)[index],
        task=split.task[index],
        columns={name: value[split.domain[index]] for name, value in columns.items()},
    )


def run(setting: Setting, arm: Arm, seed: int, steps: int) -> dict[str, Any]:
    """Train and evaluate. Returns plain values: per-unit sums of the test split, shares, what was broken, seconds."""
    start = time.process_time()
    validation = setting.splits["validation"]
    validation_loss = losses(validation, "task", len(setting.tasks))
    columns = {"context_loss": losses(validation, "domain", len(setting.domains))}
    # A copy: rules that learn start from their first state in every cell.
    scheme = copy.deepcopy(arm.scheme)
    learners = [leaf for leaf in leaves(scheme) if isinstance(leaf, Learned)]
    student = setting.student(seed)
    watch = Watch(Monitor(Bounds.of(arm.scheme, MonitorSection()), "record"))
    optimizer = torch.optim.AdamW(student.parameters(), lr=setting.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    train = setting.splits["train"]
    for step, index in enumerate(batches(setting, seed, steps), start=1):
        batch = batch_of(train, index, arm, columns)
        logits = student(train.inputs[index], batch.task)
        output = distillation_step(logits, batch, scheme, arm.loss, validation_loss, watch)
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimizer.step()
        for learned in learners:
            learned.learn(lesson(setting, student, index, step, schedule.get_last_lr()[0]))
        schedule.step()
    test = setting.splits["test"]
    result: dict[str, Any] = {"train": watch.record()}
    with torch.no_grad():
        result["student"] = measured(test, lambda i: student(test.inputs[i], test.task[i]).log_softmax(-1))
        if arm.loss.distillation > 0 and is_predictor(arm.scheme) and seed == 0:
            watch = Watch(Monitor(Bounds.of(arm.scheme, MonitorSection()), "record"))

            def mixture(index: Tensor) -> Tensor:
                batch = batch_of(test, index, arm, columns)
                logits = student(test.inputs[index], batch.task) if _looks(arm) else None
                features = collect_features(scheme, batch, logits, validation_loss)
                weights = scheme.log_weights(features).expand(*batch.labels.shape, len(setting.teachers))
                weights = watch.watch(weights, batch.mask).flatten(0, 1)
                log_p = [z.flatten(0, 1).float().log_softmax(-1) for z in batch.teacher_logits]
                return POOLS["linear"].pool(log_p, weights).view(*batch.labels.shape, -1)

            result["mixture"] = measured(test, mixture)
            result["test"] = watch.record()
    return result | {"seconds": time.process_time() - start}


def lesson(setting: Setting, student: nn.Module, rows: Tensor, step: int, rate: float) -> Any:
    """What a learned rule may look at after an optimizer step."""
    train = setting.splits["train"]
    return Lesson(
        step=step,
        rows=rows,
        learning_rate=rate,
        parameters=dict(student.named_parameters()),
        student_logits=lambda p, i: torch.func.functional_call(student, dict(p), (train.inputs[i], train.task[i])),
        teacher_logits=lambda i: [z[i] for z in train.logits],
        labels=lambda i: train.labels[i],
        task=lambda i: train.task[i],
    )


def _looks(arm: Arm) -> bool:
    return bool(set(arm.scheme.ranges) & NEEDS_STUDENT)


def rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(WARMUP, max(1, steps // 5))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def measured(split: Split, predict: Any) -> dict[str, Tensor]:
    """Nats and wrong labels of each unit, [units], from log-probabilities a chunk of examples at a time."""
    chunk = 512 if split.labels.shape[-1] == 1 else 16
    found = {name: torch.zeros(len(split.size), dtype=torch.float64) for name in ("nats", "wrong")}
    for index in torch.arange(len(split)).split(chunk):
        log_p, labels = predict(index), split.labels[index]
        known = labels >= 0
        nats = -log_p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        wrong = log_p.argmax(-1) != labels
        for name, value in (("nats", nats), ("wrong", wrong)):
            found[name].index_add_(0, split.unit[index], torch.where(known, value, 0).double().sum(-1))
    return found
