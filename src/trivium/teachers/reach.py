"""Which modules a callable runs, as far as its code tells."""

from __future__ import annotations

import contextlib
import dis
import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

#: How many steps from the callable a module is looked for, and among how many things.
_STEPS, _THINGS = 6, 1000


def modules_of(model: object) -> list[torch.nn.Module]:
    """Return the modules that a callable is known to run.

    Itself; of a partial its parts; of a function what its code names: variables around it, globals, defaults, and the
    same of functions of its own file that it calls; of a method, or of an object that can be called, the attributes
    that its code names; lists, tuples, sets and dictionaries of these. Attributes that no code names are not looked at:
    a method of a whole training loop, which holds the student too, runs the teacher alone. A callable that reaches a
    module by other ways has to see to its mode.
    """
    return _Reach().found(model)


class _Reach:
    """One walk from a callable; nothing is looked at twice."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, str], object] = {}  # held, so that no number is given anew
        self.modules: list[torch.nn.Module] = []

    def found(self, model: object) -> list[torch.nn.Module]:
        self._walk(model, frozenset(), _STEPS)
        if not self.modules:  # what is not named may be found by name
            for part in _dictionary(model).values():
                self._walk(part, frozenset(), 2)
        return self.modules

    def _walk(self, value: object, names: frozenset[str], steps: int) -> None:
        """``names``: the attributes that the code names which holds the value."""
        if isinstance(value, types.ModuleType | type | str | bytes | torch.Tensor) or len(self.seen) >= _THINGS:
            return
        if isinstance(value, torch.nn.Module):
            if self._first(value):
                self.modules.append(value)
        elif steps:
            for part, named in self._parts(value, names):
                self._walk(part, named, steps - 1)

    def _parts(self, value: object, names: frozenset[str]) -> Iterator[tuple[object, frozenset[str]]]:
        if isinstance(value, functools.partial):
            yield from ((part, names) for part in (value.func, *value.args, *value.keywords.values()))
        elif isinstance(value, dict | list | tuple | set | frozenset):
            parts = value.values() if isinstance(value, dict) else value
            if self._first(value):
                yield from ((part, names) for part in itertools.islice(parts, _THINGS))
        elif inspect.ismethod(value):
            yield value.__self__, _reads(value.__func__)[1]
            if not isinstance(value.__self__, torch.nn.Module):
                yield value.__func__, names
        elif inspect.isfunction(value):
            yield from self._held(value)
        elif inspect.isbuiltin(value):
            yield value.__self__, names
        else:
            called = frozenset({"__call__"}) if callable(value) else frozenset[str]()
            yield from self._attributes(value, names | called)

    def _held(self, function: types.FunctionType) -> Iterator[tuple[object, frozenset[str]]]:
        if not self._first(function):
            return
        globals_read, attributes = _reads(function)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents, attributes
            except ValueError:  # not filled yet
                continue
        yield from ((value, attributes) for value in function.__defaults__ or ())
        yield from ((value, attributes) for value in (function.__kwdefaults__ or {}).values())
        for name in globals_read:
            value = function.__globals__.get(name)
            own = not inspect.isfunction(value) or value.__module__ == function.__module__
            if own:  # those of libraries are given what they run
                yield value, attributes

    def _attributes(self, value: object, names: frozenset[str]) -> Iterator[tuple[object, frozenset[str]]]:
        """Yield the attributes that code names, those that the methods among them name included."""
        held = _dictionary(value)
        open_, done = set(names), set[str]()
        while open_:
            name = open_.pop()
            done.add(name)
            if name in held and self._first(value, name):
                yield held[name], names | done
            for kind in type(value).__mro__[:-1]:  # what is overridden may be called by what overrides it
                member = vars(kind).get(name)
                for function in _functions(member):
                    yield function, names
                    open_ |= _reads(function)[1] - done
                if isinstance(member, types.MemberDescriptorType):
                    with contextlib.suppress(AttributeError):  # a slot that nothing is in
                        yield member.__get__(value), names | done
                elif not _functions(member):
                    yield member, names

    def _first(self, value: object, name: str = "") -> bool:
        new = (id(value), name) not in self.seen
        self.seen[id(value), name] = value
        return new


def _dictionary(value: object) -> dict[str, object]:
    """Return the attributes of an object that keeps them in a dictionary."""
    try:
        return vars(value)
    except TypeError:
        return {}


def _functions(member: object) -> list[types.FunctionType]:
    """Return the functions that an attribute of a class runs."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, functools.cached_property):
        member = member.func
    elif isinstance(member, staticmethod | classmethod):
        member = member.__func__
    return [member] if inspect.isfunction(member) else []


def _reads(function: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of globals and of attributes that the code of a function reads."""
    return _named(function.__code__) if inspect.isfunction(function) else (frozenset(), frozenset())


@functools.lru_cache(maxsize=4096)
def _named(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    globals_, attributes = set[str](), set[str]()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            globals_.add(str(step.argval))
        elif "ATTR" in step.opname or "METHOD" in step.opname:
            attributes.add(str(step.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):  # functions within it
            inner = _named(constant)
            globals_ |= inner[0]
            attributes |= inner[1]
    return frozenset(globals_), frozenset(attributes)
