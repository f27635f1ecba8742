"""What arms of one seed share: the batches of every step, and the rate of learning."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.study.setting import Setting

WARMUP = 20


def batches(setting: Setting, seed: int, steps: int) -> Tensor:
    """Row numbers of every step, [steps, B]: epochs in an order that the seed alone decides."""
    n, wanted = len(setting.splits["train"]), steps * setting.batch_size
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(-(-wanted // n))]
    return torch.cat(orders)[:wanted].view(steps, setting.batch_size)


def rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(WARMUP, max(1, steps // 5))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
