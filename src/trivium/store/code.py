"""Which Python files a result depends on: a file, and what it imports beside it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

_IMPORTERS = ("import_module", "__import__")


def sha256_of(path: str | Path) -> str:
    """Return SHA-256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def source_files(file: str | Path, base: Path) -> dict[str, str]:
    """Return SHA-256 of ``file`` and of each file beside it that it imports, by path as seen from ``base``."""
    return {relative(found, base): sha256_of(found) for found in [Path(file), *imported(file)]}


def imported(file: str | Path) -> list[Path]:
    """Return the files in the folder of ``file``, or below it, that it imports, directly or through each other.

    Read from the import statements, and from ``import_module("name")`` with the name written out; what is found by
    other means, data files among it, is not seen.
    """
    first = Path(file).resolve()
    folder, seen, waiting = first.parent, {first}, [first]
    while waiting:
        current = waiting.pop()
        for place in _imports(current, folder):
            for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                if candidate.is_file() and candidate not in seen:
                    seen.add(candidate)
                    waiting.append(candidate)
    return sorted(seen - {first})


def _imports(file: Path, folder: Path) -> Iterator[Path]:
    """Places that may be modules: of ``from a.b import c`` a, a/b and a/b/c, in the folder; of ``from .b import c`` b
    and b/c, beside the file."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it imports nothing as it stands; what runs it says so better
        return
    for node in ast.walk(tree):
        names: list[str] = []
        root = folder
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
            if node.level:
                root = [file, *file.parents][min(node.level, len(file.parents))]
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in _IMPORTERS:
            first = node.args[0]
            names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        for name in names:
            parts = [part for part in name.split(".") if part]
            for count in range(1, len(parts) + 1):
                yield root.joinpath(*parts[:count])


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def relative(path: str | Path, base: Path) -> str:
    """Return the path as seen from a folder, if it lies below it; where it lies is then no part of an identity."""
    whole, folder = Path(path).resolve(), base.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)
