"""Arguments of the wrong kind, refused with Trivium's own line before anything is computed from them.

Annotations say what a parameter takes; here they are held to. A value of the right kind that is too large, negative or
NaN is the constructor's own matter. Numbers are real ones of any library, not ``True``; a 0-dimensional tensor is none.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Collection, Mapping, Sequence, Set, ValuesView
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from trivium.errors import InputError, nearest

_P = ParamSpec("_P")
_R = TypeVar("_R")
_WORDS: dict[Any, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}


class Typed:
    """Base of the classes that users construct: every argument is of its annotated kind when ``__init__`` begins.

    Of a dataclass the fields' annotations count, of another class those of its ``__init__``.

    Raises:
        InputError: names class and argument.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if args or kwargs:  # nothing is given where a copy or a pickle makes an empty one
            made: Any = cls
            _hold(cls.__name__, *_parameters(made), args, kwargs)
        return super().__new__(cls)


def typed(*, leave: Collection[str] = ()) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function hold its arguments to their annotated kinds before it begins.

    Args:
        leave: parameters that the function checks itself, with more to say about them.

    >>> @typed()
    ... def half(number: float) -> float:
    ...     return number / 2
    >>> half("a")
    Traceback (most recent call last):
    trivium.errors.InputError: number of half must be a number; received 'a'.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def held(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            names, kinds = _parameters(function)
            kinds = {name: kind for name, kind in kinds.items() if name not in leave} if leave else kinds
            _hold(function.__name__, names, kinds, args, kwargs)
            return function(*args, **kwargs)

        return held

    return decorate


def fits(value: object, kind: Any) -> bool:
    """Return whether a value is of an annotated kind; what an annotation says beyond these forms is not asked.

    >>> fits(1, float), fits(True, float), fits([1, "a"], tuple[int, ...]), fits(None, float | None)
    (True, False, False, True)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if kind in (None, type(None)):
        return value is None
    if kind is float or kind is int:
        if not isinstance(value, Real if kind is float else Integral) or isinstance(value, bool):
            return False
        return not isinstance(value, Integral) or abs(int(value)) < 2**63  # beyond it PyTorch takes none
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if not isinstance(origin or kind, type):
        return True
    if origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]  # an abstract class, as any
        return callable(value)
    if origin is type:
        return isinstance(value, type)
    if origin is not None and issubclass(origin, Mapping):
        key, item = inner
        return isinstance(value, Mapping) and all(fits(k, key) and fits(v, item) for k, v in value.items())
    if origin is tuple and Ellipsis not in inner:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is not None and issubclass(origin, Collection):
        # No tensor or array, whose items are tensors or numbers of another kind.
        if not isinstance(value, Sequence | Set | ValuesView) or isinstance(value, str | bytes):
            return False
        return all(fits(item, inner[0]) for item in value)
    return isinstance(value, origin or kind)


def _hold(
    who: str, names: tuple[str, ...], kinds: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    # Too many arguments and unknown names are Python's to refuse.
    for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
        kind = kinds.get(name, Any)
        if kind is Any or fits(value, kind):
            continue
        options = [option for option in get_args(kind) if isinstance(option, str)] if _literal(kind) else []
        fix = nearest(value, options) if options and isinstance(value, str) else ""
        raise InputError(f"{name} of {who} must be {_words(kind)}", _shown(value), fix)


@functools.cache
def _parameters(made: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return names in order, and their kinds."""
    if dataclasses.is_dataclass(made):
        return tuple(field.name for field in dataclasses.fields(made) if field.init), get_type_hints(made)
    if not isinstance(made, type):
        return tuple(inspect.signature(made).parameters), get_type_hints(made)
    own = next((vars(base)["__init__"] for base in made.__mro__ if "__init__" in vars(base)), None)
    if own is None or own is object.__init__:
        return (), {}
    return tuple(inspect.signature(own).parameters)[1:], get_type_hints(own)


def _literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _words(kind: Any) -> str:
    """
    >>> _words(float | None), _words(tuple[int, ...]), _words(Literal["near", "far"])
    ('a number or None', 'a list, each a whole number', "'near' or 'far'")
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (None, type(None)):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option) for option in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if not isinstance(origin or kind, type):
        return str(kind)
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping to {_words(inner[1]).removeprefix('a ')}s" if inner[1] in _WORDS else "a mapping"
    if origin is tuple and Ellipsis not in inner:
        return f"({', '.join(map(_words, inner))})"
    if origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]
        return "callable"
    if origin is not None and issubclass(origin, Collection):
        return f"a list, each {_words(inner[0])}"
    name = (origin or kind).__name__
    return _WORDS.get(kind, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")


def _shown(value: object) -> str:
    """Short enough for a line; a large object by its type."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's class may raise in its repr
        return type(value).__name__
    return text if len(text) <= 80 else f"{text[:60]}… of type {type(value).__name__}"
