"""Teachers and student of labelled examples: folders of transformers, and any model of a user's file."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.data.examples import Inputs
from trivium.data.labels import LabelSpace
from trivium.errors import InputError, calling, nearest, require
from trivium.store.code import source_files
from trivium.store.identity import Identity
from trivium.teachers.admission import PROBED, Say, asked, require_meaning, require_own_answers, unsaid
from trivium.teachers.classes import Estimator, Probabilities, match_classes, require_one_distribution
from trivium.teachers.classifier import Classifier, Heads, call
from trivium.teachers.fingerprint import fingerprint, folder_files
from trivium.teachers.huggingface import load_tokenizer
from trivium.teachers.references import resolve
from trivium.teachers.transformers_classifier import TransformersClassifier, load_classifier, padded
from trivium.teachers.vocabulary import vocabulary_size
from trivium.training.classifier_student import ClassifierStudent
from trivium.training.configs import fresh_config, fresh_model
from trivium.training.names import require_model_or_config
from trivium.training.recipe import Recipe, TeacherSection
from trivium.weighting.loading import load_object, undisturbed


def label_space(recipe: Recipe) -> LabelSpace:
    """Return the classes of all tasks.

    Raises:
        InputError: no task, too few classes, a domain or teacher that names a task which does not exist.
    """
    space = LabelSpace.of(recipe.data.tasks)
    named = {} if recipe.data.task_column else {f"domain {d.name!r}": [d.task] for d in recipe.data.domains}
    named |= {f"teacher {teacher.name!r}": teacher.tasks or [] for teacher in recipe.teachers}
    for who, tasks in named.items():
        for task in tasks:
            if task not in space.tasks:
                fix = nearest(task, space.tasks)
                raise InputError(f"the task of {who} must be one of data.tasks", repr(task), fix)
    return space


def serves(recipe: Recipe, space: LabelSpace) -> Tensor:
    """Return which teacher serves which task, bool [tasks, K].

    Raises:
        InputError: a task without a teacher.
    """
    found = torch.tensor([[t.tasks is None or task in t.tasks for t in recipe.teachers] for task in space.tasks])
    alone = [task for task, row in zip(space.tasks, found, strict=True) if not bool(row.any())]
    require(not alone, "every task must have a teacher that serves it", f"none for {alone}", "Add it to `tasks`.")
    return found


def build_classifiers(
    recipe: Recipe, device: torch.device, base: Path = Path(), inputs: Inputs | None = None, say: Say = unsaid
) -> list[Classifier]:
    """Return the recipe's teachers in its order, each asked what every model is asked; see
    :mod:`trivium.teachers.admission`.

    Args:
        inputs: rows to ask about; None asks nothing.
        say: called with what is worth knowing of a teacher that is taken all the same.

    Raises:
        InputError: a folder or file that cannot be used, a model whose answers mean something else, or the student's
            own module. VocabularyError: classes of other names. TeacherError: answers that are no function of the row.
    """
    space, found = label_space(recipe), []
    names = [list(classes) for classes in space.classes]
    for section, served in zip(recipe.teachers, serves(recipe, space).T, strict=True):
        who, gives, tasks = f"teacher {section.name!r}", section.gives, tuple(served.nonzero().flatten().tolist())
        classes = [name for task in tasks for name in names[task]]
        # Its attributes too are a user's code: what it says of its classes or its fingerprint may raise anything.
        with calling(f"{who} must be such as a teacher is", "Look at it in Python."):
            model, identity, known = _teacher(section, classes, recipe, base, who)
            columns, note = match_classes(model, classes, who, lacking=gives == "probabilities")
        if note is not None:
            say(note)
        said = {"gives": gives, "smoothing": section.smoothing, "serves": served.tolist(), "columns": columns}
        digest = Identity({**identity, **said, "classes": names}).digest()
        heads = Heads(space.tasks, space.task_of_class, tasks, columns)
        model = model.to(device) if isinstance(model, torch.nn.Module) else model
        teacher = Classifier(section.name, model, heads, digest, gives == "probabilities", section.smoothing, known)
        found.append(teacher if inputs is None else admit_classifier(teacher, inputs, say))
    return found


def _teacher(
    section: TeacherSection, classes: list[str], recipe: Recipe, base: Path, who: str
) -> tuple[Any, dict[str, Any], bool]:
    """Return a teacher's model, what identifies it, and whether that is all that its answers depend on."""
    if ".py:" not in section.model:
        gives, folder = section.gives, resolve(section.model, base)
        require(gives == "logits", f"{who}, a model of transformers, gives logits", gives, "Leave it out.")
        loaded = load_classifier(folder, classes, who, recipe.data.window)
        return loaded, {"folder": loaded.identity(folder_files(folder))}, True
    model = made(section.model, base)
    _refuse_own_student(model, recipe, who, base)
    if isinstance(model, Estimator) and not callable(model):
        model = Probabilities(model)
    require(callable(model), f"{who} must be a module or a callable", type(model).__name__, "Or a maker of one.")
    # A user's module may share parameters with the student: none is frozen.
    model = model.eval() if isinstance(model, torch.nn.Module) else model
    return model, *identity_of(section.model, model, base)


def _refuse_own_student(model: object, recipe: Recipe, who: str, base: Path) -> None:
    """Raises InputError where a teacher is the very module that the student starts from."""
    reference = recipe.student.model or ""
    if ".py:" not in reference or not isinstance(model, torch.nn.Module):
        return
    with torch.random.fork_rng(devices=[]):
        student = made(reference, base)
    require(
        student is not model,
        f"{who} must be another module than the student",
        f"{reference}, which is the same object as the teacher's",
        "A student that starts as its own teacher has nothing to learn from it. Name a function that makes a new one.",
    )


def admit_classifier(teacher: Classifier, inputs: Inputs, say: Say = unsaid) -> Classifier:
    """Return the teacher itself, after it was asked about some of ``inputs`` what every model is asked."""
    rows, who = probe(inputs, teacher.heads.serves), f"teacher {teacher.name!r}"
    _ask(
        lambda given: teacher.answers(given.to(teacher.device)),
        teacher.model,
        teacher.heads,
        rows,
        who,
        say,
        teacher.probabilities,
    )
    with asked(teacher.model):
        teacher.logits(rows.to(teacher.device))  # what is no distribution is named now, not at some step
    return teacher


def probe(inputs: Inputs, tasks: tuple[int, ...]) -> Inputs:
    """Up to 32 rows of these tasks to ask a model about, spread over all; of texts the longest and the shortest first,
    so that they are in no order by length."""
    mine = torch.isin(inputs.task, torch.tensor(tasks)).nonzero().flatten()
    mine = mine if len(mine) else torch.arange(len(inputs))
    chosen = mine[torch.linspace(0, len(mine) - 1, min(PROBED, len(mine))).long()].tolist()
    for texts in inputs.values.values():
        if isinstance(texts, tuple):
            by_length = sorted((n for n in mine.tolist() if texts[n].strip()), key=lambda n: len(texts[n]))
            ends = list(dict.fromkeys([*by_length[-1:], *by_length[:1]]))
            chosen = [*ends, *(number for number in chosen if number not in ends)]
    return inputs[torch.tensor(chosen)]


def _ask(
    ask: Callable[[Inputs], Tensor],
    model: object,
    heads: Heads,
    rows: Inputs,
    who: str,
    say: Say,
    probabilities: bool = False,
) -> None:
    given = [value for name, value in rows.values.items() if name in ("text", "text_pair") or len(rows.values) == 1]
    texts = [value for value in given if isinstance(value, tuple)]
    if isinstance(model, TransformersClassifier) and texts:
        with asked(model):
            model.settle(list(zip(*texts, strict=True))[:4] if len(texts) == 2 else texts[0][:4], who, say)

    def watched(given: Inputs) -> Tensor:
        before, answer = given.digest(), ask(given)
        require(
            given.to("cpu").digest() == before,
            f"{who} must leave its inputs as they are",
            "a batch that it changed in place",
            "Let it work on a copy: others read the same rows.",
        )
        return answer

    answers = require_own_answers(watched, rows, model, who)
    for task in heads.serves:
        mine, classes = (rows.task == task).to(answers.device), (heads.task_of_class == task).to(answers.device)
        require_meaning([answers[mine][:, classes]], probabilities, who, say)


def made(reference: str, base: Path) -> Any:
    """Return what ``FILE.py:NAME`` names; a class, or a function without parameters, is called to make it."""
    found = load_object(reference, base)
    if isinstance(found, torch.nn.Module) or not callable(found):
        return found
    try:
        takes = inspect.signature(found).parameters.values()
        needs = [p for p in takes if p.default is p.empty and not (inspect.isclass(found) and p.kind in _ANY)]
    except (TypeError, ValueError):  # a callable that does not say what it takes is a model
        return found
    if needs:
        return found
    with calling(f"{reference} must make a model", "Call it in Python to see."), undisturbed():
        return found()


#: What a class without a constructor of its own seems to take.
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@runtime_checkable
class Declared(Protocol):
    """A model of a user's file that says what its answers depend on: another text whenever they change."""

    @property
    def fingerprint(self) -> str: ...


def identity_of(reference: str, model: Any, base: Path) -> tuple[dict[str, Any], bool]:
    """Return what can be told of a model of a user's file: its code, its tensors, what it declares; and whether it
    declares anything, which is then taken to cover what else it depends on."""
    path, _, name = reference.rpartition(":")
    files = source_files(base / path, (base / path).parent)
    parts: dict[str, Any] = {"files": files, "name": name}
    if isinstance(model, torch.nn.Module):
        parts["module"] = fingerprint(model)
    if not isinstance(model, Declared):
        return parts, False
    require(
        isinstance(model.fingerprint, str) and model.fingerprint != "",
        f"the fingerprint that {reference} declares must be a text",
        repr(model.fingerprint)[:80],
        "Change it whenever its answers change, or leave it out.",
    )
    return parts | {"declared": model.fingerprint}, True


def text_readers(student: Any, teachers: Sequence[Any]) -> dict[str, TransformersClassifier]:
    """Return the models of a run on examples that tokenize texts, by what sentences call them, the student first."""
    models: dict[str, Any] = {"the student": student.inner} if isinstance(student, ClassifierStudent) else {}
    models |= {f"teacher {t.name!r}": t.model for t in teachers if isinstance(t, Classifier)}
    return {n: m for n, m in models.items() if isinstance(m, TransformersClassifier) and m.tokenizer is not None}


def build_classifier_student(recipe: Recipe, base: Path = Path(), say: Say = unsaid) -> ClassifierStudent:
    """Return the student; a fresh one's weights depend on the recipe's seed alone.

    ``student.model`` is ``FILE.py:NAME``, a module or what makes one, or a folder of transformers; ``student.config`` a
    transformers config, with ``student.tokenizer`` where the inputs are texts.
    """
    section, space = recipe.student, label_space(recipe)
    require_model_or_config(section, "Give student.model, FILE.py:NAME or a folder, or student.config for a fresh one.")
    classes = [name for names in space.classes for name in names]
    torch.manual_seed(recipe.train.seed)
    if section.model is None:
        inner: Any = _fresh(recipe, classes, base)
    elif ".py:" in section.model:
        inner = own_student(section.model, base, recipe.train.seed)
    else:
        inner = load_classifier(resolve(section.model, base), classes, "the student", recipe.data.window)
        if inner.tokenizer is not None:
            padded(inner.tokenizer, inner.model, aligned=True)
    with calling("the student must say which classes it has, or nothing of them", "Look at it in Python."):
        columns, note = match_classes(inner, classes, "the student")
    if note is not None:
        say(note)
    return ClassifierStudent(
        inner, Heads(space.tasks, space.task_of_class, tuple(range(len(space.tasks))), columns)
    ).train()


def own_student(reference: str, base: Path, seed: int) -> torch.nn.Module:
    """Return the module that ``FILE.py:NAME`` names or makes: a copy, so that each run starts from what is in the file.

    Its weights are drawn after ``seed``, whether or not the file has been read before: a file may draw some of its own.

    Raises:
        InputError: no module, or one with nothing to train.
    """
    torch.manual_seed(seed)
    load_object(reference, base)
    torch.manual_seed(seed)
    inner = copy.deepcopy(made(reference, base))
    if not isinstance(inner, torch.nn.Module) or not any(p.requires_grad for p in inner.parameters()):
        raise InputError(
            f"student {reference} must be a torch.nn.Module with parameters to train",
            type(inner).__name__,
            "Name a function that makes one.",
        )
    return inner


def admit_classifier_student(
    classifier_student: ClassifierStudent, inputs: Inputs, say: Say = unsaid
) -> ClassifierStudent:
    """Return the student itself, after it was asked about some of ``inputs`` what every model is asked."""

    def answers(given: Inputs) -> Tensor:
        with calling("the student must read a batch", "Call it on one by itself to see."):
            output = call(classifier_student.inner, given.values)
        return classifier_student.heads.spread(output, len(given), "the student")

    _ask(
        answers,
        classifier_student.inner,
        classifier_student.heads,
        probe(inputs, classifier_student.heads.serves),
        "the student",
        say,
    )
    return classifier_student


def load_classifier_student(recipe: Recipe, base: Path, folder: Path) -> ClassifierStudent:
    """Return a student as :meth:`ClassifierStudent.save_pretrained` left it in ``folder``."""
    if ".py:" not in (recipe.student.model or ""):
        section = recipe.student.model_copy(update={"model": str(folder.absolute()), "config": None})
        return build_classifier_student(recipe.model_copy(update={"student": section}), base)
    from safetensors.torch import load_model

    classifier_student = build_classifier_student(recipe, base)
    load_model(classifier_student.inner, str(folder / "model.safetensors"))
    return classifier_student


def _fresh(recipe: Recipe, classes: list[str], base: Path) -> TransformersClassifier:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as images
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as sequences

    folder = recipe.student.tokenizer
    tokenizer = None if folder is None else load_tokenizer(resolve(folder, base))
    sized = {} if tokenizer is None else {"vocab_size": vocabulary_size(tokenizer)}
    named = {"id2label": dict(enumerate(classes)), "label2id": {name: k for k, name in enumerate(classes)}}
    config = fresh_config(dict(recipe.student.config or {}), {*sequences, *images}, "classifies", {**sized, **named})
    factory: Callable[..., Any] = transformers.AutoModelForSequenceClassification
    if config.model_type in images:
        factory = transformers.AutoModelForImageClassification
    require_one_distribution(config, classes, "the student")
    model = fresh_model(factory, config)
    return TransformersClassifier(model, tokenizer and padded(tokenizer, model, aligned=True), recipe.data.window)
