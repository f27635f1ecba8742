"""Where its teachers end a text, a student learns to end it: in a run, from probabilities to ``generate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tiny_world import World
from trivium.data.rows import Rows
from trivium.training.build import build_scheme
from trivium.training.run import distill
from trivium.training.tasks.text import build_rows, build_student

NOUNS = ("bird", "cat", "dog")
TEXTS = [f"the {a} {b} the {c}. fin." for a in NOUNS for b in ("sees", "likes") for c in NOUNS]


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose texts all end in ``fin.``, with a teacher that has learned that."""
    made = World(tmp_path_factory.mktemp("stopping"))
    for split in ("train", "validation", "test"):
        (made.folder / f"fin.{split}.jsonl").write_text(
            "\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8"
        )
    recipe = recipe_of(made)
    teacher = build_student(recipe, made.tokenizer, made.folder)
    rows = build_rows(recipe, made.tokenizer, build_scheme(recipe, made.folder), made.folder).train
    assert isinstance(rows, Rows)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=2e-2)
    for _ in range(120):
        loss = cross_entropy(teacher(input_ids=rows.input_ids).logits.flatten(0, 1), rows.labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.add_model("sums", teacher.eval())
    made.add_model("tales", teacher)
    return made


def recipe_of(world: World, **data: Any) -> Any:
    domain = {"name": "fin", **{split: f"fin.{split}.jsonl" for split in ("train", "validation", "test")}}
    return world.recipe(
        data={"domains": [domain], **data},
        scheme={"token": [], "task": [], "context": [], "budget": None},
        train={"steps": 150, "learning_rate": 2e-2, "save_every": 150, "evaluate_every": 150},
    )


def chance_of_the_end(model: Any, world: World) -> float:
    """The mean probability of the end token after each whole text."""
    end = world.tokenizer.eos_token_id
    found = []
    for text in TEXTS:
        ids = torch.tensor([[end, *world.tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            found.append(float(model.eval()(input_ids=ids).logits[0, -1].softmax(-1)[end]))
    return sum(found) / len(found)


def student_of(world: World, folder: Path, **data: Any) -> Any:
    from transformers import AutoModelForCausalLM

    recipe = recipe_of(world, **data)
    distill(recipe, world.prepared_run(recipe, folder / "cache"), folder / "run")
    return AutoModelForCausalLM.from_pretrained(folder / "run" / "student")


@pytest.mark.deep
def test_a_student_learns_to_stop_where_its_teacher_does(stopping: World, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    teacher = AutoModelForCausalLM.from_pretrained(stopping.folder / "sums")
    assert chance_of_the_end(teacher, stopping) > 0.9
    student = student_of(stopping, tmp_path)
    assert chance_of_the_end(student, stopping) > 0.8
    start = torch.tensor([[stopping.tokenizer.eos_token_id, *stopping.tokenizer("the ")["input_ids"]]])
    written = student.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=40, do_sample=False)
    assert int(written[0, -1]) == stopping.tokenizer.eos_token_id
    assert written.shape[1] < 40


@pytest.mark.deep
def test_without_the_end_the_student_never_stops(stopping: World, tmp_path: Path) -> None:
    """The mutant that was there: the end is no predicted position."""
    assert chance_of_the_end(student_of(stopping, tmp_path, end_of_text=False), stopping) < 0.05
