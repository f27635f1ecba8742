"""Several labels at once, as a task with a table, teachers and a student of its own.

Catches what the ranked pairs do not, whose rows are those of labelled examples: a step of a run that takes more for
granted than :class:`trivium.data.table.Table` says, such as the shape of inputs, one position a row, or a student and
teachers of the package.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tiny_world import resumed, weights_of
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import PreparedRun, distill, prepare
from trivium.training.trace import read_trace

TAGS = '''
"""Tags of points: T positions a row, of two classes each, "no" and "yes"; a model gives one logit a tag."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from trivium.store.identity import of_table, of_tensor
from trivium.teachers.admission import unsaid
from trivium.training.evaluate import nll, teacher_nll, validation_losses
from trivium.training.tasks.base import Materials, three
from trivium.weighting.loading import load_object

DRAW = torch.Generator().manual_seed(0)
TRUTH = torch.randn(5, 3, generator=DRAW)  # five numbers a point, three tags


@dataclass(frozen=True)
class Tagged:
    inputs: Tensor  # [N, 5]
    labels: Tensor  # [N, 3], -100 where nobody said
    domain: Tensor
    domains: tuple

    tasks, columns, census, teacher_mask = ("tags",), {}, (), None
    unit, nats_a_unit = "nats a tag", 1.0

    def __len__(self):
        return len(self.labels)

    mask = property(lambda self: self.labels >= 0)
    size = property(lambda self: self.mask.sum(-1))
    task = property(lambda self: torch.zeros(len(self), dtype=torch.long))
    document = property(lambda self: tuple(map(str, range(len(self)))))

    def digest(self):
        return of_table({"x": self.inputs, "labels": self.labels, "domain": self.domain}, {}, [self.domains])

    def arguments(self, index, device="cpu"):
        return {"points": self.inputs[index.cpu()].to(device)}


class Output(NamedTuple):
    logits: Tensor


def two(z):
    """[B, T] to logits [B, T, 2] of no and yes: their softmax is sigmoid(-z), sigmoid(z)."""
    return torch.stack([torch.zeros_like(z), z], -1)


class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(5, 3)

    def forward(self, points):
        return Output(two(self.body(points)))

    def save_pretrained(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self, str(folder / "model.safetensors"))


@dataclass(frozen=True)
class Teacher:
    name: str
    slopes: Tensor
    vocabulary_size, device = 2, torch.device("cpu")

    @property
    def fingerprint(self):
        return of_tensor(self.slopes)

    def logits(self, points):
        return two(points @ self.slopes)


def points(domain, seed, n):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) + domain
    labels = (x @ TRUTH > 0).long()
    labels[::4, 1] = -100
    return x, labels


class Tags:
    measures = {"nats": "", "right": "_right"}

    def score(self, log_p, labels):
        known = labels >= 0
        right = ((log_p.argmax(-1) == labels) & known).sum(-1)
        return torch.stack([nll(log_p, labels), right.double()], -1)

    def sizes(self, recipe, base):
        return {"tasks": lambda: 1, "classes": lambda: 2}

    def admit(self, scheme):
        pass

    def serves(self, recipe):
        return None

    def materials(self, recipe, scheme, base, device, say):
        names = tuple(d.name for d in recipe.data.domains)

        def table(split, limit):
            seed = {"train": 1, "validation": 2, "test": 3}[split]
            found = [points(number, seed + 10 * number, limit) for number in range(len(names))]
            x, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
            return Tagged(x, labels, torch.arange(len(names)).repeat_interleave(limit), names)

        teachers = [Teacher(t.name, load_object(t.model, base)) for t in recipe.teachers]
        return Materials(teachers, three(recipe, table), self.student(recipe, base))

    def student(self, recipe, base, rows=None, say=unsaid):
        torch.manual_seed(recipe.train.seed)
        return Student().train()

    def load(self, recipe, base, folder):
        student = self.student(recipe, base)
        load_model(student, str(folder / "model.safetensors"))
        return student

    def judge(self, source, rows, teachers, classes):
        return validation_losses(teacher_nll(source, rows), rows), []

    def results(self, nats, rows, teachers):
        return {}


right = 3 * TRUTH
roughly = TRUTH + 0.5 * torch.randn(5, 3, generator=DRAW)
tags = Tags()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tags")
    (found / "tags.py").write_text(TAGS, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse_recipe(
        {
            "student": {},
            "teachers": [{"name": name, "model": f"tags.py:{name}"} for name in ("right", "roughly")],
            "data": {
                "kind": "tags.py:tags",
                "domains": [{"name": d, "train": "-", "validation": "-", "test": "-"} for d in ("near", "far")],
                **{"train_rows": 40, "evaluation_rows": 20, "test_rows": 30},
            },
            "scheme": {"token": [{"rule": "entropy"}], "context": [{"rule": "prefix_posterior"}], "floor": 0.05},
            "train": {
                **{"steps": 24, "batch_size": 8, "learning_rate": 5e-2, "warmup_steps": 2, "tracker": "none"},
                **{"save_every": 8, "evaluate_every": 8, "log_every": 1, "threads": 1},
            },
        }
    )


@pytest.fixture(scope="module")
def shop(folder: Path, recipe: Recipe) -> PreparedRun:
    return prepare(recipe, folder, folder / "cache")


@pytest.fixture(scope="module")
def run(recipe: Recipe, shop: PreparedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs") / "whole"
    distill(recipe, shop, found)
    return found


def test_all_tags_are_learned(run: Path) -> None:
    evals = [row for row in read_trace(run / "metrics.jsonl") if row["kind"] == "eval"]
    assert [row["step"] for row in evals] == [0, 8, 16, 24]
    assert evals[-1]["mean"] < evals[0]["mean"] - 0.2
    assert min(evals[-1]["right"].values()) > 0.8  # a share of the tags that somebody said, as all is by `size`


def test_nats_are_the_binary_cross_entropy_of_every_tag(
    run: Path, recipe: Recipe, folder: Path, shop: PreparedRun
) -> None:
    rows = shop.tables.test
    assert rows is not None
    student = shop.task.load(recipe, folder, run / "student")
    z, known = student.body(rows.inputs), rows.mask
    each = torch.nn.functional.binary_cross_entropy_with_logits(z, rows.labels.clamp_min(0).float(), reduction="none")
    nll = json.loads((run / "nats.json").read_text(encoding="utf-8"))
    expected = torch.where(known, each, 0.0).sum(-1).double()
    torch.testing.assert_close(torch.tensor(nll["student"]).double(), expected, rtol=1e-5, atol=1e-5)
    right = ((z > 0) == (rows.labels == 1)) & known
    assert nll["student_right"] == right.sum(-1).tolist()


def test_the_first_loss_is_that_of_the_pooled_sigmoids(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """With uniform weights and one batch of all rows: KL from the mean of the teachers' sigmoids, over known tags."""
    uniform = recipe.model_copy(
        update={
            "scheme": recipe.scheme.model_copy(update={"token": [], "context": [], "floor": 0.0}),
            "train": recipe.train.model_copy(update={"batch_size": 80, "steps": 1}),
            "cache": recipe.cache.model_copy(update={"enabled": False}),  # which keeps logits to a few digits
        }
    )
    shop = prepare(uniform, folder, tmp_path / "cache")
    distill(uniform, shop, tmp_path / "run")
    [step] = [row for row in read_trace(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "step"]
    rows = shop.tables.train
    p = torch.stack([torch.sigmoid(rows.inputs.double() @ teacher.slopes.double()) for teacher in shop.teachers]).mean(
        0
    )
    q = torch.sigmoid(shop.task.student(recipe, folder).body(rows.inputs).double())
    kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert step["distillation"] == pytest.approx(float(kl[rows.mask].mean().detach()), rel=1e-5)


@pytest.mark.deep
def test_a_resumed_run_is_the_uninterrupted_one(folder: Path, recipe: Recipe, run: Path, tmp_path: Path) -> None:
    whole, cut = weights_of(run / "student"), resumed(recipe, folder, tmp_path / "cut", at=16)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
