"""What a classifier's outputs mean: one distribution over the recipe's classes, in which order."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.errors import InputError, VocabularyError

#: Of a transformers config whose outputs are no distribution over classes: what they are.
_OTHER_PROBLEMS = {
    "multi_label_classification": "one yes or no a class (sigmoids), which need not sum to one",
    "regression": "numbers, not classes",
}


@runtime_checkable
class _HasConfig(Protocol):
    @property
    def config(self) -> Any: ...


@runtime_checkable
class _Labelled(Protocol):
    @property
    def id2label(self) -> Any: ...


@runtime_checkable
class _Numbered(Protocol):
    @property
    def label2id(self) -> Any: ...


@runtime_checkable
class _Listed(Protocol):
    @property
    def classes(self) -> Any: ...


@runtime_checkable
class _Fitted(Protocol):
    """An estimator of scikit-learn after ``fit``."""

    @property
    def classes_(self) -> Any: ...


@runtime_checkable
class Estimator(Protocol):
    """What has ``predict_proba``, as classifiers of scikit-learn do."""

    def predict_proba(self, inputs: Any) -> Any: ...


class Probabilities:
    """An estimator as a callable: ``predict_proba`` of its input as an array, or of several as they are named."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator

    def __call__(self, *single: Any, **named: Any) -> Any:
        given = [_array(value) for value in (*single, *named.values())]
        if len(given) != 1:
            raise InputError("an estimator must be given one input", f"{sorted(named)}", "Name a function of them.")
        return self.estimator.predict_proba(given[0])


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def require_one_distribution(config: Any, classes: Sequence[str], who: str) -> None:
    """Raise unless a model of transformers gives one distribution over classes.

    Raises:
        InputError: a model of several labels at once or of regression, by its ``problem_type`` or its one output.
    """
    given = config.to_dict()
    problem = given.get("problem_type")
    if problem in _OTHER_PROBLEMS:
        raise InputError(
            f"{who} must give one distribution over classes",
            f"problem_type {problem!r}: {_OTHER_PROBLEMS[problem]}",
            "A softmax would make something else of it. Take a model of single_label_classification.",
        )
    if config.num_labels == 1:
        raise InputError(
            f"{who} must give a number for each of {len(classes)} classes",
            "one output, which is a regression, or one sigmoid for two classes",
            "Take a model with a logit a class.",
        )


def match_classes(
    model: object, classes: Sequence[str], who: str, lacking: bool = False
) -> tuple[tuple[int, ...] | None, str | None]:
    """Return where each of ``classes`` stands among the model's outputs, as far as it says.

    Names are read from ``config.id2label`` and ``label2id``, ``id2label``, ``classes``, or an estimator's ``classes_``
    (also of the estimator that a bound method such as ``forest.predict_proba`` belongs to). The ``LABEL_0`` that
    transformers writes where nobody named them, and numbers from 0 on, say nothing but the recipe's own order.

    Args:
        lacking: whether it may lack classes, as an estimator does that saw no example of them.

    Returns:
        The column of each class, −1 for one that it lacks, or None where the columns are the classes as they stand; and
        a line to show where they are put into another order.

    Raises:
        VocabularyError: names the model, and the first class that differs.
    """
    theirs = _names(model, who)
    if theirs is None:
        return None, None
    if len(theirs) != len(classes) and not (lacking and len(theirs) < len(classes)):
        raise VocabularyError(
            f"{who} must have the {len(classes)} classes of the tasks it serves",
            f"{len(theirs)}",
            "Name its `tasks` in the recipe, or give it the classes of data.tasks.",
        )
    names = [str(name) for name in theirs]
    if names == list(classes) or names == [f"LABEL_{number}" for number in range(len(classes))]:
        return None, None
    ours = set(classes)
    if len(ours) == len(classes) and len(set(names)) == len(names) and set(names) <= ours:
        columns = tuple(names.index(name) if name in names else -1 for name in classes)
    elif all(isinstance(name, int) for name in theirs) and len({*theirs} & {*range(len(classes))}) == len(theirs):
        columns = tuple(theirs.index(number) if number in theirs else -1 for number in range(len(classes)))
        if columns == tuple(range(len(classes))):
            return None, None
    else:
        differ = [n for n, (a, b) in enumerate(zip(names, classes, strict=False)) if a != b] or [len(names) - 1]
        first = differ[0]
        raise VocabularyError(
            f"{who} must have the classes of data.tasks",
            f"{len(differ)} that differ, the first {first}: {names[first]!r} for it, {classes[first]!r} in the recipe",
            "Write data.tasks with its names, or save it with the recipe's.",
        )
    lacks = [name for name, column in zip(classes, columns, strict=True) if column < 0]
    return columns, (
        f"note: {who} has its classes in another order, {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}; "
        "they are put into the recipe's" + (f", and it lacks {', '.join(lacks[:8])}" if lacks else "")
    )


def _names(model: object, who: str) -> list[Any] | None:
    """Return the model's classes in its own order, numbers as int; None where it names none."""
    if isinstance(model, Probabilities):
        model = model.estimator
    if isinstance(model, partial):
        model = model.func
    if inspect.ismethod(model):
        model = model.__self__
    source = model.config if isinstance(model, _HasConfig) else model
    of_ids = source.id2label if isinstance(source, _Labelled) else None
    to_ids = source.label2id if isinstance(source, _Numbered) else None
    if of_ids is not None or to_ids is not None:
        return _of_maps(_ordered(of_ids), _ordered(to_ids, turned=True), who)
    found = model.classes if isinstance(model, _Listed) else model.classes_ if isinstance(model, _Fitted) else None
    if found is None:
        return None
    return [_plain(name) for name in found]


def _of_maps(by_id: list[str] | None, by_label: list[str] | None, who: str) -> list[str]:
    """Return the names by ``id2label`` and ``label2id``, of which one may be what transformers writes by itself."""
    named = [names for names in (by_id, by_label) if names and not _unnamed(names)]
    if len(named) == 2 and named[0] != named[1]:
        raise VocabularyError(
            f"{who} must name its classes once",
            f"{named[0][:4]} in id2label, {named[1][:4]} in label2id",
            "Mend the one that is wrong.",
        )
    return named[0] if named else (by_id or by_label or [])


def _ordered(names: Any, turned: bool = False) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, dict):
        return [str(name) for name in names]
    pairs = [(int(v), str(k)) for k, v in names.items()] if turned else [(int(k), str(v)) for k, v in names.items()]
    return [name for _, name in sorted(pairs)]


def _unnamed(names: Sequence[str]) -> bool:
    return list(names) == [f"LABEL_{number}" for number in range(len(names))]


def _plain(name: Any) -> Any:
    """Return a class's name or number; those of an array are its own kind of number."""
    if isinstance(name, torch.Tensor) or type(name).__module__ == "numpy":
        name = name.item() if name.ndim == 0 else tuple(name.tolist())
    if isinstance(name, float) and name.is_integer():
        return int(name)
    return int(name) if isinstance(name, bool) else name
