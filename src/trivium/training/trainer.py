"""A transformers ``Trainer`` whose loss is the distance to weighted teachers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from trivium.data.rows import Rows
from trivium.data.table import Table
from trivium.errors import TriviumError, calling
from trivium.scheme import Scheme
from trivium.teachers.huggingface import check_logits
from trivium.teachers.live import LogitSource
from trivium.training.checkpoints import mark_complete
from trivium.training.evaluate import batch_of, bits_per_byte, student_nats
from trivium.training.learner import Learner
from trivium.training.learning import Teaching
from trivium.training.monitor import Monitor
from trivium.training.processes import in_bfloat16, is_main, on_cpu, require_precision, require_rows
from trivium.training.recipe import Recipe
from trivium.training.shares import Shares, combined
from trivium.training.step import distillation_step
from trivium.training.tasks import Task
from trivium.training.trace import Trace


class RowNumbers(Dataset[dict[str, Tensor]]):
    """The rows by number: logits are looked up by row, so the order of steps cannot mix them up."""

    def __init__(self, rows: Table) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        labels = self.rows.labels[number]
        # ``shift_labels`` tells the Trainer that labels stand at the position that predicts them, so that
        # it counts all of them when it adds up the tokens of an accumulated batch.
        item = {"row": torch.tensor(number), "labels": labels, "shift_labels": labels}
        if isinstance(self.rows, Rows):  # the Trainer counts the operations of text from them
            item["input_ids"] = self.rows.input_ids[number]
        return item


class DistillationTrainer(Trainer):
    """``Trainer`` with several weighted teachers.

    Args:
        model: the student.
        recipe, scheme: what to do and how to weigh; ``scheme`` must be the recipe's own.
        rows, source: the training rows and the teachers' logits on them.
        validation_loss: teachers' losses a task, [tasks, K].
        folder: checkpoints go here.
        trace, monitor: where the record goes and who watches the axioms.

    The loss is averaged over all predicted tokens of an optimizer step, so accumulation and several processes
    give what one large batch gives.
    """

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        scheme: Scheme,
        rows: Table,
        source: LogitSource,
        validation_loss: Tensor,
        folder: Path,
        trace: Trace,
        monitor: Monitor,
    ) -> None:
        self.recipe, self.scheme, self.rows, self.source = recipe, scheme, rows, source
        self.trace, self.monitor = trace, monitor
        self.shares = Shares(scheme, recipe.train.accumulation)
        self.scalars: dict[str, float] = {}
        super().__init__(model=model, args=training_arguments(recipe, folder), train_dataset=RowNumbers(rows))
        require_rows(len(rows), recipe.train.batch_size, self.args.world_size)
        self.validation_loss = validation_loss.to(self.args.device)
        self.teaching = Teaching(scheme, model, rows, source, self.args.world_size)
        self.index = torch.arange(0)  # rows of the last batch
        # The loss divides by ``num_items_in_batch`` whatever the student's own forward takes.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The page to read is :mod:`trivium.training.step`; this hands it the batch."""
        index = self.index = inputs["row"].cpu()
        with calling("the student must read a batch", "Run its forward by itself to see."):
            outputs = model(**self.rows.arguments(index, self.args.device))
            logits = outputs.logits
        batch = batch_of(self.rows, index, self.source, self.args.device)
        vocabulary = batch.teacher_logits[0].shape[-1]
        step = distillation_step(
            logits[..., :vocabulary],
            batch,
            self.scheme,
            self.recipe.loss,
            self.validation_loss,
            self.monitor,
            num_items_in_batch,
        )
        if not bool(torch.isfinite(step.loss)):
            for name, logits in zip(self.scheme.teachers, batch.teacher_logits, strict=True):
                check_logits(logits.float(), name)  # the teacher's fault, if it is one
            raise TriviumError(
                "the loss must be finite",
                f"{step.loss.item()} at step {self.state.global_step + 1}",
                "Lower the learning rate; the last checkpoint is intact.",
            )
        self.shares.add(step, batch.mask, batch.serving)
        loss = step.loss
        if num_items_in_batch is not None:  # gradients are averaged over processes, tokens were summed over them
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """A checkpoint of a student that is no model of transformers, tied weights included: the file format refuses
        tensors that share memory, so those that do are copied."""
        if isinstance(self.model, Learner) and state_dict is None:
            seen: set[int] = set()
            state_dict = {}
            for name, value in self.model.state_dict().items():
                state_dict[name] = value.clone() if value.data_ptr() in seen else value.contiguous()
                seen.add(value.data_ptr())
        super()._save(output_dir, state_dict)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trackers get each teacher's share with the rest. Not by a callback: the trackers' own come before it."""
        super().log({**logs, **self.scalars}, start_time)

    def take_record(self) -> dict[str, Any]:
        """What all processes saw since the last call, in the shape of a trace line; all must call it at one step."""
        taken = gather_object([(self.shares.take(), self.monitor.take_worst())])
        record = combined([shares for shares, _ in taken])
        self.scalars = {f"share/{s}/{n}": v for s, of in record["share"].items() for n, v in of.items()}
        worst = {axiom: max(residuals[axiom] for _, residuals in taken) for axiom in taken[0][1]}
        return record | {"axioms": worst}


def training_arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """The recipe's ``train`` section in the words of transformers.

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
        watch: called with (step, mean of its first measure) after every validation; it may raise to end the training.
    """

    def __init__(
        self,
        trainer: DistillationTrainer,
        task: Task,
        validation: Table,
        progress: Callable[[int, int, float], None],
        watch: Callable[[int, float], None],
    ) -> None:
        self.trainer, self.task, self.validation, self.progress, self.watch = trainer, task, validation, progress, watch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, train, step = self.trainer, self.trainer.recipe.train, state.global_step
        trainer.teaching.lesson(step, trainer.index, float(kwargs["lr_scheduler"].get_last_lr()[0]))
        for violation in trainer.monitor.take_violations():
            trainer.trace.write("violation", step, **violation)
        if step % train.log_every == 0 or step % train.save_every == 0 or step == train.steps:
            record = trainer.take_record()
            rate = float(kwargs["lr_scheduler"].get_last_lr()[0])
            if is_main():
                trainer.trace.write("step", step, **record, learning_rate=rate)
                self.progress(step, train.steps, record["loss"])
        if step % train.evaluate_every == 0 or step == train.steps:
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        if not is_main():
            return
        rows = self.validation
        scores = student_nats(self.trainer.model, rows, self.task.score)
        found = {
            name: bits_per_byte(column, rows)
            for name, column in zip(self.task.measures, scores.unbind(-1), strict=True)
        }
        values = next(iter(found.values()))
        mean = sum(values.values()) / len(values)
        self.trainer.trace.write("eval", step, **found, mean=mean)
        self.watch(step, mean)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.accelerator.wait_for_everyone()  # each process writes a file of its own
        if is_main():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.trainer.teaching.save(folder)
            mark_complete(folder)
