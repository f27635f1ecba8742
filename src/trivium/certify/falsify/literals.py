"""Numbers written in a rule's source: thresholds are where a rule jumps, so they are worth probing."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from trivium.weighting.base import Operator

_DEPTH = 6
_MOST = 64


def literals(operator: Operator) -> list[float]:
    """Distinct finite numbers in the code, closures, globals, defaults and attributes of an operator, at most 64.

    Walks functions that it calls by name as long as they come from the same module, and parts of a scheme.
    """
    found: dict[float, None] = {}
    for value in _walk(operator, _DEPTH, set()):
        if math.isfinite(value):
            found.setdefault(float(value), None)
        if len(found) == _MOST:
            break
    return list(found)


def _walk(thing: Any, depth: int, seen: set[int]) -> Iterator[float]:
    if isinstance(thing, bool | str | bytes) or thing is None or depth < 0:
        return
    if isinstance(thing, int | float):
        yield float(thing) if abs(thing) < 1e300 else math.inf
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        if thing.numel() <= _MOST and not thing.is_complex():
            yield from thing.detach().double().flatten().tolist()
        return
    for part in _parts(thing):
        yield from _walk(part, depth - 1, seen)


def _parts(thing: Any) -> Iterator[Any]:
    if isinstance(thing, types.CodeType):
        yield from thing.co_consts
    elif isinstance(thing, types.MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, types.FunctionType):
        yield from _function_parts(thing)
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, torch.nn.Module):
        yield from (type(thing).forward, *thing.parameters(), *thing.buffers(), *vars(thing).values())
    elif not isinstance(thing, type | types.ModuleType) and hasattr(thing, "__dict__"):
        yield from vars(thing).values()
        if not isinstance(thing, Operator) and callable(thing):
            yield type(thing).__call__


def _function_parts(function: types.FunctionType) -> Iterator[Any]:
    yield function.__code__
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell that is not filled yet holds nothing
            continue
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, types.FunctionType) and value.__module__ != function.__module__:
            continue
        if not isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            yield value


def _names(code: types.CodeType) -> Iterator[str]:
    """Global names that a function or a lambda inside it refers to."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
