"""Where what was certified comes from, precisely enough to load it again and to notice that it changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trivium.store.code import imported, relative, sha256_of
from trivium.weighting import RULES
from trivium.weighting.base import Operator, UserRule


class CertificatePart(BaseModel):
    """A part of a certificate: fixed, unknown fields refused, numbers that JSON lacks as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class FileSource(CertificatePart):
    """An operator that a user's Python file defines."""

    kind: Literal["file"] = "file"
    path: str = Field(description="as it was given; relative paths count from where the command runs")
    name: str = Field(description="what the file calls it")
    sha256: str = Field(description="of the file's bytes")
    imports: dict[str, str] = Field(
        default={}, description="SHA-256 of each file beside it that it imports, by path from its folder"
    )


class BuiltInSource(CertificatePart):
    """A rule of the catalogue."""

    kind: Literal["built-in"] = "built-in"
    name: str
    options: dict[str, Any] = Field(description="the arguments that are not defaults")


class RecipeSource(CertificatePart):
    """The scheme of a recipe."""

    kind: Literal["recipe"] = "recipe"
    path: str
    digest: str = Field(description="of the recipe with every default filled in")
    files: dict[str, str] = Field(
        default={}, description="SHA-256 of each file of rules that it names, by path from its folder"
    )


class ObjectSource(CertificatePart):
    """An operator given in Python; it cannot be loaded again from here."""

    kind: Literal["object"] = "object"
    type: str


Source = Annotated[FileSource | BuiltInSource | RecipeSource | ObjectSource, Field(discriminator="kind")]


def source_of(operator: Operator) -> FileSource | BuiltInSource | ObjectSource:
    """Return the source of an operator as far as the object itself tells.

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
    """Return the source of what ``file`` calls ``name``, with the files beside it that it imports."""
    folder = Path(file).resolve().parent
    imports = {relative(found, folder): sha256_of(found) for found in imported(file)}
    return FileSource(path=path, name=name, sha256=sha256_of(file), imports=imports)
