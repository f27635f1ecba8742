"""Whether a function can remember anything: all that it can reach, as a value that can be compared.

A run that leaves everything it can reach as it was will be repeated by every later run: by induction the function is
one of its arguments alone. What cannot be looked into (an object, a generator, a clock) is refused.
"""

from __future__ import annotations

import builtins
import dis
import math
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.aliases import ALIASES
from trivium.certify.verify.bounds import OPERATIONS
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
#: Attributes, besides the operations that are bounded, that show or change nothing but an argument.
_ALLOWED_NAMES = """
nn functional special linalg Tensor tensor as_tensor zeros ones full eye arange linspace logspace scalar_tensor
new_tensor new_zeros new_ones new_full full_like zeros_like ones_like float16 bfloat16 float32 float64 half double
float long int int32 int64 bool dtype device shape ndim dim size numel T mT inf pi e nan tau broadcast_to
expand item tolist values indices keys items get append extend index count copy insert pop update setdefault join format
finfo iinfo eps tiny max min smallest_normal no_grad detach clone
"""
_ALLOWED = frozenset(_ALLOWED_NAMES.split()) | frozenset(name for name in dir(math) if not name.startswith("_"))
_STORES = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL"})


def reachable(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The value of everything that ``function`` can reach besides its arguments.

    Raises:
        Unsupported: something that cannot be looked into.
    """
    return _Digest().of(function, getattr(function, "__name__", "the rule"))


def strangers(function: Callable[..., Any]) -> list[str]:
    """Attributes that the function uses and that are neither bounded nor known to look at their argument alone."""
    digest = _Digest()
    digest.of(function, "the rule")
    return digest.strangers


class _Digest:
    def __init__(self) -> None:
        self.strangers: list[str] = []  # attributes that are not known to see their argument alone
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
        if _library(function):
            return ("library", function.__qualname__)
        if id(function) in self.seen:
            return ("again", id(function))
        self.seen[id(function)] = function
        if function.__code__.co_flags & 0x2A0:  # generators and coroutines
            raise Unsupported(f"{function.__name__} is a generator")
        refused: list[str] = []
        names = _names(function.__code__, refused)
        held: list[Any] = [id(function.__code__)]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            held.append((name, self.of(_contents(cell), name)))
        for name in sorted(names):
            if name in function.__globals__:
                held.append((name, self.of(function.__globals__[name], name)))
            elif hasattr(builtins, name) and name not in _BUILTINS:
                raise Unsupported(f"it uses {name}()")
        self.strangers += refused
        held.append(self.of(list(function.__defaults__ or ()), "a default"))
        held.append(self.of(dict(function.__kwdefaults__ or {}), "a default"))
        held.append(self.of(dict(function.__dict__), f"an attribute of {function.__name__}"))
        return ("function", function.__qualname__, tuple(held))


def _allowed(name: str) -> bool:
    """Whether an attribute of this name is an operation that is bounded, or one that can see its argument alone."""
    name = name.removeprefix("special_")
    return name in _ALLOWED or ALIASES.get(name, name) in OPERATIONS or name.removesuffix("_") in OPERATIONS


def _library(function: FunctionType) -> bool:
    """Whether it is the function of torch that it says it is; a wrapper may bear the name of what it wraps."""
    found: Any = sys.modules.get(function.__module__ or "")
    if found is None or found.__name__.split(".")[0] != "torch":
        return False
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


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


def _names(code: CodeType, refused: list[str]) -> set[str]:
    """Globals that a code object loads; refuses what stores outside of it, notes attributes that are not allowed."""
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
        if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")):
            if step.argval in _FORBIDDEN:
                raise Unsupported(f"it uses .{step.argval}")
            if not _allowed(step.argval):
                refused.append(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant, refused)
    return names
