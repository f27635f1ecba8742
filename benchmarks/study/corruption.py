"""One teacher spoilt, in all splits alike, so that validation can notice it as it would in life.

``retrained``      trained again on labels most of which are wrong (settings that keep such logits)
``relabelled``     every output under a fixed permutation of the labels without fixed point: codes mixed up
``overconfident``  logits × 8, and on two fifths of the positions the permuted labels: wrong and sure of it
``misplaced``      the outputs for other examples: a teacher that answers questions from elsewhere
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.study.arrays import SPLITS
from benchmarks.study.setting import Setting, losses

FACTOR, SHARE = 8.0, 0.4
CONDITIONS = ("clean", "corrupted")


def _generator(seed: int, split: str) -> torch.Generator:
    return torch.Generator().manual_seed(7919 * (seed + 1) + SPLITS.index(split))


def cycle(labels: int, seed: int) -> Tensor:
    """A random cyclic permutation: no label keeps its place (for two labels: the swap)."""
    order = torch.randperm(labels, generator=torch.Generator().manual_seed(seed))
    moved = torch.empty_like(order)
    moved[order] = order.roll(1)
    return moved


def _relabelled(logits: Tensor, seed: int, split: str) -> Tensor:
    return logits[..., cycle(logits.shape[-1], seed)]


def _overconfident(logits: Tensor, seed: int, split: str) -> Tensor:
    wrong = torch.rand(logits.shape[:-1], generator=_generator(seed, split)) < SHARE
    move = cycle(logits.shape[-1], seed)
    found = torch.empty(logits.shape, dtype=logits.dtype)
    for row, (z, bad) in enumerate(zip(logits, wrong, strict=True)):  # by row: text would not fit twice in float32
        log_p = z.float().log_softmax(-1)
        sure = (FACTOR * torch.where(bad.unsqueeze(-1), log_p[..., move], log_p)).log_softmax(-1)
        # A KL needs mass everywhere: at least e⁻³⁰, as much as float32 carries through a pool.
        found[row] = sure.clamp_min(-30.0).to(logits.dtype)
    return found


def _misplaced(logits: Tensor, seed: int, split: str) -> Tensor:
    order = torch.randperm(len(logits), generator=_generator(seed, split))
    return logits[order]


_CHANGES: dict[str, Callable[[Tensor, int, str], Tensor]] = {
    "relabelled": _relabelled,
    "overconfident": _overconfident,
    "misplaced": _misplaced,
}
KINDS = ("retrained", *_CHANGES)


def victim_of(setting: Setting) -> int:
    """The teacher of median validation loss (the lower one of two): neither the crown nor a makeweight."""
    split = setting.splits["validation"]
    mean = losses(split, "task", len(setting.tasks)).mean(0)
    return int(mean.argsort()[(len(mean) - 1) // 2])


def corrupted(setting: Setting, kind: str | None = None, seed: int = 0) -> Setting:
    """The setting with one teacher spoilt; ``kind`` None takes the setting's main corruption."""
    kind = kind or setting.corruption
    victim = victim_of(setting)
    logits = {}
    for name, split in setting.splits.items():
        changed = list(split.logits)
        if kind == "retrained":
            if not setting.noisy:
                raise SystemExit(f"{setting.name} keeps no retrained teachers; choose one of {list(_CHANGES)}")
            changed[victim] = setting.noisy[name][victim]
        else:
            changed[victim] = _CHANGES[kind](changed[victim], seed, name)
        logits[name] = tuple(changed)
    return setting.with_logits(logits)
