"""Text: rows of token ids, causal language models of one vocabulary, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.data.rows import DomainTexts, Rows, make_rows
from trivium.data.sources import read_texts
from trivium.data.table import Table
from trivium.errors import InputError, require
from trivium.scheme import Scheme
from trivium.teachers.admission import Say, admit_language_model, trim_vocabulary, unsaid
from trivium.teachers.huggingface import Teacher, load_model, load_teachers, load_tokenizer
from trivium.teachers.live import LogitSource
from trivium.teachers.references import resolve
from trivium.teachers.vocabulary import require_every_id, vocabulary_size
from trivium.training.configs import fresh_config, fresh_model
from trivium.training.evaluate import nll, teacher_nll, validation_losses
from trivium.training.names import require_model_or_config
from trivium.training.recipe import Recipe
from trivium.training.tasks.base import Materials, Tables, own_columns, own_features, three


class TextTask:
    """A row is a window of T tokens, each predicted from those before it."""

    measures: Mapping[str, str] = {"bits_per_byte": ""}

    def score(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return nll(log_p, labels).unsqueeze(-1)

    def sizes(self, recipe: Recipe, base: Path) -> Mapping[str, Callable[[], int]]:
        """The classes of text are the student's vocabulary."""
        return {
            "tasks": lambda: len({domain.task for domain in recipe.data.domains}),
            "classes": lambda: vocabulary_size(build_tokenizer(recipe, base)),
        }

    def admit(self, scheme: Scheme) -> None:
        """Do nothing, since a scheme for text may read every feature."""

    def serves(self, recipe: Recipe) -> None:
        return None

    def materials(self, recipe: Recipe, scheme: Scheme, base: Path, device: torch.device, say: Say) -> Materials:
        refuse_for_text(recipe)
        tokenizer, notes = build_tokenizer(recipe, base), list[str]()
        student = build_student(recipe, tokenizer, base, notes.append)
        teachers = build_teachers(recipe, tokenizer, device, base, say)
        return Materials(teachers, build_rows(recipe, tokenizer, scheme, base), student, notes, tokenizer)

    def student(self, recipe: Recipe, base: Path, rows: Table | None = None, say: Say = unsaid) -> Any:
        return build_student(recipe, build_tokenizer(recipe, base), base, say)

    def load(self, recipe: Recipe, base: Path, folder: Path) -> Any:
        return load_model(folder)

    def judge(
        self, source: LogitSource, rows: Table, teacher_names: Sequence[str], classes: int
    ) -> tuple[Tensor, Iterable[str]]:
        losses = validation_losses(teacher_nll(source, rows), rows)
        return losses, worse_than_a_guess(losses, classes, rows.tasks, teacher_names)

    def results(self, nll: Mapping[str, Tensor], rows: Table, teacher_names: Sequence[str]) -> Mapping[str, Any]:
        return {}


def refuse_for_text(recipe: Recipe) -> None:
    """Raises InputError where a recipe of text has keys that mean something for examples alone."""
    section = recipe.data
    data = {"tasks": section.tasks, "task_column": section.task_column, "pair_column": section.pair_column}
    given = [f"data.{name}" for name, value in data.items() if value]
    for number, t in enumerate(recipe.teachers):
        keys = {"tasks": t.tasks is not None, "gives": t.gives != "logits", "smoothing": t.smoothing > 0}
        given += [f"teachers.{number}.{key}" for key, present in keys.items() if present]
    require(not given, "keys of examples must stand in a recipe of examples", given, "Write data.kind: examples.")


def build_rows(recipe: Recipe, tokenizer: Any, scheme: Scheme, base: Path = Path()) -> Tables:
    """Return all rows of a run. Features that the scheme reads and Trivium does not compute are columns of the data."""
    data, own = recipe.data, own_features(scheme) | own_columns(recipe)

    def table(split: str, limit: int | None) -> Rows:
        texts = [
            DomainTexts(d.name, d.task, read_texts(getattr(d, split), base, data.text_column)) for d in data.domains
        ]
        return make_rows(texts, tokenizer, data.window, limit, data.seed, own, data.end_of_text)

    return three(recipe, table)


def build_tokenizer(recipe: Recipe, base: Path = Path()) -> Any:
    """Return the student's tokenizer."""
    folder = recipe.student.tokenizer or recipe.student.model
    if folder is None:
        raise InputError("a student must have a tokenizer", "none", "Give student.tokenizer or student.model.")
    tokenizer = load_tokenizer(resolve(folder, base))
    require_every_id(tokenizer)
    return tokenizer


def build_student(recipe: Recipe, tokenizer: Any, base: Path = Path(), say: Say = unsaid) -> Any:
    """Return the student: a model from its folder, or a fresh one whose weights depend on the recipe's seed alone.

    It has a logit a token: see :func:`trivium.teachers.admission.trim_vocabulary`.

    Args:
        say: called with what is worth knowing of a student that is taken all the same.

    Raises:
        InputError: no such model, a config that does not fit, or a model that is not admitted; see
            :func:`trivium.teachers.admission.admit_language_model`.
    """
    section = recipe.student
    require_model_or_config(section, "Give student.model to start from one, or student.config for a fresh one.")
    if section.model is not None:
        student = load_model(resolve(section.model, base))
    else:
        from transformers import AutoModelForCausalLM
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal

        special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        sized = {"vocab_size": vocabulary_size(tokenizer), **special}
        config = fresh_config(dict(section.config or {}), causal, "writes text", sized)
        torch.manual_seed(recipe.train.seed)
        student = fresh_model(AutoModelForCausalLM, config)
    trim_vocabulary(student, tokenizer, say)
    admit_language_model(student, tokenizer, recipe.data.window, "the student", say)
    return student.train()


def build_teachers(
    recipe: Recipe, tokenizer: Any, device: torch.device, base: Path = Path(), say: Say = unsaid
) -> list[Teacher]:
    """Return the recipe's teachers in its order, vocabularies checked, each asked what every model is asked."""
    folders = {teacher.name: resolve(teacher.model, base) for teacher in recipe.teachers}
    names = recipe.teacher_names
    require(len(folders) == len(names), "teachers' names must differ", names, "Rename one of them.")
    dtype = torch.bfloat16 if device.type == "cuda" and recipe.train.precision != "float32" else torch.float32
    return load_teachers(folders, tokenizer, device, dtype, recipe.data.window, say)


def worse_than_a_guess(
    losses: Tensor, classes: int, tasks: Sequence[str], teacher_names: Sequence[str]
) -> Iterator[str]:
    """Yield a line for each teacher whose validation loss is above ln V: its ids may mean something else to it.

    Args:
        losses: nats a token, [tasks, K].
        classes: V.
    """
    for number, task in enumerate(tasks):
        for k, name in enumerate(teacher_names):
            if float(losses[number, k]) > math.log(classes):
                yield (
                    f"warning: teacher {name!r} is worse than a uniform guess on task {task!r}: "
                    f"{float(losses[number, k]):.2f} nats a token, the guess {math.log(classes):.2f}"
                )
