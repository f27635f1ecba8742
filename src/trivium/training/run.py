"""A run from recipe to student: prepare once, distil as often as there are schemes to compare."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from trivium.data.table import Table
from trivium.errors import TriviumError, require
from trivium.former import renamed
from trivium.jsontext import write_json
from trivium.scheme import Scheme
from trivium.teachers.admission import Say
from trivium.teachers.cache import cached_logits
from trivium.teachers.live import LiveLogits, LogitSource, Reader
from trivium.training.build import build_scheme, cap_note
from trivium.training.checkpoints import alone, claim, latest_complete, require_same, step_of
from trivium.training.critical import marked_tables
from trivium.training.data_table import data_table
from trivium.training.evaluate import at_once, is_predictor, mixture_nats, student_nll, teacher_nll
from trivium.training.identity import run_identity
from trivium.training.monitor import MonitoredBounds
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
from trivium.training.safety import (
    SAFETY_FILE,
    Plan,
    audited,
    checked_before,
    measured,
    plan_of,
    utility,
)
from trivium.training.tasks import Materials, Tables, Task, task_of
from trivium.training.trace import TraceWriter

#: Called with (stage, done, total).
Progress = Callable[[str, int, int], None]


#: Called with (step, mean bits per byte) after every validation; may raise to end the training.
Watch = Callable[[int, float], None]
#: The splits of the data, in the order in which teachers read them.
SPLITS = ("train", "validation", "test")


def silent(stage: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""


def unwatched(step: int, value: float) -> None:
    """A validation callback that does nothing, so that the run goes on."""


@dataclass(frozen=True)
class PreparedRun:
    """Teachers, rows and cached logits that several runs share, computed once.

    ``tokenizer`` is None where the task has none that all share; ``data`` is the content of ``data.json``. ``begun``
    holds the scheme and student that were made to be looked at, with their recipe, until the first run takes them.
    ``safety`` is what the student must not do, with what was found of the teachers.
    """

    task: Task
    base: Path
    tokenizer: Any
    teachers: Sequence[Reader]
    tables: Tables
    sources: dict[str, LogitSource]
    validation_loss: Tensor
    data: Mapping[str, Any] = field(default_factory=dict)
    begun: list[tuple[Recipe, Scheme, Materials]] = field(default_factory=list, repr=False)
    safety: Plan | None = None

    def begin(self, recipe: Recipe, say: Say) -> tuple[Scheme, Any]:
        """Return the scheme and student of a run, which no other run shares, after what there is to say of the
        student."""
        begun = self.begun.pop() if self.begun else None
        if begun is None or begun[0] != recipe:
            scheme = build_scheme(recipe, self.base)
            return scheme, self.task.student(recipe, self.base, self.tables.validation, say)
        _, scheme, made = begun
        for line in made.notes:
            say(line)
        return scheme, made.student

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
) -> PreparedRun:
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
    MonitoredBounds.of(scheme, recipe.monitor)  # T1 before anything is computed

    def say(line: str) -> None:
        progress(line, 1, 1)

    task = task_of(recipe, base)
    made = task.materials(recipe, scheme, base, own_device(), say)
    plan = None
    if recipe.safety is not None:
        needed = "safety is audited on test data, which nothing is chosen on"
        require(made.tables.test is not None, needed, "a recipe without", "Give each domain its `test`.")
        plan = plan_of(recipe, made.tokenizer)
        for line in plan.safety.unsafe.lines():
            say(f"forbidden: {line}")
        made = replace(made, tables=marked_tables(plan.section, plan.safety.unsafe, made.tokenizer, made.tables, base))
    teachers, tables, trains = made.teachers, made.tables, "train" in cached
    if trains:  # else nothing is trained on them
        require_rows(len(tables.train), recipe.train.batch_size, processes)
    if resumed is not None:
        require_same(resumed, run_identity(recipe, base, teachers, tables, made.student, scheme))
    named = tables.splits()
    data = data_table(recipe, named, made.lengths, processes)
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
                batch = at_once(rows, positions=256)
                told, shape = _reporter(progress, name), rows.labels.shape
                kept = cached_logits(teachers, rows.inputs, cache, batch, told, room, shape)
            sources[name], room = kept, room - kept.bytes
        else:
            sources[name] = LiveLogits(teachers, rows.inputs)
    classes = teachers[0].vocabulary_size
    losses, lines = task.judge(sources["validation"], tables.validation, recipe.teacher_names, classes)
    for line in lines:
        say(line)
    if plan is not None:
        plan, lines = checked_before(plan, tables.validation, sources["validation"], scheme)
        for line in lines:
            say(line)
    begun = [(recipe, scheme, made)] if trains else []
    return PreparedRun(task, base, made.tokenizer, teachers, tables, sources, losses, data, begun, plan)


def _check_tracker(tracker: str) -> None:
    require(
        tracker == "none" or find_spec(tracker) is not None,
        "train.tracker must be installed",
        repr(tracker),
        f"pip install {tracker}, or set it to none.",
    )


def _reporter(progress: Progress, split: str) -> Callable[[str, int, int], None]:
    return lambda teacher, done, total: progress(f"teacher {teacher} reads the {split} data", done, total)


@renamed(workshop="prepared_run")
def distill(
    recipe: Recipe,
    prepared_run: PreparedRun,
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
        the token they weight, ``mixture`` [N]; then whatever else the task measures, of examples ``student_correct``
        and so on, ones and zeros. What belongs to a teacher that does not serve the row's task is NaN. Also written to
        ``nats.json``, null for NaN and for the infinite nats of a class without mass.

    Raises:
        InputError: the folder holds another run. AxiomViolation, TeacherError: see
            :func:`trivium.training.step.distillation_step`; checkpoints stay.
    """
    for noisy in ("transformers", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with alone(folder) if is_main() else nullcontext():
        return _distilled(recipe, prepared_run, folder, resume, progress, watch)


def _distilled(
    recipe: Recipe, prepared_run: PreparedRun, folder: Path, resume: bool, progress: Progress, watch: Watch
) -> dict[str, Tensor]:
    # Late, so that a recipe can be read and certified without the Trainer.
    from transformers.trainer_callback import PrinterCallback

    from trivium.training.decoding import save_guard
    from trivium.training.recorded import Recorder, recorded_trainer, save_rules

    scheme, student = prepared_run.begin(recipe, lambda line: progress(line, 1, 1))
    if (capped := cap_note(recipe, scheme, prepared_run.base)) is not None:
        progress(capped, 1, 1)
    with main_first():
        if is_main():
            identity = run_identity(
                recipe, prepared_run.base, prepared_run.teachers, prepared_run.tables, student, scheme
            )
            if (moved := claim(folder, recipe, identity, resume)) is not None:
                progress(moved, 1, 1)
        checkpoint = latest_complete(folder) if resume else None
    trace = TraceWriter(folder / "metrics.jsonl", step_of(checkpoint) if checkpoint else None, join=not is_main())
    rows, source = prepared_run.tables.train, prepared_run.sources["train"]
    plan = prepared_run.safety
    own = None if plan is None else plan.safety
    trainer = recorded_trainer(recipe, scheme, student, rows, source, prepared_run.validation_loss, folder, own)
    label = f"distilling {recipe.name}"
    validation = prepared_run.tables.validation
    recorder = Recorder(
        trainer,
        prepared_run.task,
        recipe,
        trace,
        validation,
        lambda n, total, loss: progress(label, n, total),
        watch,
        plan,
    )
    trainer.remove_callback(PrinterCallback)  # progress is shown once, by the caller
    trainer.add_callback(recorder)
    if checkpoint is None:
        recorder.evaluate(0)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    taken = trainer.state.global_step
    if taken < recipe.train.steps:  # the Trainer ends without a word where its data give no batch
        raise TriviumError(f"a run must take its {recipe.train.steps} steps", taken, "Look at its data and trackers.")
    student = trainer.accelerator.unwrap_model(trainer.model)
    nll = _final_nll(recipe, scheme, prepared_run, student)
    if is_main():
        student.save_pretrained(folder / "student")
        save_rules(trainer.distiller, folder)
        if prepared_run.tokenizer is not None:
            prepared_run.tokenizer.save_pretrained(folder / "student")
            if plan is not None:
                save_guard(plan.section, folder / "student")
        for name, content in prepared_run.task.results(nll, prepared_run.held_out[0], scheme.teacher_names).items():
            write_json(folder / name, content)
        if plan is not None:
            held_out = prepared_run.held_out
            found = measured(plan, *held_out, scheme, prepared_run.validation_loss, student)
            write_json(
                folder / SAFETY_FILE, audited(plan, found, "test", scheme.teacher_names, utility(held_out[0], nll))
            )
        write_json(folder / "data.json", prepared_run.data)
        write_json(folder / "nats.json", {name: values.tolist() for name, values in nll.items()}, indent=None)
    wait()
    return nll


def _final_nll(recipe: Recipe, scheme: Scheme, prepared_run: PreparedRun, student: Any) -> dict[str, Tensor]:
    (rows, source), score = prepared_run.held_out, prepared_run.task.score
    found = {"student": student_nll(student, rows, score).cpu(), "teachers": teacher_nll(source, rows, score)}
    if is_predictor(scheme):
        loss, known = recipe.loss, prepared_run.validation_loss
        evaluated = student.eval()
        found["mixture"] = mixture_nats(scheme, source, rows, known, loss.pool, evaluated, loss.exponent, score)
    return {
        f"{name}{suffix}": values[..., number]
        for number, suffix in enumerate(prepared_run.task.measures.values())
        for name, values in found.items()
    }
