"""A run from recipe to student: prepare once, distil as often as there are schemes to compare."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from trivium.data.examples import Examples, Table
from trivium.errors import TriviumError, require
from trivium.jsontext import write_json
from trivium.scheme import Scheme
from trivium.teachers.admission import Say
from trivium.teachers.cache import cached_logits
from trivium.teachers.live import LiveLogits, LogitSource, Reader
from trivium.training import classify
from trivium.training.accuracy import write_accuracy
from trivium.training.agreement import agreement_warnings, worse_than_a_guess
from trivium.training.build import Tables, build_rows, build_scheme, build_student, build_teachers, build_tokenizer
from trivium.training.checkpoints import alone, claim, latest_complete, require_same, step_of
from trivium.training.data_table import data_table
from trivium.training.evaluate import (
    is_predictor,
    mixture_nats,
    nats_and_answer,
    nats_and_correct,
    student_nats,
    teacher_nats,
    validation_losses,
)
from trivium.training.evaluate import nats as nats_alone
from trivium.training.identity import run_identity
from trivium.training.monitor import Bounds, Monitor
from trivium.training.processes import (
    is_main,
    main_first,
    own_device,
    require_launch,
    require_precision,
    require_rows,
    wait,
)
from trivium.training.recipe import Recipe
from trivium.training.trace import Trace

#: Called with (stage, done, total).
Progress = Callable[[str, int, int], None]


#: Called with (step, mean bits per byte) after every validation; may raise to end the training.
Watch = Callable[[int, float], None]
#: The splits of the data, in the order in which teachers read them.
SPLITS = ("train", "validation", "test")


def silent(stage: str, done: int, total: int) -> None:
    """The progress of a run that nobody watches."""


def unwatched(step: int, value: float) -> None:
    """The validations of a run that goes on whatever they are."""


@dataclass(frozen=True)
class Workshop:
    """What runs on the same teachers and data share: computed once, read by all of them. ``tokenizer`` is None where
    the data are examples; ``data`` is the content of ``data.json``."""

    base: Path
    tokenizer: Any
    teachers: Sequence[Reader]
    tables: Tables
    sources: dict[str, LogitSource]
    validation_loss: Tensor
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held_out(self) -> tuple[Table, LogitSource]:
        """Test rows where the recipe has some, else validation rows."""
        if self.tables.test is not None:
            return self.tables.test, self.sources["test"]
        return self.tables.validation, self.sources["validation"]


def prepare(
    recipe: Recipe,
    base: Path,
    cache: Path,
    progress: Progress = silent,
    cached: Collection[str] = SPLITS,
    resumed: Path | None = None,
) -> Workshop:
    """Read data and teachers, check that they fit, and compute the teachers' logits (or arrange to).

    Args:
        cached: the splits whose logits are computed now, if the recipe has a cache; others when they are asked for.
        resumed: the folder of a run to go on with; if it is another one, that is said before a teacher reads anything.

    Raises:
        InputError: anything in recipe, data or models that cannot be used. TeacherError: NaN logits.
    """
    if recipe.train.threads is not None:
        torch.set_num_threads(recipe.train.threads)
    disable_progress_bar()  # the caller shows progress; the bars of single files would stand between its lines
    processes = require_launch()
    require_precision(recipe.train.precision)
    _check_tracker(recipe.train.tracker)
    scheme = build_scheme(recipe, base)
    Bounds.of(scheme, recipe.monitor)  # T1 before anything is computed

    def say(line: str) -> None:
        progress(line, 1, 1)

    tokenizer, teachers, tables, student = _materials(recipe, scheme, base, say)
    if "train" in cached:  # else nothing is trained on them
        require_rows(len(tables.train), recipe.train.batch_size, processes)
    if resumed is not None:
        require_same(resumed, run_identity(recipe, base, teachers, tables, student))
    readers = classify.text_readers(student, teachers)
    del student  # each run makes its own
    named = {"train": tables.train, "validation": tables.validation}
    if tables.test is not None:
        named["test"] = tables.test
    data = data_table(recipe, named, readers, processes)
    for line in data["warnings"]:
        progress(f"warning: {line}", 1, 1)
    sources: dict[str, LogitSource] = {}
    room = recipe.cache.limit_gb * 1e9
    if recipe.cache.enabled:
        positions = sum(rows.labels.numel() for name, rows in named.items() if name in cached)
        size = positions * teachers[0].vocabulary_size * len(teachers) * 2 / 1e9
        require(
            size <= recipe.cache.limit_gb,
            f"the teachers' logits must fit cache.limit_gb = {recipe.cache.limit_gb:g}",
            f"{size:.1f} GB",
            "Use fewer train_rows, raise the limit, or set cache.enabled to false.",
        )
    for name, rows in named.items():
        if recipe.cache.enabled and name in cached:
            with main_first():
                batch = 256 if isinstance(rows, Examples) else 16
                kept = cached_logits(teachers, rows.inputs, cache, batch, _reporter(progress, name), room)
            sources[name], room = kept, room - kept.bytes
        else:
            sources[name] = LiveLogits(teachers, rows.inputs)
    losses = _judged(sources["validation"], tables.validation, recipe.teacher_names, teachers[0].vocabulary_size, say)
    return Workshop(base, tokenizer, teachers, tables, sources, losses, data)


def _materials(recipe: Recipe, scheme: Scheme, base: Path, say: Say) -> tuple[Any, Sequence[Reader], Tables, Any]:
    """Tokenizer, teachers, tables and a student, of text or of examples. The student is made first: one that cannot be
    is refused before anything is computed. What is to say of it is said when it trains."""
    if recipe.data.kind == "examples":
        classify.build_learner(recipe, base)
        tables = classify.build_examples(recipe, scheme, base)
        rows = classify.inputs_of(tables)
        teachers = classify.build_classifiers(recipe, own_device(), base, rows, say)
        learner = classify.build_learner(recipe, base, rows)  # again, now that there are rows to ask it about
        return None, teachers, tables, learner
    classify.refuse_for_text(recipe)
    tokenizer = build_tokenizer(recipe, base)
    student = build_student(recipe, tokenizer, base)
    texts = build_teachers(recipe, tokenizer, own_device(), base, say)
    return tokenizer, texts, build_rows(recipe, tokenizer, scheme, base), student


def _judged(source: LogitSource, rows: Table, teachers: Sequence[str], classes: int, say: Say) -> Tensor:
    """The teachers' validation losses, [tasks, K], after what they give away has been said."""
    if isinstance(rows, Examples):
        found = teacher_nats(source, rows, nats_and_answer)
        warnings = agreement_warnings(found[..., 1], rows, teachers)
        losses = validation_losses(found[..., 0], rows)
    else:
        losses = validation_losses(teacher_nats(source, rows), rows)
        warnings = worse_than_a_guess(losses, classes, rows.tasks, teachers)
    for line in warnings:
        say(line)
    return losses


def _check_tracker(tracker: str) -> None:
    require(
        tracker == "none" or find_spec(tracker) is not None,
        "train.tracker must be installed",
        repr(tracker),
        f"pip install {tracker}, or set it to none.",
    )


def _reporter(progress: Progress, split: str) -> Callable[[str, int, int], None]:
    return lambda teacher, done, total: progress(f"teacher {teacher} reads the {split} data", done, total)


def distill(
    recipe: Recipe,
    workshop: Workshop,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    watch: Watch = unwatched,
) -> dict[str, Tensor]:
    """Train one student and leave its record in ``folder``.

    Args:
        resume: go on from the last complete checkpoint, or from the start where there is none.
        watch: sees every validation; what it raises ends the training and is raised here.

    Returns:
        Held-out nats a row, float64: ``student`` [N], ``teachers`` [N, K] and, where the weights are known before
        the token they weight, ``mixture`` [N]. Of examples also ``student_correct`` and so on, ones and zeros; what
        belongs to a teacher that does not serve the row's task is NaN. Also written to ``nats.json``, null for NaN
        and for the infinite nats of a class without mass.

    Raises:
        InputError: the folder holds another run. AxiomViolation, TeacherError: see
            :func:`trivium.training.step.distillation_step`; checkpoints stay.
    """
    for noisy in ("transformers", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with alone(folder) if is_main() else nullcontext():
        return _distilled(recipe, workshop, folder, resume, progress, watch)


def _distilled(
    recipe: Recipe, workshop: Workshop, folder: Path, resume: bool, progress: Progress, watch: Watch
) -> dict[str, Tensor]:
    # Late, so that a recipe can be read and certified without the Trainer.
    from transformers.trainer_callback import PrinterCallback

    from trivium.training.trainer import DistillationTrainer, Recorder

    scheme = build_scheme(recipe, workshop.base)
    if recipe.data.kind == "examples":
        asked = classify.inputs_of(workshop.tables)
        student: Any = classify.build_learner(recipe, workshop.base, asked, lambda line: progress(line, 1, 1))
        if (capped := classify.cap_note(recipe, scheme)) is not None:
            progress(capped, 1, 1)
    else:
        student = build_student(recipe, workshop.tokenizer, workshop.base, lambda line: progress(line, 1, 1))
    with main_first():
        if is_main():
            identity = run_identity(recipe, workshop.base, workshop.teachers, workshop.tables, student)
            if (moved := claim(folder, recipe, identity, resume)) is not None:
                progress(moved, 1, 1)
        checkpoint = latest_complete(folder) if resume else None
    monitor = Monitor(Bounds.of(scheme, recipe.monitor), recipe.monitor.on_violation, recipe.monitor.pareto)
    trace = Trace(folder / "metrics.jsonl", step_of(checkpoint) if checkpoint else None, join=not is_main())
    trainer = DistillationTrainer(
        student,
        recipe,
        scheme,
        workshop.tables.train,
        workshop.sources["train"],
        workshop.validation_loss,
        folder,
        trace,
        monitor,
    )
    label = f"distilling {recipe.name}"
    recorder = Recorder(
        trainer, workshop.tables.validation, lambda done, total, loss: progress(label, done, total), watch
    )
    trainer.remove_callback(PrinterCallback)  # progress is shown once, by the caller
    trainer.add_callback(recorder)
    if checkpoint is None:
        recorder.evaluate(0)
    else:
        trainer.teaching.restore(checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    taken = trainer.state.global_step
    if taken < recipe.train.steps:  # the Trainer ends without a word where its data give no batch
        raise TriviumError(f"a run must take its {recipe.train.steps} steps", taken, "Look at its data and trackers.")
    student = trainer.accelerator.unwrap_model(trainer.model)
    nats = _final_nats(recipe, scheme, workshop, student)
    if is_main():
        student.save_pretrained(folder / "student")
        trainer.teaching.save(folder)
        if workshop.tokenizer is not None:
            workshop.tokenizer.save_pretrained(folder / "student")
        if isinstance(rows := workshop.held_out[0], Examples):
            write_accuracy(nats, rows, scheme.teachers, folder / "accuracy.json")
        write_json(folder / "data.json", workshop.data)
        write_json(folder / "nats.json", {name: values.tolist() for name, values in nats.items()}, indent=None)
    wait()
    return nats


def _final_nats(recipe: Recipe, scheme: Scheme, workshop: Workshop, student: Any) -> dict[str, Tensor]:
    rows, source = workshop.held_out
    score = nats_and_correct if isinstance(rows, Examples) else nats_alone
    found = {"student": student_nats(student, rows, score).cpu(), "teachers": teacher_nats(source, rows, score)}
    if is_predictor(scheme):
        loss, known = recipe.loss, workshop.validation_loss
        evaluated = student.eval()
        found["mixture"] = mixture_nats(scheme, source, rows, known, loss.pool, evaluated, loss.exponent, score)
    if score is nats_alone:
        return found
    nats = {name: values[..., 0] for name, values in found.items()}
    return nats | {f"{name}_correct": values[..., 1] for name, values in found.items()}
