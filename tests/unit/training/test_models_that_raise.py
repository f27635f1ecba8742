"""What a model's own code raises ends a run with its name, in whatever part of the run it happens.

What this catches that no other test does: an exception from a teacher's or student's forward, as the command line tells
it, and rows that give the student no step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from tiers import first
from tiny_examples import ExamplesWorld
from tiny_world import World, student_config
from trivium.cli import app
from trivium.errors import ForeignError, InputError, RuleError
from trivium.teachers.transformers_classifier import TransformersClassifier
from trivium.training.run import distill, prepare
from trivium.training.tasks.text import build_student

RAISES = """
import sys
import torch

CALLS = []


def raiser(x):
    {code}


def late(x):
    CALLS.append(1)
    if len(CALLS) > 3:
        raise RuntimeError("tired")
    return x[:, :3]


def maker():
    raise OSError("no weights here")


class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        if {when}:
            {code}
        return self.head(x)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("raising"))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def last_line(result: Result) -> str:
    """The line of the failure, after those of the progress; nothing else is said."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, result.stderr
    assert "Traceback (most" not in result.output
    return lines[0]


def with_file(small: ExamplesWorld, name: str, code: str, when: str = "True", **changes: Any) -> Path:
    (small.folder / f"{name}.py").write_text(RAISES.format(code=code, when=when), encoding="utf-8")
    return small.write(f"{name}.yaml", small.one_task(**changes))


CODES = [
    ("raise IndexError('index out of range in self')", "IndexError: index out of range in self"),
    ("raise ValueError", "ValueError"),
    ("return x.nothing", "AttributeError: 'Tensor' object has no attribute 'nothing'"),
    ("return x @ x", "RuntimeError: "),
    ("raise MemoryError", "MemoryError. Lower train.batch_size"),
    ("sys.exit(0)", "SystemExit: 0"),
    ("raise KeyError('two\\nlines')", "KeyError: "),
]


@pytest.mark.parametrize(("code", "said"), CODES)
def test_a_teacher_that_raises_is_named(small: ExamplesWorld, tmp_path: Path, code: str, said: str) -> None:
    teachers = [{"name": "fine", "model": "mine.py:sizer"}, {"name": "faulty", "model": "teacher.py:raiser"}]
    path = with_file(small, "teacher", code, teachers=teachers)
    result = command("distill", path, "--out", tmp_path / "run")
    kept = tmp_path / "run" / "traceback.txt"
    line = last_line(result)
    assert line.startswith("trivium: teacher 'faulty' must read a batch; received ")
    assert said in line
    assert line.endswith(f"Traceback: {kept}")
    assert result.exit_code == 3
    assert "in raiser" in kept.read_text(encoding="utf-8"), "the traceback shows where in the user's own file"


@pytest.mark.parametrize(("code", "said"), first(CODES[:3]))
@pytest.mark.parametrize("when", ["True", "not self.training", "self.training"])
def test_a_student_that_raises_is_named(small: ExamplesWorld, tmp_path: Path, code: str, said: str, when: str) -> None:
    """At the first validation, or at the first step."""
    path = with_file(small, "student", code, when, student={"model": "student.py:Student"})
    result = command("distill", path, "--out", tmp_path / "run")
    assert last_line(result).startswith("trivium: the student must read a batch; received ")
    assert said in last_line(result)
    assert result.exit_code == 3
    assert "in forward" in (tmp_path / "run" / "traceback.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "student").exists()


def test_a_live_teacher_that_raises_amid_training_leaves_the_checkpoints(small: ExamplesWorld, tmp_path: Path) -> None:
    teachers = [{"name": "fine", "model": "mine.py:sizer"}, {"name": "faulty", "model": "late.py:late"}]
    path = with_file(small, "late", "pass", teachers=teachers, cache={"enabled": False}, train={"save_every": 1})
    result = command("distill", path, "--out", tmp_path / "run")
    assert "teacher 'faulty' must read a batch; received RuntimeError: tired." in last_line(result)
    assert result.exit_code == 3


def test_what_makes_a_model_may_raise_too(small: ExamplesWorld, tmp_path: Path) -> None:
    for role in ("teachers", "student"):
        made: dict[str, Any] = {"model": "maker.py:maker"}
        changes = {
            role: made if role == "student" else [{"name": "a", **made}, {"name": "b", "model": "mine.py:sizer"}]
        }
        result = command("distill", with_file(small, "maker", "pass", **changes), "--out", tmp_path / role)
        assert "maker.py:maker must make a model; received OSError: no weights here." in last_line(result)
        assert result.exit_code == 3


def test_a_rule_that_raises_amid_training_is_bad_input_with_a_traceback(world: World, tmp_path: Path) -> None:
    (world.folder / "sulky.py").write_text(
        "import trivium as tv\n\n@tv.rule('token', ['entropy'])\ndef sulky(entropy):\n"
        "    if entropy.requires_grad or entropy.shape[0] > 1:\n        raise KeyError('mine')\n"
        "    return entropy.softmax(-1)\n",
        encoding="utf-8",
    )
    path = world.write("sulky.yaml", scheme={"token": [{"rule": "sulky.py:sulky"}], "budget": None})
    result = command("distill", path, "--out", tmp_path / "run")
    line = last_line(result)
    assert "the scheme must weigh a batch; received KeyError: 'mine'." in line
    assert result.exit_code == 2
    assert "in sulky" in (tmp_path / "run" / "traceback.txt").read_text(encoding="utf-8")


def test_a_teacher_of_text_that_raises_is_named(world: World, tmp_path: Path) -> None:
    """Fewer positions than the window, learned ones: an IndexError from its embedding."""
    from transformers import AutoModelForCausalLM, GPT2Config

    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}
    short = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=len(world.tokenizer), **sizes))
    world.add_model("short", short)
    teachers = [{"name": "sums", "model": "sums"}, {"name": "short", "model": "short"}]
    result = command("distill", world.write("short.yaml", teachers=teachers), "--out", tmp_path / "run")
    assert "'short'" in last_line(result)
    assert result.exit_code in (2, 3)


def test_a_student_that_reads_no_row_is_not_told_of_its_window(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GPT2LMHeadModel

    def refuses(self: object, **arguments: Tensor) -> None:
        raise RuntimeError("expected scalar type Half")

    recipe = world.recipe(
        student={"config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}}
    )
    content = recipe.model_copy(update={"student": recipe.student.model_copy(update={"config": {
        "model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}})})  # fmt: skip
    monkeypatch.setattr(GPT2LMHeadModel, "forward", refuses)
    with pytest.raises(ForeignError, match="the student must read a row; received RuntimeError: expected scalar type"):
        build_student(content, world.tokenizer, world.folder)


def test_data_that_fill_no_batch_are_refused_before_teachers_read(world: World, tmp_path: Path) -> None:
    """The Trainer drops the last, incomplete batch: an untrained student was saved and called done."""
    path = world.write("few.yaml", data={"train_rows": 2}, train={"batch_size": 5})
    result = command("distill", path, "--out", tmp_path / "run")
    said = "the training data must fill one batch of train.batch_size = 5; received 4 rows. Lower train.batch_size to 4"
    assert said in last_line(result)
    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.deep
def test_data_that_fill_one_batch_exactly_train(world: World, tmp_path: Path) -> None:
    path = world.write("exact.yaml", data={"train_rows": 2}, train={"batch_size": 4, "steps": 3})
    assert command("distill", path, "--out", tmp_path / "run").exit_code == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 3


def test_a_run_that_took_no_step_saves_no_student(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: here a callback that ends the training."""
    from trivium.training.recorded import Recorder

    def enough(self: object, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True

    recipe = world.recipe()
    prepared_run = world.prepared_run(recipe)
    monkeypatch.setattr(Recorder, "on_train_begin", enough, raising=False)
    monkeypatch.setattr(Recorder, "on_step_begin", enough, raising=False)
    with pytest.raises(Exception, match="a run must take its 12 steps; received 1"):
        distill(recipe, prepared_run, tmp_path / "run")
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.parametrize("data", ["text", "examples"])
def test_bfloat16_is_refused_where_the_machine_has_none(
    world: World, small: ExamplesWorld, tmp_path: Path, data: str
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine may have it")
    changes = {"train": {"precision": "bfloat16"}}
    path = (
        world.write("half.yaml", **changes) if data == "text" else small.write("half.yaml", small.one_task(**changes))
    )
    result = command("distill", path, "--out", tmp_path / "run")
    said = "train.precision: bfloat16 needs a GPU that computes in it; received the CPU. Set it to auto, or to float32."
    assert last_line(result) == f"trivium: {said}"
    assert result.exit_code == 2


@pytest.mark.parametrize("precision", ["float16", "fp16", "half", 16, None])
def test_a_precision_that_there_is_not_is_refused(world: World, precision: object) -> None:
    with pytest.raises(InputError, match=r"'train.precision': .*'auto', 'float32' or 'bfloat16'"):
        world.recipe(train={"precision": precision})


def classifier(world: World, adds_end: bool = False) -> TransformersClassifier:
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    options = student_config()
    del options["model_type"]
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(world.tokenizer), num_labels=3, **options)
    tokenizer = world.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    return TransformersClassifier(AutoModelForSequenceClassification.from_config(config).eval(), tokenizer)


@torch.no_grad()
def test_blank_texts_are_read_as_an_end_token(world: World) -> None:
    """A batch of blank texts had no token at all: an empty float tensor, refused deep inside the model."""
    model, end = classifier(world), world.tokenizer.eos_token
    blank = model(["", ""])
    assert blank.shape == (2, 3)
    assert torch.equal(blank, model([end, end]))
    mixed = model(["12+7=19;", ""])
    assert torch.isfinite(mixed).all()
    torch.testing.assert_close(mixed[1], model([""])[0])


def test_blank_texts_without_any_end_token_are_refused(world: World) -> None:
    model = classifier(world)
    model.tokenizer = type(world.tokenizer)(tokenizer_object=world.tokenizer.backend_tokenizer, pad_token="<end>")
    with pytest.raises(InputError, match="a text must have a token; received a blank one"):
        model([""])


def test_raised_in_python_it_keeps_its_cause(small: ExamplesWorld) -> None:
    with_file(small, "cause", "raise IndexError('mine')")
    content = small.one_task(
        teachers=[{"name": "a", "model": "cause.py:raiser"}, {"name": "b", "model": "mine.py:sizer"}]
    )
    from trivium.training.recipe import parse_recipe

    with pytest.raises(ForeignError, match="teacher 'a' must read a batch") as caught:
        prepare(parse_recipe(content), small.folder, small.folder / "cause-cache")
    assert isinstance(caught.value.__cause__, IndexError)
    assert not isinstance(caught.value, InputError | RuleError)
