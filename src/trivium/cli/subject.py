"""What a command line names: a rule in a file, a built-in rule, or a recipe; and the same from a certificate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from trivium.certification.assemble import claims
from trivium.certification.source import (
    BuiltInSource,
    FileSource,
    ObjectSource,
    RecipeSource,
    Source,
    file_source,
    source_of,
)
from trivium.certification.specification import Specification, first_problem
from trivium.errors import InputError, nearest, require
from trivium.scheme.files import rule_files
from trivium.scheme.scheme import Scheme
from trivium.store.code import sha256_of
from trivium.weighting import RULES
from trivium.weighting.base import Operator
from trivium.weighting.loading import load_operator

if TYPE_CHECKING:
    from trivium.training.recipe import Recipe


@dataclass(frozen=True)
class Subject:
    """An operator with the place it came from and, where it fixes them, its teachers' names.

    ``cap``: what the scheme's cap is on rows that not all teachers serve; None where it is the scheme's.
    """

    operator: Operator
    source: Source
    name: str
    teacher_names: tuple[str, ...] = ()
    cap: float | None = None

    @property
    def scheme(self) -> Scheme:
        """The operator of a recipe."""
        assert isinstance(self.operator, Scheme)
        return self.operator

    def claims(self, count: int, names: tuple[str, ...]) -> Specification:
        """Return what is promised of every row: what the operator claims, with the cap that rows have."""
        own = claims(self.operator, count, names)
        if self.cap is None or own.cap is None:
            return own
        return dataclasses.replace(own, cap=self.cap if self.cap < 1.0 else None)


def resolve(target: str, options: Mapping[str, Any] | None = None) -> Subject:
    """Return the operator that ``FILE.py:NAME``, ``RECIPE.yaml`` or a built-in name stands for.

    Raises:
        InputError: whatever is wrong with it, in one line.
    """
    options = options or {}
    path, separator, name = target.rpartition(":")
    if separator and path.endswith(".py"):
        require(not options, "a rule from a file takes no --param", ", ".join(options), "Set them in the file.")
        operator = load_operator(target)
        source = file_source(path, name, path)
        return Subject(operator, source, name, operator.teacher_names if isinstance(operator, Scheme) else ())
    if target.endswith((".yaml", ".yml")):
        require(not options, "a recipe takes no --param", ", ".join(options), "Set them in the recipe.")
        return of_file(target)
    if target.endswith(".py"):
        raise InputError("a rule in a file must be named", repr(target), f"Write {target}:NAME.")
    return _built_in(target.removeprefix("trivium."), options)


def reload(source: Source) -> Subject:
    """Return the operator of a certificate or witness, refused if what it came from has changed.

    Raises:
        InputError: the file or recipe is missing, does not load, or is not what was certified.
    """
    if isinstance(source, ObjectSource):
        raise InputError(
            "only a rule from a file, a built-in or a recipe can be loaded again",
            f"a {source.type} given in Python",
            "Certify it as FILE.py:NAME.",
        )
    if isinstance(source, BuiltInSource):
        return _built_in(source.name, source.options)
    if isinstance(source, FileSource):
        _unchanged(source.path, source.sha256)
        for path, sha256 in source.imports.items():
            _unchanged(str(Path(source.path).parent / path), sha256)
        return resolve(f"{source.path}:{source.name}")
    from trivium.training.recipe import load_recipe

    # Before anything of it runs: a recipe names the files of its rules.
    now = load_recipe(source.path).digest()
    if now != source.digest:
        _changed(source.path, source.digest, now)
    for path, sha256 in source.files.items():
        _unchanged(str(Path(source.path).parent / path), sha256)
    return of_file(source.path)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["budget=2", "teacher_of=0,1"]`` as a mapping; a comma makes a list, ``none`` is None.

    >>> parse_options(["budget=none", "teacher_of=0,1"])
    {'budget': None, 'teacher_of': ['0', '1']}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        require(bool(name and separator and text), "a --param is NAME=VALUE", repr(pair), "For example strength=0.5.")
        value = [item.strip() for item in text.split(",") if item.strip()] if "," in text else text.strip()
        options[name.strip()] = None if isinstance(value, str) and value.lower() == "none" else value
    return options


def _built_in(name: str, options: Mapping[str, Any]) -> Subject:
    if name not in RULES:
        fix = nearest(name, RULES)
        raise InputError("a target is FILE.py:NAME, RECIPE.yaml or a built-in rule", repr(name), fix)
    rule: Any = RULES[name]
    known = {field.name: field for field in dataclasses.fields(rule)}
    for option in options:
        if option not in known:
            raise InputError(f"a --param of {name!r} must exist", repr(option), nearest(option, known))
    for field in known.values():
        if field.default is dataclasses.MISSING and field.name not in options:
            fix = f"For example --param {field.name}=0,1,2."
            raise InputError(f"the rule {name!r} needs --param {field.name}", "none", fix)
    given = {option: _shaped(option, value, str(known[option].type)) for option, value in options.items()}
    try:
        operator: Operator = TypeAdapter(rule).validate_python(given)
    except ValidationError as error:
        problem = first_problem(error).replace("Value error, ", "")
        raise InputError(f"the options of rule {name!r} must fit", problem) from None
    return Subject(operator, source_of(operator), name)


def _shaped(option: str, value: Any, kind: str) -> Any:
    """One number is a sequence of one, and NAME:NUMBER items are a mapping, where the rule wants that."""
    if kind.startswith("tuple") and isinstance(value, str | int | float):
        return [value]
    if not kind.startswith("Mapping") or isinstance(value, Mapping):
        return value
    pairs = [str(item).partition(":") for item in (value if isinstance(value, list) else [value])]
    named = all(name and separator and number for name, separator, number in pairs)
    require(named, f"--param {option} is NAME:NUMBER, …", repr(value), f"For example {option}=entropy:-1,margin:2.")
    return {name: number for name, _, number in pairs}


def of_file(path: str) -> Subject:
    """Return the scheme of a recipe, whatever its file is called."""
    from trivium.training.recipe import load_recipe
    from trivium.training.tasks import task_files

    recipe, folder = load_recipe(path), Path(path).parent
    found = of_recipe(recipe, folder)
    files = rule_files(found.operator, folder) | task_files(recipe, folder)
    source = RecipeSource(path=path, digest=recipe.digest(), files=files)
    return dataclasses.replace(found, source=source)


def of_recipe(recipe: Recipe, folder: Path) -> Subject:
    """Return the scheme of a recipe made in Python, whose relative paths count from ``folder``; no file holds it."""
    from trivium.training.build import build_scheme, restricted_cap

    scheme = build_scheme(recipe, folder)
    return Subject(scheme, source_of(scheme), recipe.name, scheme.teacher_names, restricted_cap(recipe, scheme, folder))


def _unchanged(path: str, sha256: str) -> None:
    require(Path(path).is_file(), "the file that was certified must exist", repr(path), "Run where it can be found.")
    now = sha256_of(path)
    if now != sha256:
        _changed(path, sha256, now)


def _changed(path: str, then: str, now: str) -> None:
    raise InputError(
        f"{path} has changed since it was certified: hash {then[:12]} then", f"{now[:12]} now", "Certify it again."
    )
