"""The demo's three domains of text and the three language models the package ships; a small Llama learns."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.study.arrays import SPLITS
from benchmarks.study.setting import LN2, Setting, Split

ROWS = {"train_rows": 160, "evaluation_rows": 16, "test_rows": 64}


class Tokens(nn.Module):
    """A causal language model as (input ids, task) → logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, task: Tensor) -> Tensor:
        return self.model(input_ids=inputs).logits


def load(work: Path) -> Setting:
    from trivium.training.recipe import load_recipe
    from trivium.training.run import prepare
    from trivium.training.tasks.text import build_student

    recipe = load_recipe(Path(str(files("trivium"))) / "assets" / "first_light" / "recipe.yaml")
    recipe = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update=ROWS),
            "train": recipe.train.model_copy(update={"threads": 1}),
        }
    )
    prepared_run = prepare(recipe, Path(), work / "data" / "text")

    def student(seed: int) -> nn.Module:
        seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
        return Tokens(build_student(seeded, prepared_run.tokenizer))

    splits = {}
    for name in SPLITS:
        rows = getattr(prepared_run.tables, name)
        every = torch.arange(len(rows))
        names = list(dict.fromkeys(zip(rows.domain.tolist(), rows.document, strict=True)))
        unit = torch.tensor([names.index(key) for key in zip(rows.domain.tolist(), rows.document, strict=True)])
        size = torch.zeros(len(names), dtype=torch.float64).index_add_(0, unit, rows.bytes.double() * LN2)
        splits[name] = Split(
            inputs=rows.input_ids,
            labels=rows.labels,
            logits=tuple(prepared_run.sources[name].logits(every)),
            task=rows.task,
            domain=rows.domain,
            group=rows.domain,
            unit=unit,
            size=size,
            stratum=torch.tensor([domain for domain, _ in names]),
        )
    return Setting(
        name="text",
        title="text in three domains, a language model for each",
        metric="bits",
        teacher_names=tuple(recipe.teacher_names),
        tasks=prepared_run.tables.test.tasks,
        domains=prepared_run.tables.test.domains,
        groups=prepared_run.tables.test.domains,
        splits=splits,
        student=student,
        steps=480,
        batch_size=2,
        learning_rate=3e-3,
        corruption="overconfident",
    )
