"""Where what was certified comes from, precisely enough to load it again and to notice that it changed."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trivium.scheme.tree import leaves
from trivium.weighting import RULES
from trivium.weighting.base import Operator, UserRule


class Record(BaseModel):
    """A part of a certificate: fixed, unknown fields refused, numbers that JSON lacks as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class FileSource(Record):
    """An operator that a user's Python file defines."""

    kind: Literal["file"] = "file"
    path: str = Field(description="as it was given; relative paths count from where the command runs")
    name: str = Field(description="what the file calls it")
    sha256: str = Field(description="of the file's bytes")
    imports: dict[str, str] = Field(
        default={}, description="SHA-256 of each file beside it that it imports, by path from its folder"
    )


class BuiltInSource(Record):
    """A rule of the catalogue."""

    kind: Literal["built-in"] = "built-in"
    name: str
    options: dict[str, Any] = Field(description="the arguments that are not defaults")


class RecipeSource(Record):
    """The scheme of a recipe."""

    kind: Literal["recipe"] = "recipe"
    path: str
    digest: str = Field(description="of the recipe with every default filled in")
    files: dict[str, str] = Field(
        default={}, description="SHA-256 of each file of rules that it names, by path from its folder"
    )


class ObjectSource(Record):
    """An operator given in Python; it cannot be loaded again from here."""

    kind: Literal["object"] = "object"
    type: str


Source = Annotated[FileSource | BuiltInSource | RecipeSource | ObjectSource, Field(discriminator="kind")]


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def source_of(operator: Operator) -> FileSource | BuiltInSource | ObjectSource:
    """The source of an operator as far as the object itself tells.

    >>> from trivium.weighting.token.entropy import Entropy
    >>> source_of(Entropy(budget=2.0))
    BuiltInSource(kind='built-in', name='entropy', options={'budget': 2.0})
    """
    if isinstance(operator, UserRule) and Path(operator.source).is_file():
        path = relative(operator.source, Path())
        return file_source(path, operator.name, operator.source)
    name = next((name for name, rule in RULES.items() if type(operator) is rule), None)
    if name is not None:
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(RULES[name])  # type: ignore[arg-type]  # all are
        given = {f.name: getattr(operator, f.name) for f in fields if getattr(operator, f.name) != f.default}
        return BuiltInSource(name=name, options=given)
    return ObjectSource(type=type(operator).__qualname__)


def file_source(path: str, name: str, file: str | Path) -> FileSource:
    """The source of what ``file`` calls ``name``, with the files beside it that it imports."""
    folder = Path(file).resolve().parent
    imports = {relative(found, folder): sha256_of(found) for found in imported(file)}
    return FileSource(path=path, name=name, sha256=sha256_of(file), imports=imports)


def imported(file: str | Path) -> list[Path]:
    """The files in the folder of ``file``, or below it, that it imports, directly or through each other.

    Read from the import statements; what is found by other means, data files among it, is not seen.
    """
    first = Path(file).resolve()
    folder, seen, waiting = first.parent, {first}, [first]
    while waiting:
        current = waiting.pop()
        for name in _imports(current):
            stem = folder.joinpath(*name.split("."))
            for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
                if candidate.is_file() and candidate not in seen:
                    seen.add(candidate)
                    waiting.append(candidate)
    return sorted(seen - {first})


def _imports(file: Path) -> Iterator[str]:
    """Dotted names that may be modules: of ``from a.b import c`` a, a.b and a.b.c."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [".".join(filter(None, (module, alias.name))) for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def rule_files(operator: Operator, base: Path) -> dict[str, str]:
    """SHA-256 of the file of each user rule in an operator tree, and of what it imports beside it, by its path as seen
    from ``base``."""
    files = [leaf.source for leaf in leaves(operator) if isinstance(leaf, UserRule) and Path(leaf.source).is_file()]
    files += [str(found) for file in list(files) for found in imported(file)]
    return {relative(path, base): sha256_of(path) for path in files}


def relative(path: str | Path, base: Path) -> str:
    """The path as seen from a folder, if it lies below it; where it lies is then no part of a certificate."""
    whole, folder = Path(path).resolve(), base.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)
