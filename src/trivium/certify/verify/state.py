"""Whether a function can remember anything: all that it can reach, as a value that can be compared.

A run that leaves everything it can reach as it was will be repeated by every later run: by induction the function is
one of its arguments alone. What cannot be looked into (an object, a generator, a clock) is refused.
"""

from __future__ import annotations

import builtins
import dis
import math
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.trace import Unsupported

_PLAIN = (bool, int, float, str, bytes, type(None), type(Ellipsis), torch.dtype, torch.device, slice)
_BUILTINS_NAMES = """
AssertionError RuntimeError TypeError ValueError abs all any bool dict enumerate filter float int len
list map max min pow range reversed round set sorted sum tuple zip
"""
_BUILTINS = frozenset(_BUILTINS_NAMES.split())
_MODULES = frozenset({"torch", "torch.nn", "torch.nn.functional", "torch.special", "torch.linalg", "math"})
#: Attributes through which a function could see or change what is not its argument.
_FORBIDDEN_NAMES = """
is_tensor default_generator initial_seed get_rng_state set_rng_state manual_seed seed random is_grad_enabled
get_num_threads set_num_threads is_inference_mode_enabled get_default_dtype set_default_dtype data_ptr _version
requires_grad grad cuda backends utils distributed serialization load save ops library jit hub __dict__
__class__ __globals__ __closure__ __code__ __defaults__ __builtins__ __self__ __getattribute__ __subclasses__
"""
_FORBIDDEN = frozenset(_FORBIDDEN_NAMES.split())
_STORES = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL"})


def reachable(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The value of everything that ``function`` can reach besides its arguments.

    Raises:
        Unsupported: something that cannot be looked into.
    """
    return _Digest().of(function, getattr(function, "__name__", "the rule"))


class _Digest:
    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}  # keeps what it has seen, so that no id is given twice

    def of(self, item: Any, name: str) -> tuple[Any, ...]:
        if isinstance(item, _PLAIN):
            return (type(item).__name__, repr(item))
        if isinstance(item, Tensor):
            plain = type(item) is Tensor or type(item) is torch.nn.Parameter
            if not plain or item.device.type != "cpu":
                raise Unsupported(f"it holds {name}, a {type(item).__name__} on {item.device}")
            return ("tensor", id(item), item._version, str(item.dtype), repr(item.detach().tolist()))
        if isinstance(item, ModuleType):
            if item.__name__ not in _MODULES:
                raise Unsupported(f"it uses the module {item.__name__}, which may keep state")
            return ("module", item.__name__)
        if isinstance(item, list | tuple | set | frozenset | dict):
            return self._container(item, name)
        if isinstance(item, FunctionType):
            return self._function(item)
        if _of_torch_or_math(item):
            return ("built-in", getattr(item, "__qualname__", repr(item)))
        raise Unsupported(f"it holds {name}, a {type(item).__name__}, which may keep state")

    def _container(self, item: Any, name: str) -> tuple[Any, ...]:
        if id(item) in self.seen:
            return ("again", id(item))
        self.seen[id(item)] = item
        if isinstance(item, dict):
            parts = [(self.of(key, name), self.of(value, name)) for key, value in item.items()]
            return ("dict", tuple(parts))
        return (type(item).__name__, tuple(self.of(part, name) for part in item))

    def _function(self, function: FunctionType) -> tuple[Any, ...]:
        if (function.__module__ or "").split(".")[0] in ("torch", "math"):
            return ("library", function.__qualname__)
        if id(function) in self.seen:
            return ("again", id(function))
        self.seen[id(function)] = function
        if function.__code__.co_flags & 0x2A0:  # generators and coroutines
            raise Unsupported(f"{function.__name__} is a generator")
        names = _names(function.__code__)
        held: list[Any] = [id(function.__code__)]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            held.append((name, self.of(_contents(cell), name)))
        for name in sorted(names):
            if name in function.__globals__:
                held.append((name, self.of(function.__globals__[name], name)))
            elif hasattr(builtins, name) and name not in _BUILTINS:
                raise Unsupported(f"it uses {name}()")
        held.append(self.of(list(function.__defaults__ or ()), "a default"))
        held.append(self.of(dict(function.__kwdefaults__ or {}), "a default"))
        held.append(self.of(dict(function.__dict__), f"an attribute of {function.__name__}"))
        return ("function", function.__qualname__, tuple(held))


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not yet assigned


def _of_torch_or_math(item: Any) -> bool:
    if isinstance(item, type):
        return item in (bool, int, float, str, tuple, list, dict, set, Tensor)
    if isinstance(item, BuiltinFunctionType) or type(item).__name__ == "method_descriptor":
        return any(getattr(home, item.__name__, None) is item for home in (math, torch, torch.nn.functional, Tensor))
    return False


def _names(code: CodeType) -> set[str]:
    """Globals that a code object loads; refuses what stores outside of it."""
    names: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in _STORES or (
            step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in code.co_freevars
        ):
            raise Unsupported(f"it writes {step.argval}, outside of itself")
        if step.opname == "PUSH_EXC_INFO":  # a refusal must not be caught and answered
            raise Unsupported("it handles exceptions, by try or with")
        if step.opname == "IMPORT_NAME" and step.argval not in _MODULES:
            raise Unsupported(f"it imports {step.argval}, which may keep state")
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
        if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")) and step.argval in _FORBIDDEN:
            raise Unsupported(f"it uses .{step.argval}")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
