"""One cell: a student trained under one arm in plain PyTorch, and what it and the mixture get wrong."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import Tensor, nn

import trivium as tv
from benchmarks.study.arms import Arm
from benchmarks.study.schedule import batches, rate
from benchmarks.study.setting import Setting, Split, losses
from benchmarks.study.watch import Watch, measured
from trivium.training.evaluate import is_predictor
from trivium.weighting.features import NEEDS_STUDENT


def run(setting: Setting, arm: Arm, seed: int, steps: int) -> dict[str, Any]:
    """Train and evaluate. Returns plain values: per-unit sums of the test split, shares, what was broken, seconds."""
    start = time.process_time()
    train, validation, test = (setting.splits[name] for name in ("train", "validation", "test"))
    known, domains = losses(validation, "task", len(setting.tasks)), losses(validation, "domain", len(setting.domains))

    def batch_of(part: Split, index: Tensor) -> dict[str, Tensor]:
        domain = part.group if arm.by_group else part.domain
        batch = {"inputs": part.inputs, "shift_labels": part.labels, "task": part.task, "domain": domain}
        batch |= {f"{name}_logits": z for name, z in zip(setting.teacher_names, part.logits, strict=True)}
        found = {name: value[index] for name, value in batch.items()}
        return found | {"row": index, "context_loss": domains[part.domain[index]]}

    scheme = copy.deepcopy(arm.scheme)  # rules that learn start from their first state in every cell
    student, watch = setting.student(seed), Watch(scheme)
    distiller = tv.Distiller(scheme, loss=arm.loss, validation_loss=known, on_violation=watch)
    optimizer = torch.optim.AdamW(student.parameters(), lr=setting.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    for index in batches(setting, seed, steps):
        loss = distiller(student(train.inputs[index], train.task[index]), batch_of(train, index)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        distiller.learn(student, schedule.get_last_lr()[0])
        schedule.step()
    result: dict[str, Any] = {"train": watch.record()}
    with torch.no_grad():
        result["student"] = measured(test, lambda i: student(test.inputs[i], test.task[i]).log_softmax(-1))
        if arm.loss.distillation > 0 and is_predictor(scheme) and seed == 0:
            mixed = tv.Distiller(scheme, validation_loss=known, on_violation=(watch := Watch(scheme)))
            looks = bool(set(scheme.ranges) & NEEDS_STUDENT)
            read = lambda i: student(test.inputs[i], test.task[i]) if looks else None  # noqa: E731
            result["mixture"] = measured(test, lambda i: mixed.mixture(batch_of(test, i), read(i)))
            result["test"] = watch.record()
    return result | {"seconds": time.process_time() - start}
