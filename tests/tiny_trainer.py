"""A trainer small enough to train in a second: three teachers, a dozen rows, a scheme for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from tiny_models import V, gpt2, llama, text
from trivium.scheme import Scheme, compose
from trivium.training.trainer import DistillationTrainer
from trivium.weighting import AMTSS, MMKD, Entropy, PrefixPosterior

NAMES = ("a", "b", "c")
SCHEME = compose(NAMES, token=[Entropy(0.5)], context=[PrefixPosterior(budget=4.0)], floor=0.01)
LEARNS = compose(
    NAMES,
    token=[MMKD(num_teachers=3, classes=V, every=2, budget=4.0, lipschitz=8.0, rate=0.05, samples=3, slots=6)],
    task=[AMTSS(num_teachers=3, rate=0.3, budget=4.0)],
)


def teachers() -> dict[str, Any]:
    return {name: llama(seed) for seed, name in enumerate(NAMES)}


def rows(count: int = 12, **columns: Any) -> list[dict[str, Any]]:
    """Rows of a dataset, unshifted labels, some padded."""
    found = []
    for seed in range(count // 4):
        batch = text(seed)
        found += [{name: value[row] for name, value in batch.items()} for row in range(4)]
    for number, row in enumerate(found):
        row |= {"task": torch.tensor(0)} | {name: value[number] for name, value in columns.items()}
    return found


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {"max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-2}
    settings |= {"logging_steps": 2, "report_to": [], "save_strategy": "no", "use_cpu": True, "disable_tqdm": True}
    settings |= {"dataloader_pin_memory": False, "lr_scheduler_type": "constant", "seed": 3}
    return TrainingArguments(output_dir=str(folder), **settings | changes)


def trainer(folder: Path, scheme: Scheme = SCHEME, student: Any = None, **changes: Any) -> DistillationTrainer:
    own = {name: changes.pop(name) for name in ("callbacks", "eval_dataset", "loss", "on_violation") if name in changes}
    data = changes.pop("train_dataset", None) or rows()
    return DistillationTrainer(
        model=student or gpt2(9, resid_pdrop=0.1),
        args=arguments(folder, **changes),
        train_dataset=data,
        teachers=teachers(),
        scheme=scheme,
        **own,
    )
