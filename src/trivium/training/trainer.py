"""A transformers ``Trainer`` whose loss is the distance to weighted teachers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import PushToHubMixin

from trivium.data.rows import IGNORE
from trivium.errors import InputError, calling, require
from trivium.scheme import Scheme
from trivium.teachers.handing import Intake, unwrapped
from trivium.teachers.panel import Answering, Given
from trivium.training.distiller import Distiller
from trivium.training.monitor import Action
from trivium.training.recipe import LossSection
from trivium.training.shares import combined
from trivium.training.step import Watcher

#: Entries of a batch that the step reads, whatever the student's forward takes.
_READ = ("labels", "shift_labels", "domain", "task", "teacher_mask", "serving")


class DistillationTrainer(Trainer):
    """``Trainer`` with several weighted teachers: everything that a ``Trainer`` takes, and who teaches.

    The loss is averaged over all predicted tokens of an optimizer step, so accumulation and several processes give what
    one large batch gives. Evaluation gives the same loss as ``eval_loss``. Logs hold each teacher's share, checkpoints
    what the distiller changes, so that a run that goes on is the run that was not interrupted.

    Args:
        model, args, data_collator, train_dataset, eval_dataset, processing_class, model_init, compute_metrics,
            callbacks, optimizers, optimizer_cls_and_kwargs, preprocess_logits_for_metrics: as for ``Trainer``. A
            tokenizer as ``processing_class`` tells how many columns of a causal student's logits are real. Where
            ``model_init`` makes the student anew, rules that learn begin anew too. As there, columns of a dataset that
            nobody reads by name are removed: a teacher that takes ``batch`` or any keyword and reads others needs
            ``remove_unused_columns=False``.
        teachers, scheme, loss, on_violation, validation_loss: see :class:`trivium.training.distiller.Distiller`.
        distiller: a ready one in their place.
        compute_loss_func: refused, as the distiller computes the loss.

    Raises:
        InputError: neither or both of ``scheme`` and ``distiller``; what the distiller refuses; rules that learn in
            several processes; arguments of ``Trainer`` that this loss has no place for, see :func:`_refuse_unread`.
    """

    _signature_columns: list[str] | None
    can_return_loss: bool
    #: What the distiller was like before it saw a batch, where ``model_init`` may ask for that again.
    _begun: Mapping[str, Any] | None = None

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        teachers: Mapping[str, Given] | Answering | None = None,
        scheme: Scheme | None = None,
        loss: LossSection | Mapping[str, Any] | None = None,
        on_violation: Action | Watcher = "raise",
        validation_loss: Tensor | None = None,
        distiller: Distiller | None = None,
        model_init: Any = None,
        compute_metrics: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: Any = (None, None),
        optimizer_cls_and_kwargs: Any = None,
        compute_loss_func: Any = None,
        preprocess_logits_for_metrics: Any = None,
    ) -> None:
        require(
            (scheme is None) != (distiller is None),
            "a trainer must have a scheme or a ready distiller",
            "neither" if scheme is None else "both",
            "Give scheme and teachers, or distiller.",
        )
        ready = distiller is None or isinstance(distiller, Distiller)
        require(ready, "distiller must be a tv.Distiller", type(distiller).__name__, "Or give scheme and teachers.")
        own = {"teachers": teachers, "loss": loss, "validation_loss": validation_loss}
        lost = [name for name, value in own.items() if distiller is not None and value is not None]
        lost += ["on_violation"] if distiller is not None and on_violation != "raise" else []
        require(not lost, "a ready distiller must come alone", " and ".join(lost), "Give them to the distiller.")
        made = model is None or isinstance(model, torch.nn.Module)
        require(
            made, "the student must be a module", type(model).__name__, "AutoModelForCausalLM.from_pretrained(...)."
        )
        _refuse_unread(args, compute_loss_func)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            model_init=model_init,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        if distiller is None:
            assert scheme is not None
            distiller = Distiller(
                scheme,
                teachers,
                loss=loss,
                on_violation=on_violation,
                validation_loss=validation_loss,
                tokenizer=_tokenizer(processing_class, self.model),
                student=self.model,
                device=self.args.device,
            )
        self.distiller = distiller
        distiller.load(self.args.device)
        distiller.teaching.require_one_process(self.args.world_size)
        if distiller.guard is not None:
            distiller.guard.require_one_process(self.args.world_size)
        self.scalars: dict[str, float] = {}
        self._intake = Intake.of(self.model)
        # The loss divides by ``num_items_in_batch`` whatever the student's own forward takes.
        self.model_accepts_loss_kwargs = True
        self.label_names: list[str] = list(self.label_names) or ["labels"]
        self.add_callback(_Lessons(self))
        if model_init is not None:
            self._begun = copy.deepcopy(distiller.state_dict())

    def call_model_init(self, trial: Any = None) -> Any:
        """A student made anew learns from a scheme that has not learned yet."""
        if self._begun is not None:
            self.distiller.load_state_dict(copy.deepcopy(self._begun))
        return super().call_model_init(trial)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The page to read is :mod:`trivium.training.step`; this hands it the batch."""
        # Where kernels are fused, an evaluation asks for no logits, of which this loss is made.
        inputs = {name: value for name, value in inputs.items() if name != "skip_logits"}
        given = self._intake.arguments(self.distiller.inputs(inputs, model), "the student")
        with calling("the student must read a batch", "Run its forward by itself to see."):
            outputs = model(**given)
        if isinstance(num_items_in_batch, Tensor) and num_items_in_batch.ndim:
            num_items_in_batch = num_items_in_batch.flatten()[0]  # one a device of DataParallel, all the same
        loss = self.distiller(outputs, inputs, num_items_in_batch).loss
        frozen = model.training and torch.is_grad_enabled() and not loss.requires_grad
        fix = "Call model.requires_grad_(), or that of the parts that train."
        require(not frozen, "the student must have parameters that train", "none with requires_grad", fix)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # Gradients are averaged over processes, tokens were summed over them.
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """Return a loss without labels too, which a ``Trainer`` gives to models alone whose forward says that they
        return one. Rows that are only predicted, without what teachers and rules read, have none."""
        labelled = all(inputs.get(name) is not None for name in self.label_names)
        if labelled or not self.distiller.suffices(inputs):
            found: tuple[Tensor | None, Any, Any] = super().prediction_step(
                model, inputs, prediction_loss_only, ignore_keys
            )
            return found
        names, returns = self.label_names, self.can_return_loss
        self.label_names, self.can_return_loss = [], True
        try:
            loss, logits, _ = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        finally:
            self.label_names, self.can_return_loss = names, returns
        return loss, logits, None

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Return the positions that the distiller counts, whatever the student's own loss would shift."""
        labels = [self.distiller.predicted(batch) for batch in batch_samples]
        if self.distiller.guard is not None:
            tasks = [partial(self.distiller.reader.index, batch, "task") for batch in batch_samples]
            self.distiller.guard.expect(list(zip(batch_samples, labels, tasks, strict=True)))
        counted = [{"labels": found, "shift_labels": found} for found in labels if found is not None]
        if self.args.n_gpu > 1 and counted:  # DataParallel: the logits of all devices come to one loss, here
            return torch.stack([found.ne(IGNORE).sum() for found in labels if found is not None]).sum().to(device)
        return super()._get_num_items_in_batch(counted, device)

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the columns of a dataset that teachers and rules read."""
        super()._set_signature_columns_if_needed()
        found: list[str] = self._signature_columns or []
        self._signature_columns = sorted({*_READ, *self.distiller.reads(), *found})

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """A checkpoint of a student that is no model of transformers, tied weights included: the file format refuses
        tensors that share memory, so those that do are copied."""
        if not isinstance(self.model, PushToHubMixin) and state_dict is None:
            seen: set[int] = set()
            state_dict = {}
            for name, value in self.model.state_dict().items():
                state_dict[name] = value.clone() if value.data_ptr() in seen else value.contiguous()
                seen.add(value.data_ptr())
        super()._save(output_dir, state_dict)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)  # of several machines each may have a disk of its own
        torch.save(self.distiller.state_dict(), folder / self._file(self.args.process_index))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        found = [Path(resume_from_checkpoint) / self._file(number) for number in (self.args.process_index, 0)]
        path = next((path for path in found if path.is_file()), None)
        if path is not None:
            with calling(f"{path} must be as it was written", "Resume from another checkpoint.", InputError):
                state = torch.load(path, map_location="cpu", weights_only=True)
            self.distiller.load_state_dict(state)
        elif self.distiller.teaching.rules or self.distiller.guard is not None:
            raise InputError(
                "a checkpoint must hold what the rules have learned", f"no {found[0]}", "Resume one of this trainer's."
            )

    def _file(self, process: int) -> str:
        return "distiller.pt" if self.args.world_size == 1 else f"distiller_{process}.pt"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trackers get each teacher's share with the rest. Not by a callback: the trackers' own come before it."""
        if "loss" in logs and self.distiller.shares.batches:
            self.take_record()
        super().log({**logs, **self.scalars} if "loss" in logs else logs, start_time)

    def take_record(self) -> dict[str, Any]:
        """Return what all processes saw since the last call, in the shape of a trace line; all must call it at one
        step."""
        own = self.distiller.record()
        safety = own.pop("safety", None)
        taken = gather_object([(own.pop("axioms"), len(own.pop("violations")), own)])
        record = combined([shares for _, _, shares in taken])
        self.scalars = {f"share/{s}/{n}": v for s, of in record["share"].items() for n, v in of.items()}
        if broken := sum(count for _, count, _ in taken):
            self.scalars["violations"] = broken
        if safety is not None:
            self.scalars |= {f"safety/{name}": value for name, value in safety.items() if value is not None}
            record["safety"] = safety
        return record | {"axioms": {axiom: max(worst[axiom] for worst, _, _ in taken) for axiom in taken[0][0]}}


class _Lessons(TrainerCallback):
    """Rules that learn are taught after every optimizer step."""

    def __init__(self, trainer: DistillationTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        rate = float(kwargs["lr_scheduler"].get_last_lr()[0])
        self.trainer.distiller.learn(self.trainer.model, rate, state.global_step)


def _refuse_unread(args: TrainingArguments | None, compute_loss_func: Any) -> None:
    """Refuse what a ``Trainer`` takes and what this loss, or its teachers, would not heed."""
    fix = "The distiller computes the loss: say loss=, or subclass and call super().compute_loss."
    given = None if compute_loss_func is None else "one"
    require(given is None, "a distillation must have no compute_loss_func", given, fix)
    if args is None:
        return
    known = isinstance(args, TrainingArguments)
    require(known, "args must be TrainingArguments", type(args).__name__, "transformers.TrainingArguments('out').")
    smoothing = args.label_smoothing_factor
    fix = "The loss=dict(label=...) mass has no smoothing; mixing teachers' targets smooths already."
    require(not smoothing, "label_smoothing_factor must be 0 in a distillation", smoothing, fix)
    names = args.label_names
    fix = "Rename the column: the distiller reads 'labels'."
    require(not names or "labels" in names, "label_names must hold 'labels'", names, fix)
    parallel = args.parallelism_config
    cut = parallel is not None and (parallel.cp_enabled or parallel.sp_enabled)
    fix = "Teachers would read a part of each text: leave cp_size and sp_size at 1."
    require(not cut, "a text must be in one process", "parallelism_config that cuts sequences", fix)


def _tokenizer(processing_class: Any, model: Any) -> Any:
    """Return the tokenizer whose tokens the student's logits are about; None for a student that writes none."""
    student = unwrapped(model)  # adapters and compilation stand around it
    writes = isinstance(student, PreTrainedModel) and student.get_output_embeddings() is not None
    return processing_class if writes and isinstance(processing_class, PreTrainedTokenizerBase) else None
