"""Labelled examples by reference: JSONL files, NumPy archives, Python functions."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.data.corpora import split_of
from trivium.data.sources import SPLITS, read_records
from trivium.errors import InputError, calling, nearest, require


@dataclass(frozen=True)
class Labelled:
    """n examples as they were found.

    Attributes:
        names: unique names.
        inputs: by name, a tensor [n, ...] or n strings.
        labels: n names or numbers of classes, or None.
        tasks: n names of tasks; empty where the source does not say.
        columns: what else the source holds, each of length n.
        read: where inputs, labels and tasks were found, by the source's own names.
    """

    names: tuple[str, ...]
    inputs: dict[str, Tensor | tuple[str, ...]]
    labels: tuple[object, ...]
    tasks: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    read: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


#: What the second text of a pair is called, for tokenizers as well.
PAIR = "text_pair"


@dataclass(frozen=True)
class Columns:
    """Where JSONL files and archives keep what.

    Attributes:
        text, label: the input of a JSONL record; the label.
        pair: the second text of a JSONL record that holds a pair of texts, which becomes the input ``text_pair``.
        task: None where the domain says the task.
        features: arrays of an archive that are no inputs but a scheme's own features.
    """

    text: str = "text"
    label: str = "label"
    task: str | None = None
    pair: str | None = None
    features: tuple[str, ...] = ()


def read_examples(reference: str, base: Path, columns: Columns, load: Callable[[str], Any]) -> Labelled:
    """Return all examples of ``reference``.

    ==================  ===========================================================================================
    ``FILE.py:NAME``    a function of no argument: (inputs, labels) or (inputs, labels, {column: values}). Inputs
                        are a tensor or array [n, ...], a list of n texts, or a mapping of names to those; labels
                        are None where there are none, as for training without them
    ``FILE.jsonl``      one JSON object a line, input and label in the columns named: a text, or numbers in nested
                        lists of one shape, which become the input ``x``
    ``FILE.npz``        arrays of length n: the label, the task, the scheme's own features; every other is an input
    ==================  ===========================================================================================

    A reference that ends in ``#train``, ``#validation`` or ``#test`` keeps that part, by a hash of each example's name
    (the file and its number in it).

    Args:
        load: the object that ``FILE.py:NAME`` names.

    Raises:
        InputError: nothing there, no example, parts of different lengths, a missing column.
    """
    location, _, part = reference.partition("#")
    if part and part not in SPLITS:
        raise InputError("the part of a reference must be a split", repr(part), nearest(part, SPLITS))
    if ".py:" in location:
        found = _from_function(location, load(location), columns)
    elif location.endswith(".npz"):
        found = _from_archive(location, base, columns)
    else:
        found = _from_records(location, base, columns)
    if part:
        place = Path(location).name  # however the file is reached, as for texts
        kept = [n for n, name in enumerate(found.names) if split_of(place, name) == part]
        found = _kept(found, kept)
    require(len(found) > 0, "a domain must not be empty", f"no example in {reference!r}", "Give it at least one.")
    return found


def _from_function(location: str, function: Any, columns: Columns) -> Labelled:
    require(callable(function), f"{location} must be a function", type(function).__name__, "Write def NAME(): ...")
    with calling(f"{location} must run", "Call it in Python to see.", InputError):
        parts = function()
    if not isinstance(parts, tuple) or len(parts) not in (2, 3):
        raise InputError(
            f"{location} must return inputs and labels", type(parts).__name__, "Return (inputs, labels[, columns])."
        )
    inputs = parts[0] if isinstance(parts[0], Mapping) else {_name(parts[0]): parts[0]}
    held = parts[2] if len(parts) == 3 else {}
    for what, given in (("inputs", inputs), ("columns", held)):
        named = isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
        require(named, f"{what} of {location} must be a mapping of names", _kind(given), "Write {NAME: values}.")
    return _labelled(location, inputs, parts[1], dict(held), columns)


def _kind(value: object) -> str:
    return f"keys {list(value)[:5]}" if isinstance(value, Mapping) else type(value).__name__


def _name(value: object) -> str:
    texts = isinstance(value, np.ndarray) and value.dtype.kind == "U"
    return "text" if texts or (isinstance(value, Sequence) and value and isinstance(value[0], str)) else "x"


def _from_archive(location: str, base: Path, columns: Columns) -> Labelled:
    path = base / location
    require(path.is_file(), "a source of examples must exist", repr(str(path)), "It counts from the recipe.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} must be a NumPy archive of plain arrays", str(error), "Use numpy.savez.") from error
    labels = _taken_out(arrays, columns.label, path.name)
    apart = {*columns.features, *([columns.task] if columns.task else [])} & set(arrays)
    return _labelled(path.name, arrays, labels, {name: arrays.pop(name) for name in sorted(apart)}, columns)


def _from_records(location: str, base: Path, columns: Columns) -> Labelled:
    records = list(read_records(base / location))
    wanted = [name for name in (columns.text, columns.label, columns.task, columns.pair) if name is not None]
    held: dict[str, list[Any]] = {}
    for where, record in records:
        for name in wanted:
            if not isinstance(record, dict) or name not in record:
                keys = list(map(str, record)) if isinstance(record, dict) else [type(record).__name__]
                raise InputError(f"{where} must have {name!r}", f"keys {keys}", nearest(name, keys))
    for key in dict.fromkeys(key for _, record in records for key in record):
        held[key] = [record.get(key) for _, record in records]
    if not records:
        return Labelled((), {}, ())
    labels = held.pop(columns.label)
    first = held.pop(columns.text)
    inputs = {_name(first): first} | ({} if columns.pair is None else {PAIR: held.pop(columns.pair)})
    for values in inputs.values():
        if any(isinstance(value, str) for value in values):
            odd = [where for (where, _), value in zip(records, values, strict=True) if not isinstance(value, str)]
            require(not odd, "inputs must be all texts or all numbers", f"both, numbers in {odd[:1]}", "Mend it.")
    read = tuple(name for name in (columns.text, columns.pair, columns.label, columns.task) if name is not None)
    names = [where for where, _ in records]
    return replace(_labelled(location, inputs, labels, held, columns, names), read=read)


def _taken_out(values: dict[str, Any], name: str, where: str) -> Any:
    if name not in values:
        raise InputError(f"{where} must have {name!r}", f"only {sorted(values)}", nearest(name, values))
    return values.pop(name)


def _labelled(
    where: str,
    inputs: Mapping[str, Any],
    labels: Any,
    held: dict[str, Any],
    columns: Columns,
    names: Sequence[str] = (),
) -> Labelled:
    values = {name: _value(name, value, where) for name, value in inputs.items()}
    require(bool(values), f"{where} must hold an input", "none", "Give at least one beside the label.")
    if labels is None:
        labels = [None] * len(next(iter(values.values())))
    listed = _listed(labels, where)
    tasks: tuple[str, ...] = ()
    if columns.task is not None:
        tasks = tuple(map(str, _taken_out(held, columns.task, where)))
    lengths = {name: len(value) for name, value in values.items()} | {"labels": len(listed)}
    lengths |= {"tasks": len(tasks)} if tasks else {}
    for name, column in held.items():
        require(isinstance(column, Sized), f"column {name!r} of {where} must be a list", _kind(column), "Mend it.")
        lengths[name] = _length(column)
    require(len(set(lengths.values())) == 1, f"all of {where} must have one length", lengths, "One entry an example.")
    stem = Path(where).name
    return Labelled(
        tuple(names) or tuple(f"{stem}:{number}" for number in range(len(listed))),
        values,
        tuple(listed),
        tasks,
        held,
        (*values, columns.label, *([columns.task] if columns.task else [])),
    )


def _listed(labels: Any, where: str) -> list[object]:
    """Return labels as a list of plain values: those of tensors and of NumPy are numbers like any other."""
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    require(
        isinstance(labels, Sequence) and not isinstance(labels, str | bytes),
        f"the labels of {where} must be a list, a tensor or an array of one axis",
        type(labels).__name__,
        "One an example, or None for all.",
    )
    return [value.item() if isinstance(value, np.generic | Tensor) and value.size else value for value in labels]


def _length(value: Any) -> int:
    """Of what has a first axis; 0 for one number that stands alone."""
    return 0 if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else len(value)


def _value(name: str, value: Any, where: str) -> Tensor | tuple[str, ...]:
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        value = value.tolist()
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        for number, text in enumerate(value):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"text {number} of input {name!r} of {where} must be what UTF-8 can hold", error.reason, "Mend it."
                ) from error
        return tuple(map(str, value))
    tensor = _tensor(name, value, where)
    require(tensor.ndim > 0, f"input {name!r} of {where} must have an entry an example", "one number", "Give a list.")
    if tensor.numel():
        broken = (~tensor.isfinite()).reshape(len(tensor), -1).any(-1).nonzero().flatten()
        require(
            len(broken) == 0,
            f"input {name!r} of {where} must be finite numbers, in float32 too",
            f"NaN or infinity in {len(broken)} examples, the first number {int(broken[0]) if len(broken) else 0}",
            "Mend or remove them.",
        )
    return tensor


def _tensor(name: str, value: Any, where: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
        tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"input {name!r} of {where} must be texts or numbers of one shape", str(error)[:120], "Mend it."
        ) from error
    # Double precision is what Python and NumPy write when nothing was asked for.
    return tensor.detach().float() if tensor.dtype == torch.float64 else tensor.detach()


def _kept(found: Labelled, numbers: list[int]) -> Labelled:
    index = torch.tensor(numbers, dtype=torch.long)

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[index]
        return value[index.numpy()] if isinstance(value, np.ndarray) else tuple(value[number] for number in numbers)

    return Labelled(
        part(found.names),
        {name: part(value) for name, value in found.inputs.items()},
        part(found.labels),
        part(found.tasks) if found.tasks else (),
        {name: part(value) for name, value in found.columns.items()},
        found.read,
    )
