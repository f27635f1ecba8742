"""Three real domains that are on every machine once Trivium is installed.

============  =======================================================  =========
domain        text                                                     task
============  =======================================================  =========
``python``    the standard library's modules, without its tests        ``code``
``prose``     the language reference that ``help()`` shows, in English  ``text``
``cpp``       the C++ headers that PyTorch and NumPy ship               ``code``
============  =======================================================  =========

A document is a file (or a help topic) and belongs to one split for good: the split is a hash of its
name, not of its place in a list, so it stays the same on another machine, another Python or another
release of PyTorch, and text that a teacher trained on is never another version's test text.
"""

from __future__ import annotations

import hashlib
import importlib
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from trivium.errors import InputError, nearest

Split = Literal["train", "validation", "test"]

TASK_OF_DOMAIN = {"python": "code", "prose": "text", "cpp": "code"}
DOMAINS = tuple(TASK_OF_DOMAIN)

_MIN_CHARACTERS, _MAX_CHARACTERS = 400, 60_000
_NOT_MODULES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "lib2to3", "encodings"}
# ATen/ops holds thousands of generated headers that differ by one name: they would leak across splits.
_HEADERS_OF_TORCH = ("c10", "torch/csrc", "ATen/core", "ATen/native", "torch/headeronly", "pybind11")


@dataclass(frozen=True)
class Document:
    """One text. ``name`` is unique within its domain and has no machine path in it; ``whole`` is False where the text
    was cut, so that its last character is not where its author ended."""

    domain: str
    name: str
    text: str
    split: Split
    whole: bool = True

    @property
    def task(self) -> str:
        return TASK_OF_DOMAIN[self.domain]


def split_of(domain: str, name: str) -> Split:
    """Return the split of a document: 70 % train, 10 % validation, 20 % test, by SHA-256 of its name."""
    bucket = _digest(f"{domain}/{name}") % 10
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def documents(domain: str, split: Split | None = None) -> tuple[Document, ...]:
    """Return all documents of a domain (of one split, if given), in an order that depends on their names alone.

    Texts are cut at 60,000 characters so that no one file rules a split; what :func:`left_out` counts is no part of it.

    Raises:
        InputError: an unknown domain, or one for which this machine has no text.
    """
    found = tuple(document for document in _selected(domain)[0] if split in (None, document.split))
    if not found:
        raise InputError("every domain must hold at least one document", f"none for {domain!r}", "Reinstall torch.")
    return found


def left_out(domain: str, split: Split) -> dict[str, int]:
    """Return how many files of a built-in domain are no documents of it, by reason."""
    return {reason: count for (of, reason), count in _selected(domain)[1].items() if of == split}


@lru_cache(maxsize=8)
def _selected(domain: str) -> tuple[tuple[Document, ...], Counter[tuple[Split, str]]]:
    if domain not in TASK_OF_DOMAIN:
        raise InputError("a built-in domain must exist", repr(domain), nearest(domain, DOMAINS))
    seen: set[str] = set()
    found = []
    out: Counter[tuple[Split, str]] = Counter()
    for name, text in sorted(_SOURCES[domain](), key=lambda item: (_digest(item[0]), item[0])):
        split = split_of(domain, name)
        if text is None:
            out[split, "not UTF-8"] += 1
        elif len(text) < _MIN_CHARACTERS:
            out[split, f"under {_MIN_CHARACTERS} characters"] += 1
        elif text[:_MAX_CHARACTERS] in seen:
            out[split, "the same text as another"] += 1
        else:
            seen.add(text[:_MAX_CHARACTERS])
            whole = len(text) <= _MAX_CHARACTERS
            found.append(Document(domain, name, text[:_MAX_CHARACTERS], split, whole))
    return tuple(found), out


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _files(root: Path, pattern: str) -> Iterator[tuple[str, str | None]]:
    """Yield names and texts of files; None for a text that is not UTF-8 or cannot be read."""
    for path in sorted(root.rglob(pattern)):
        name = path.relative_to(root).as_posix()
        try:
            yield name, path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            yield name, None


def _python() -> Iterator[tuple[str, str | None]]:
    for name, text in _files(Path(sysconfig.get_path("stdlib")), "*.py"):
        if not _NOT_MODULES & set(Path(name).parts) and name != "pydoc_data/topics.py":
            yield name, text


def _prose() -> Iterator[tuple[str, str | None]]:
    yield from importlib.import_module("pydoc_data.topics").topics.items()


def _cpp() -> Iterator[tuple[str, str | None]]:
    import numpy
    import torch

    include = Path(torch.__file__).parent / "include"
    for part in _HEADERS_OF_TORCH:
        for name, text in _files(include / part, "*.h"):
            yield f"{part}/{name}", text
    for name, text in _files(Path(numpy.get_include()) / "numpy", "*.h"):
        yield f"numpy/{name}", text


_SOURCES = {"python": _python, "prose": _prose, "cpp": _cpp}
