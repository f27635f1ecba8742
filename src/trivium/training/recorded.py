"""A recipe's training: its rows as batches, its arguments in the words of transformers, and its record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from trivium.data.table import Table
from trivium.safety import betting
from trivium.scheme import Scheme
from trivium.teachers.live import LogitSource
from trivium.teachers.panel import Bank
from trivium.training.checkpoints import mark_complete
from trivium.training.distiller import Distiller
from trivium.training.evaluate import bits_per_byte, student_nll
from trivium.training.guard import Safety
from trivium.training.memory import TableRecall
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.processes import in_bfloat16, is_main, on_cpu, require_precision, require_rows
from trivium.training.recipe import Recipe
from trivium.training.safety import Plan, measured
from trivium.training.tasks import Task
from trivium.training.trace import TraceWriter
from trivium.training.trainer import DistillationTrainer


class RowNumbers(Dataset[int]):
    """The rows by number: logits are looked up by row, so the order of steps cannot mix them up."""

    def __init__(self, rows: Table) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> int:
        return number

    def collate(self, numbers: list[int]) -> dict[str, Any]:
        """Return the batch of these rows."""
        return self.batch(torch.tensor(numbers))

    def batch(self, index: Tensor) -> dict[str, Any]:
        """Return the batch of the rows numbered ``index``: what the student reads, and what a step does."""
        rows, labels = self.rows, self.rows.labels[index]
        found = {
            # ``shift_labels``: they stand at the position that predicts them.
            **{"row": index, "labels": labels, "shift_labels": labels},
            **{"domain": rows.domain[index], "task": rows.task[index]},
            **{name: values[index] for name, values in rows.columns.items()},
            **rows.arguments(index),
        }
        return found if rows.teacher_mask is None else found | {"teacher_mask": rows.teacher_mask[index]}


def recorded_trainer(
    recipe: Recipe,
    scheme: Scheme,
    student: torch.nn.Module,
    rows: Table,
    source: LogitSource,
    validation_loss: Tensor,
    folder: Path,
    safety: Safety | None = None,
) -> DistillationTrainer:
    """Return the trainer of a recipe's run, whose teachers are looked up by row; checkpoints go to ``folder``."""
    data = RowNumbers(rows)
    distiller = Distiller(
        scheme,
        Bank(source),
        loss=recipe.loss,
        on_violation=Monitor(
            MonitoredBounds.of(scheme, recipe.monitor), recipe.monitor.on_violation, recipe.monitor.pareto
        ),
        validation_loss=validation_loss,
        shift=False,
        recall=TableRecall(data.batch),
        safety=safety,
    )
    trainer = DistillationTrainer(student, training_arguments(recipe, folder), data.collate, data, distiller=distiller)
    require_rows(len(rows), recipe.train.batch_size, trainer.args.world_size)
    return trainer


def save_rules(distiller: Distiller, folder: Path) -> None:
    """Write what the rules have learned to ``rules.pt``, nothing where there are none."""
    if distiller.teaching.rules:
        torch.save([rule.state() for rule in distiller.teaching.rules], folder / "rules.pt")


def training_arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """Return the recipe's ``train`` section in the words of transformers.

    Raises:
        InputError: a precision that this machine does not have.
    """
    train = recipe.train
    require_precision(train.precision)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=train.steps,
        per_device_train_batch_size=train.batch_size,
        gradient_accumulation_steps=train.accumulation,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.clip,
        seed=train.seed,
        data_seed=train.seed,
        bf16=in_bfloat16(train.precision),
        # Without it several processes on CPUs would not find each other, and each would train alone.
        use_cpu=on_cpu(),
        save_strategy="steps",
        save_steps=train.save_every,
        # Two, so that a checkpoint cut off while it is written leaves the one before it.
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=train.log_every,
        report_to=[] if train.tracker == "none" else [train.tracker],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        dataloader_drop_last=True,
    )


class Recorder(TrainerCallback):
    """Writes the trace, evaluates on validation rows, marks checkpoints and reports progress.

    Of several processes one writes; of violations each writes its own.

    Args:
        task: what a validation measures.
        plan: what the student must not do; None asks nothing.
        watch: called with (step, mean of its first measure) after every validation; it may raise to end the training.
    """

    def __init__(
        self,
        trainer: DistillationTrainer,
        task: Task,
        recipe: Recipe,
        trace: TraceWriter,
        validation: Table,
        progress: Callable[[int, int, float], None],
        watch: Callable[[int, float], None],
        plan: Plan | None = None,
    ) -> None:
        self.trainer, self.train, self.trace, self.validation = trainer, recipe.train, trace, validation
        self.task, self.progress, self.watch, self.plan = task, progress, watch, plan

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, train, step = self.trainer, self.train, state.global_step
        if isinstance(monitor := trainer.distiller.monitor, Monitor):
            for violation in monitor.take_violations():
                self.trace.write("violation", step, **violation)
        if step % train.log_every == 0 or step % train.save_every == 0 or step == train.steps:
            record = trainer.take_record()
            rate = float(kwargs["lr_scheduler"].get_last_lr()[0])
            if is_main():
                self.trace.write("step", step, **record, learning_rate=rate)
                self.progress(step, train.steps, record["loss"])
        if step % train.evaluate_every == 0 or step == train.steps:
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        if not is_main():
            return
        rows = self.validation
        scores = student_nll(self.trainer.model, rows, self.task.score)
        found = {
            name: bits_per_byte(column, rows)
            for name, column in zip(self.task.measures, scores.unbind(-1), strict=True)
        }
        values = next(iter(found.values()))
        mean = sum(values.values()) / len(values)
        unsafe = {} if self.plan is None else {"safety": self._unsafe(self.plan)}
        self.trace.write("eval", step, **found, mean=mean, **unsafe)
        self.watch(step, mean)

    def _unsafe(self, plan: Plan) -> dict[str, float]:
        """Return the student's unsafe mass on critical validation documents, from which its aim is chosen."""
        distiller = self.trainer.distiller
        losses = torch.zeros(0)  # of teachers, which are not asked
        documents = measured(plan, self.validation, None, distiller.scheme, losses, self.trainer.model)
        limits = betting([document.student for document in documents], plan.section.level)
        if distiller.guard is not None:
            distiller.guard.aim_below(limits.estimate, limits.upper)
        return {"mass": limits.estimate, "upper": limits.upper}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.accelerator.wait_for_everyone()  # each process writes a file of its own
        if is_main():
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
