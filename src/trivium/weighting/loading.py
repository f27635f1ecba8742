"""Rules from a user's own file: ``path/to/file.py:name``."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from trivium.errors import InputError, nearest, words_of
from trivium.store.code import imported, sha256_of, source_files
from trivium.weighting.base import Operator, Rule


def load_rule(reference: str, base: Path | None = None) -> Rule:
    """Return the rule called NAME in FILE, from ``"FILE.py:NAME"``; a relative path counts from ``base``.

    Raises:
        InputError: no such file, a file that does not run, no such name in it, or a name that is no rule.
    """
    found = load_operator(reference, base)
    if not isinstance(found, Rule):
        raise InputError(f"{reference!r} must be a rule", type(found).__name__, "A scheme weights at several scales.")
    return found


def load_operator(reference: str, base: Path | None = None) -> Operator:
    """Return the rule, scheme or other operator called NAME in FILE; raises as :func:`load_rule`.

    The file runs with its own folder first on the path, as ``python FILE`` would run it.
    """
    path_text, _, name = reference.rpartition(":")
    path = Path(base or ".", path_text)
    if not path_text or not path.is_file():
        raise InputError("a rule's file must exist", repr(path_text or reference), "Write it as FILE.py:NAME.")
    module = _run(path)
    operators = {key: value for key, value in vars(module).items() if isinstance(value, Operator)}
    if name in operators:
        return operators[name]
    if hasattr(module, name):
        found = getattr(module, name)
        fix = "Call it to make one." if isinstance(found, type) else "Decorate it with @trivium.rule(...)."
        raise InputError(f"{name!r} in {path} must be a rule", f"a {type(found).__name__}", fix)
    fix = nearest(name, operators) if operators else "It defines no rule; decorate one with @trivium.rule(...)."
    raise InputError(f"{path} must define the rule asked for", repr(name), fix)


def load_object(reference: str, base: Path | None = None) -> Any:
    """Anything called NAME in FILE, from ``"FILE.py:NAME"``: a module, a function, a source of examples.

    A file runs once a process while its content, and that of the files it imports beside it, stays the same, so one
    that trains teachers trains them once.

    Raises:
        InputError: no such file, a file that does not run, no such name in it.
    """
    path_text, _, name = reference.rpartition(":")
    path = Path(base or ".", path_text)
    if not path_text.endswith(".py") or not path.is_file():
        raise InputError(
            "a file that a recipe names must exist", repr(path_text or reference), "Write it as FILE.py:NAME."
        )
    key = (path.resolve(), *sorted(source_files(path, path.parent).items()))
    if key not in _LOADED:
        _LOADED[key] = _run(path, "a file that a recipe names")
    found = vars(_LOADED[key])
    if name not in found:
        public = [key for key in found if not key.startswith("_")]
        raise InputError(f"{path} must define what is asked for", repr(name), nearest(name, public))
    return found[name]


_LOADED: dict[tuple[Any, ...], ModuleType] = {}
#: Modules that files imported from beside them, by name, with their file and its hash then.
_HELPERS: dict[str, tuple[Path, str]] = {}


def _helpers(path: Path) -> dict[str, tuple[Path, str]]:
    folder = path.resolve().parent
    found = {}
    for file in imported(path):
        place = file.parent if file.name == "__init__.py" else file.with_suffix("")
        found[".".join(place.relative_to(folder).parts)] = (file, sha256_of(file))
    return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what a user's code may set for the whole process: gradients off, another default type, its threads."""
    gradients, kind, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(kind)
        torch.set_num_threads(threads)


def _run(path: Path, what: str = "a rule's file") -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"trivium_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what} must be a Python file", str(path), "Write it as FILE.py:NAME.")
    helpers = _helpers(path)
    for name, now in helpers.items():
        # Python keeps a module by its name: another folder's, or one from before an edit, would be taken for this one.
        if _HELPERS.get(name, now) != now:
            sys.modules.pop(name, None)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with undisturbed():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        line = error.lineno if isinstance(error, SyntaxError) else next(reversed(inside), None)
        said = error.msg if isinstance(error, SyntaxError) else " ".join(words_of(error).split())
        raise InputError(
            f"{what} must run: {path}" + (f", line {line}" if line else ""),
            f"{type(error).__name__}: {said}",
            "Run it with python to see.",
        ) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
        _HELPERS.update({name: now for name, now in helpers.items() if name in sys.modules})
    return module
