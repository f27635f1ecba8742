"""A ``transformers.Trainer`` like any other: loss, accumulation, evaluation, resumption, columns, any student."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from tiers import first
from tiny_models import T, V, bert, inputs, llama
from tiny_trainer import LEARNS, NAMES, SCHEME, arguments, rows, teachers, trainer
from trivium.errors import InputError
from trivium.scheme import Scheme, compose
from trivium.training.distiller import Distiller
from trivium.training.trainer import DistillationTrainer
from trivium.weighting import Entropy, rule


def test_a_step_is_the_step_of_a_plain_loop(tmp_path: Path) -> None:
    made = trainer(tmp_path, student=llama(9), max_steps=2, optim="sgd", weight_decay=0.0, max_grad_norm=0.0)
    seen: list[dict[str, Tensor]] = []
    keep = made.compute_loss
    made.compute_loss = lambda model, batch, *a, **k: (seen.append(dict(batch)), keep(model, batch, *a, **k))[1]
    made.train()
    student, distiller = llama(9), Distiller(SCHEME, teachers())
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-2)
    for batch in seen:
        optimizer.zero_grad()
        distiller(student(**inputs(batch)).logits, batch).loss.backward()
        optimizer.step()
    for mine, theirs in zip(made.model.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Padded rows make micro-batches of different numbers of tokens, so a mean of means would be another number."""
    whole = trainer(tmp_path, student=llama(9), per_device_train_batch_size=4, max_steps=3)
    parts = trainer(
        tmp_path, student=llama(9), per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=3
    )
    whole.train()
    parts.train()
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    lines = [[line for line in made.state.log_history if "loss" in line] for made in (whole, parts)]
    for one, other in zip(*lines, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        found = [{n: v for n, v in line.items() if n.startswith("share/")} for line in (one, other)]
        assert found[0] == pytest.approx(found[1], rel=1e-3), "a share is over positions, not over micro-batches"


def test_evaluation_gives_the_loss_and_leaves_the_record_alone(tmp_path: Path) -> None:
    made = trainer(tmp_path, eval_dataset=rows(8), per_device_eval_batch_size=8)
    found = made.evaluate()
    batch = {name: torch.stack([row[name] for row in rows(8)]) for name in rows(4)[0]}
    with torch.no_grad():
        expected = Distiller(SCHEME, teachers())(made.model.eval()(**inputs(batch)), batch).loss
    assert found["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert made.distiller.shares.batches == 0
    assert not [name for name in found if name.startswith("share")]


def test_a_run_without_labels_is_evaluated_and_keeps_its_best(tmp_path: Path) -> None:
    data = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows(8)]
    settings: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "save_strategy": "steps"}
    made = trainer(
        tmp_path,
        train_dataset=data,
        eval_dataset=data,
        load_best_model_at_end=True,
        per_device_eval_batch_size=8,
        max_steps=4,
        **settings,
    )
    made.train()
    assert made.state.best_metric is not None
    batch = {name: torch.stack([row[name] for row in data]) for name in data[0]}
    with torch.no_grad():
        expected = Distiller(SCHEME, teachers())(made.model.eval()(**inputs(batch)), batch).loss
    assert made.evaluate()["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_rows_without_labels_are_predicted_where_a_loss_needs_labels(tmp_path: Path) -> None:
    data = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows(8)]
    made = DistillationTrainer(
        model=bert(9),
        args=arguments(tmp_path),
        train_dataset=data,
        teachers={"a": bert(0)},
        scheme=compose(["a"]),
        loss={"label": 0.5},
    )
    found = made.predict(data)
    assert found.predictions.shape == (8, 3)
    assert "test_loss" not in found.metrics
    free = DistillationTrainer(
        model=bert(9), args=arguments(tmp_path), train_dataset=data, teachers={"a": bert(0)}, scheme=compose(["a"])
    )
    assert free.predict(data).metrics["test_loss"] > 0


def test_logs_hold_each_teachers_share(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    assert len(lines) == 3
    for line in lines:
        shares = [line[f"share/all/{name}"] for name in NAMES]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert {"share/token/a", "share/context/b"} <= set(line)
        assert "violations" not in line


def test_recorded_violations_are_counted_in_the_logs(tmp_path: Path) -> None:
    @rule(scale="token", features=["entropy"])
    def hard(entropy: Tensor) -> Tensor:
        return nn.functional.one_hot(entropy.argmin(-1), entropy.shape[-1]).to(entropy)

    made = trainer(tmp_path, compose(NAMES, token=[hard]), on_violation="record")
    made.train()
    assert [line["violations"] for line in made.state.log_history if "loss" in line] == [2, 2, 2]


class Cut(TrainerCallback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("scheme", first([SCHEME, LEARNS]), ids=["fixed", "learned"])
def test_a_run_that_goes_on_is_the_run_that_was_not_interrupted(tmp_path: Path, scheme: Scheme) -> None:
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "logging_steps": 2, "max_steps": 8}
    whole = trainer(tmp_path / "whole", copy.deepcopy(scheme), **settings)
    whole.train()
    cut = trainer(tmp_path / "cut", copy.deepcopy(scheme), callbacks=[Cut(5)], **settings)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    again = trainer(tmp_path / "cut", copy.deepcopy(scheme), **settings)
    again.train(resume_from_checkpoint=get_last_checkpoint(str(tmp_path / "cut")))
    assert again.state.global_step == 8
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    for one, other in zip(whole.distiller.teaching.rules, again.distiller.teaching.rules, strict=True):
        assert str(one.state()) == str(other.state())
    # A line between two checkpoints holds what was seen before the cut too (the loss in it is transformers' own).
    lines = [
        {k: v for k, v in line.items() if k.startswith("share")}
        for made in (whole, again)
        for line in made.state.log_history
        if "loss" in line
    ]
    assert lines[:4] == lines[4:]


def test_a_checkpoint_without_what_was_learned_is_refused(tmp_path: Path) -> None:
    made = trainer(tmp_path, LEARNS, save_strategy="steps", save_steps=2, max_steps=2)
    made.train()
    (tmp_path / "checkpoint-2" / "distiller.pt").unlink()
    with pytest.raises(InputError, match="must hold what the rules have learned"):
        trainer(tmp_path, LEARNS, max_steps=4).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_columns_that_teachers_and_rules_read_stay_in_a_dataset(tmp_path: Path) -> None:
    from datasets import Dataset

    @rule(scale="context", features={"trust": (0.0, 1.0)})
    def trusting(trust: Tensor) -> Tensor:
        return torch.softmax(trust, dim=-1)

    scheme = compose(["a", "b"], context=[trusting])
    plain = rows(8)
    content = {name: [row[name].tolist() for row in plain] for name in ("input_ids", "attention_mask", "labels")}
    content |= {"trust": [[0.1, 0.9]] * 8, "useless": list(range(8)), "b_logits": torch.randn(8, T, V).tolist()}
    from trivium.teachers.panel import InBatch

    made = DistillationTrainer(
        model=llama(9),
        args=arguments(tmp_path, max_steps=1),
        train_dataset=Dataset.from_dict(content),
        teachers={"a": llama(0), "b": InBatch("b_logits")},
        scheme=scheme,
    )
    seen: list[set[str]] = []
    keep = made.compute_loss
    made.compute_loss = lambda model, batch, *a, **k: (seen.append(set(batch)), keep(model, batch, *a, **k))[1]
    made.train()
    assert {"trust", "b_logits", "labels", "input_ids", "attention_mask"} <= seen[0]
    assert "useless" not in seen[0]


def test_a_tokenizer_cuts_the_columns_that_stand_for_no_token(tmp_path: Path) -> None:
    from tiny_world import make_tokenizer

    tokenizer = make_tokenizer(260)
    tokenizer.pad_token = tokenizer.eos_token
    made = DistillationTrainer(
        model=llama(9, 272),
        args=arguments(tmp_path, max_steps=1),
        train_dataset=rows(4),
        processing_class=tokenizer,
        teachers={"a": llama(0, 288)},
        scheme=compose(["a"]),
    )
    made.train()
    assert made.distiller.vocabulary == len(tokenizer)


def test_classifiers_and_modules_that_are_none_of_transformers_are_trained(tmp_path: Path) -> None:
    labels = [torch.tensor(number % 3) for number in range(12)]
    data = [{**row, "labels": label} for row, label in zip(rows(12), labels, strict=True)]
    made = DistillationTrainer(
        model=bert(9),
        args=arguments(tmp_path / "bert", max_steps=2),
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
        teachers={"a": bert(0), "b": bert(1)},
        scheme=compose(["a", "b"], token=[Entropy()]),
    )
    made.train()
    assert {"eval_loss", "eval_accuracy"} <= set(made.evaluate())

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(5, 5, bias=False)
            self.two = nn.Linear(5, 5, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.tanh(self.one(x)))[:, :3]

    points = [{"x": torch.randn(5), "labels": label} for label in labels]
    tied = DistillationTrainer(
        model=Tied(),
        args=arguments(tmp_path / "tied", max_steps=2, save_strategy="steps", save_steps=2),
        train_dataset=points,
        eval_dataset=points,
        teachers={"a": nn.Linear(5, 3)},
        scheme=compose(["a"]),
        loss={"label": 0.5},
    )
    tied.train()
    assert (tmp_path / "tied" / "checkpoint-2" / "model.safetensors").is_file()
    assert tied.evaluate()["eval_loss"] > 0


def test_what_cannot_be_trained_is_refused_before_it_begins(tmp_path: Path) -> None:
    student = llama(9)
    with pytest.raises(InputError, match="a trainer must have a scheme or a ready distiller; received neither"):
        DistillationTrainer(model=student, args=arguments(tmp_path))
    ready, given = Distiller(SCHEME, teachers()), {**teachers(), "c": student}
    with pytest.raises(InputError, match="received both"):
        DistillationTrainer(model=student, args=arguments(tmp_path), scheme=SCHEME, distiller=ready)
    with pytest.raises(InputError, match="teacher 'c' must be another model than the student"):
        DistillationTrainer(model=student, args=arguments(tmp_path), scheme=SCHEME, teachers=given)
    for own in ({"teachers": teachers()}, {"loss": {"temperature": 2.0}}, {"on_violation": "repair"}):
        with pytest.raises(InputError, match=f"a ready distiller must come alone; received {next(iter(own))}"):
            DistillationTrainer(model=student, args=arguments(tmp_path), distiller=ready, **own)  # type: ignore[arg-type]


def test_a_ready_distiller_is_taken_as_it_is(tmp_path: Path) -> None:
    ready = Distiller(SCHEME, teachers(), loss={"temperature": 2.0})
    made = DistillationTrainer(
        model=llama(9), args=arguments(tmp_path, max_steps=1), train_dataset=rows(4), distiller=ready
    )
    made.train()
    assert made.distiller is ready


SCRIPT = """
import sys
from pathlib import Path
import torch
from tiny_models import V, llama, text
from transformers import TrainingArguments
from trivium.scheme import compose
from trivium.training.trainer import DistillationTrainer
from trivium.weighting import Entropy, PrefixPosterior

def rows():
    for seed in range(4):
        batch = text(seed)
        for row in range(4):
            yield {name: value[row] for name, value in batch.items()}

size, folder = int(sys.argv[1]), Path(sys.argv[2])
settings = dict(max_steps=4, per_device_train_batch_size=size, learning_rate=1e-2, lr_scheduler_type="constant")
quiet = dict(report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False)
made = DistillationTrainer(
    model=llama(9),
    args=TrainingArguments(str(folder / "out"), logging_steps=2, per_device_eval_batch_size=size, **settings, **quiet),
    train_dataset=list(rows()),
    eval_dataset=list(rows())[:8],
    teachers={name: llama(seed) for seed, name in enumerate("abc")},
    scheme=compose(list("abc"), token=[Entropy(0.5)], context=[PrefixPosterior(budget=4.0)], floor=0.01),
)
made.train()
found = made.evaluate()
if made.args.process_index == 0:
    lines = [line for line in made.state.log_history if "loss" in line]
    state = made.accelerator.unwrap_model(made.model).state_dict()
    torch.save([state, lines, found["eval_loss"]], folder / f"{size}.pt")
"""


@pytest.mark.deep
def test_two_processes_are_one_run_with_twice_the_batch(tmp_path: Path) -> None:
    """Padded rows give the processes different numbers of tokens: what is averaged is their sum."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("RANK", "WORLD_SIZE"))}
    tests = str(Path(__file__).resolve().parents[2])
    paths = [tests, *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(paths)}
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    for command, size in ((launch, 2), ([], 4)):
        done = subprocess.run(
            [sys.executable, *command, str(tmp_path / "script.py"), str(size), str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    (many, logs, evaluated), (one, expected, judged) = (torch.load(tmp_path / f"{size}.pt") for size in (2, 4))
    for name, value in one.items():
        torch.testing.assert_close(many[name], value, rtol=0, atol=1e-5)
    for mine, theirs in zip(logs, expected, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert sum(mine[f"share/all/{name}"] for name in NAMES) == pytest.approx(1.0, abs=1e-5)
    assert evaluated == pytest.approx(judged, rel=0.05)  # a mean of batches, which are others
