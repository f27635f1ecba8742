"""A tiny world of labelled examples: points in four dimensions, two tasks, two languages, teachers in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tiny_world import merged
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import PreparedRun, prepare

CLASSES = {"size": ["small", "medium", "large"], "sign": ["minus", "plus"]}
TEACHERS = ("both", "sizer", "signer")

FILE = '''
import torch

CUTS = torch.tensor([-0.5, 0.5])


def points(seed, n):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def size_train():
    x = points(0, 60)
    return x, torch.bucketize(x[:, 0].contiguous(), CUTS)


def size_validation():
    x = points(1, 30)
    return x, torch.bucketize(x[:, 0].contiguous(), CUTS)


def size_test():
    x = points(2, 40)
    return x, [("small", "medium", "large")[k] for k in torch.bucketize(x[:, 0].contiguous(), CUTS).tolist()]


def sign_train():
    x = points(3, 40)
    return {"x": x}, (x[:, 1] > 0).long(), {"trust": torch.arange(120.0).view(40, 3) / 120}


def sign_validation():
    x = points(4, 20)
    return {"x": x}, (x[:, 1] > 0).long().numpy(), {"trust": torch.zeros(20, 3)}


def sign_test():
    x = points(5, 30)
    return {"x": x}, (x[:, 1] > 0).long(), {"trust": torch.zeros(30, 3)}


def unlabelled():
    return points(6, 50), None


class Both(torch.nn.Module):
    """Knows both tasks, roughly."""

    def __init__(self):
        super().__init__()
        self.noise = torch.nn.Parameter(points(9, 5).T)

    def forward(self, x):
        size = torch.stack([-3 * x[:, 0], 1 - x[:, 0].abs(), 3 * x[:, 0]], -1)
        sign = torch.stack([-x[:, 1], x[:, 1]], -1)
        return {"size": size + 0.3 * (x @ self.noise)[:, :3], "sign": sign + 0.3 * (x @ self.noise)[:, 3:]}


both = Both()
sizer = torch.nn.Linear(4, 3, bias=False)
with torch.no_grad():
    sizer.weight.copy_(torch.tensor([[-2.0, 0, 0, 0], [0, 0, 0, 0.5], [2.0, 0, 0, 0]]))
sizer.classes = ["small", "medium", "large"]


def signer():
    def probabilities(x):
        plus = (x[:, 1] > -0.2).double() * 0.8 + 0.1
        return torch.stack([1 - plus, plus], -1).numpy()

    return probabilities


class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 8)
        self.size, self.sign = torch.nn.Linear(8, 3), torch.nn.Linear(8, 2)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return {"sign": self.sign(hidden), "size": self.size(hidden)}
'''


class ExamplesWorld:
    """The files of a tiny world below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mine.py").write_text(FILE, encoding="utf-8")

    def content(self, **changes: Any) -> dict[str, Any]:
        """Three teachers of which one serves both tasks, a rule at two scales, twelve steps."""
        content: dict[str, Any] = {
            "name": "tiny",
            "student": {"model": "mine.py:Student"},
            "teachers": [
                {"name": "both", "model": "mine.py:both"},
                {"name": "sizer", "model": "mine.py:sizer", "tasks": ["size"]},
                {"name": "signer", "model": "mine.py:signer", "tasks": ["sign"], "gives": "probabilities"},
            ],
            "data": {
                "kind": "examples",
                "tasks": CLASSES,
                "evaluation_rows": None,
                "test_rows": None,
                "domains": [
                    {"name": name, "task": name}
                    | {split: f"mine.py:{name}_{split}" for split in ("train", "validation", "test")}
                    for name in CLASSES
                ],
            },
            "scheme": {
                "token": [{"rule": "entropy", "options": {"strength": 0.5}}],
                "task": [{"rule": "skill"}],
                "budget": {"token": 1.0, "task": 1.0},
                "floor": 0.01,
                "cap": 0.6,
            },
            "train": {
                "steps": 12,
                "batch_size": 16,
                "learning_rate": 1e-2,
                "warmup_steps": 2,
                "save_every": 4,
                "evaluate_every": 6,
                "log_every": 3,
                "threads": 1,
                "tracker": "none",
            },
        }
        return merged(content, changes)

    def one_task(self, task: str = "size", **changes: Any) -> dict[str, Any]:
        """The same with one of the tasks and the teachers that serve it."""
        content = self.content()
        content["teachers"] = [t for t in content["teachers"] if task in t.get("tasks", [task]) and t["name"] != "both"]
        content["teachers"].append(dict(content["teachers"][0], name="twin"))
        content["data"]["tasks"] = {task: CLASSES[task]}
        content["data"]["domains"] = [d for d in content["data"]["domains"] if d["task"] == task]
        content["student"] = {"model": "plain.py:student"}
        content["scheme"]["cap"] = 1.0
        width = len(CLASSES[task])
        code = f"import torch\n\n\ndef student():\n    return torch.nn.Linear(4, {width})\n"
        (self.folder / "plain.py").write_text(code, encoding="utf-8")
        return merged(content, changes)

    def recipe(self, **changes: Any) -> Recipe:
        return parse_recipe(self.content(**changes))

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """A recipe file in the world's folder."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
        return path

    def prepared_run(self, recipe: Recipe, cache: Path | None = None) -> PreparedRun:
        return prepare(recipe, self.folder, cache or self.folder / "cache")
