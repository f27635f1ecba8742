"""Texts by reference: built-in corpora, text files, JSONL files, folders, Hugging Face datasets on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, get_args

from trivium.data.corpora import Split, documents, left_out, split_of
from trivium.errors import InputError, nearest, require
from trivium.jsontext import read_json

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Text:
    """One document, with the columns of its record that are not text; ``whole`` is False where it was cut short, so
    that it does not end where it stops, and ``column`` is where its record held it, if it was one."""

    name: str
    text: str
    columns: dict[str, Any] = field(default_factory=dict)
    whole: bool = True
    column: str | None = None


@dataclass(frozen=True)
class Texts:
    """The documents of one reference, and what was left out on the way.

    Attributes:
        texts: those that hold text.
        source: the reference.
        dropped: by reason, how many documents are not among them.
        notes: what else to know of it, a sentence each.
    """

    texts: list[Text]
    source: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_texts(reference: str, base: Path, column: str = "text") -> Texts:
    """Return all texts of ``reference``.

    =========================  ==========================================================
    ``trivium:DOMAIN/SPLIT``   a built-in corpus (``python``, ``prose``, ``cpp``)
    ``FILE.jsonl``             one JSON object a line; the text under ``column``
    ``FILE.txt`` (any other)   one document
    ``FOLDER``                 a dataset saved by ``datasets``, else every file in it
    =========================  ==========================================================

    A reference that ends in ``#train``, ``#validation`` or ``#test`` keeps that part of it, by a hash of each
    document's name, so one file can serve all three without overlap.

    Raises:
        InputError: nothing there, a broken line (with its number), a missing column, or no text at all; what is neither
            a file nor a folder.
    """
    if reference.startswith("trivium:"):
        domain, _, split = reference.removeprefix("trivium:").partition("/")
        if split not in SPLITS:
            raise InputError("a built-in corpus must name its split", repr(reference), nearest(split, SPLITS))
        found = [Text(d.name, d.text, whole=d.whole) for d in documents(domain, split)]
        return Texts(
            found,
            reference,
            notes=tuple(f"{n} file{'s' * (n != 1)} left out: {why}" for why, n in left_out(domain, split).items()),
        )
    location, _, part = reference.partition("#")
    if part and part not in SPLITS:
        raise InputError("the part of a text reference must be a split", repr(part), nearest(part, SPLITS))
    path = base / location
    if not path.exists():
        raise InputError("a text source must exist", repr(str(path)), "Check the path; it counts from the recipe.")
    require_readable(path, "a text source")
    hidden: list[str] = []
    passed = Counter[str]()
    texts = list(_read(path, column, hidden, passed))
    if part:
        # By its last name alone: `./a.jsonl#train` and `a.jsonl#test` must not share a document, nor must a recipe
        # that is written into another folder and reaches the same file by another path.
        texts = [text for text in texts if split_of(PurePath(os.path.abspath(path)).name, text.name) == part]
    kept = [text for text in texts if text.text.strip()]
    if not kept:
        raise InputError("a domain must not be empty", f"no text in {reference!r}", "Give it at least one document.")
    dropped = ({"blank": len(texts) - len(kept)} if len(kept) < len(texts) else {}) | dict(passed)
    files = f"{len(hidden)} hidden file{'s' * (len(hidden) != 1)}"
    notes = (f"{files} left out, for example {hidden[0]}",) if hidden else ()
    return Texts(kept, reference, dropped, notes)


def require_readable(path: Path, what: str) -> None:
    """Raise InputError for what is neither a file nor a folder: a pipe would be waited for without end."""
    require(
        path.is_file() or path.is_dir(), f"{what} must be a file or a folder", f"{path}, a pipe or device", "Save it."
    )


def _read(path: Path, column: str, hidden: list[str], passed: Counter[str]) -> Iterator[Text]:
    """Yield all documents below ``path``; the names of hidden files, which are not read, are put into ``hidden``, and
    what else is not read is counted in ``passed``, by reason."""
    if path.is_dir():
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            yield from (_record(record, column, where) for where, record in _dataset(path))
            return
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.is_dir() and not file.is_symlink():
                continue
            if any(part.startswith(".") for part in file.relative_to(path).parts):
                hidden.append(name)
            elif file.is_file():
                yield from (replace(t, name=f"{name}{t.name}") for t in _read(file, column, hidden, passed))
            else:
                reason = "folders behind links" if file.is_dir() else "links to nothing, pipes or devices"
                passed[reason] += 1
    elif path.suffix == ".jsonl":
        yield from (_record(record, column, where) for where, record in _jsonl(path))
    else:
        try:
            yield Text(path.name, path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} must be UTF-8 text", str(error), "Convert it or leave it out.") from error


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every record of a JSONL file or of a dataset saved by ``datasets``, with a name for it.

    Raises:
        InputError: nothing there, or a line that is no JSON (with its number).
    """
    require(path.exists(), "a source of examples must exist", repr(str(path)), "It counts from the recipe.")
    require_readable(path, "a source of examples")
    return _dataset(path) if path.is_dir() else _jsonl(path)


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as lines:  # decoded line by line, so that a line which is not UTF-8 is named too
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = read_json(line)
            except ValueError as error:
                raise InputError(
                    f"{path} line {number} must be JSON", str(error), "Mend or remove the line."
                ) from error
            yield f"{path.name}:{number}", record


def _dataset(path: Path) -> Iterator[tuple[str, Any]]:
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must hold a dataset", str(error), "Save it there with save_to_disk.") from error
    if not isinstance(loaded, Dataset):
        raise InputError(f"{path} must be one split", f"splits {list(loaded)}", f"Write {path}/{next(iter(loaded))}.")
    for number, record in enumerate(loaded):
        yield f"{path.name}:{number}", record


def _record(record: Any, column: str, where: str) -> Text:
    if isinstance(record, dict) and column in record and not isinstance(record[column], str):
        kind = "null" if record[column] is None else f"a {type(record[column]).__name__}"
        raise InputError(f"the {column!r} of {where} must be text", kind, "Mend or remove the record.")
    if not isinstance(record, dict) or column not in record:
        keys = list(record) if isinstance(record, dict) else [type(record).__name__]
        raise InputError(
            f"{where} must have its text under {column!r}", f"keys {keys}", nearest(column, map(str, keys))
        )
    return Text(where, record[column], {key: value for key, value in record.items() if key != column}, column=column)
