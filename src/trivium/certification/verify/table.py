"""The table of operations: how a call of each is read, and what is refused.

An entry is a function that takes a :class:`Call` and those arguments of the operation's schema that it honours, by
name (``x`` for ``self``). Any other argument must have its default, so that nothing is ignored.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify.bounds import Enclosure, Shape, SubBoxes, Unsupported, number
from trivium.certification.verify.casts import cast
from trivium.certification.verify.rounding import FLOATS, INTEGERS

Function = Callable[..., Any]
#: Where a result lies, not what it is.
_PLACEMENT = frozenset({"layout", "device", "pin_memory", "memory_format", "non_blocking"})


@dataclass(frozen=True)
class Call:
    """One operation of a graph on the quantities of a run.

    Attributes:
        name: of the operation, as torch prints it. dtype, shape: of its (first) result.
        product_unit: half an ulp of a float32 product of matrices, which a setting may make coarser.
    """

    run: SubBoxes
    overload: Any
    name: str
    dtype: torch.dtype
    shape: Shape
    product_unit: float = 2.0**-24

    def lift(self, value: Any, dtype: torch.dtype | None = None) -> Enclosure:
        """Return a number, tensor or Bounds in one dtype (that of the result)."""
        wanted = self.dtype if dtype is None else dtype
        return lifted(self.run, value, wanted)

    def operands(self, *values: Any) -> list[Enclosure]:
        """Two numbers or tensors in the dtype to which torch promotes them."""
        kind = promoted(*values)
        return [self.lift(value, kind) for value in values]


def lifted(run: SubBoxes, value: Any, dtype: torch.dtype) -> Enclosure:
    """See :meth:`Call.lift`."""
    if isinstance(value, Enclosure):
        return cast(value, dtype)
    if isinstance(value, Tensor):
        return cast(_constant(run, value), dtype)
    if isinstance(value, bool | int | float):
        return number(run, value, dtype)
    raise Unsupported(f"a {type(value).__name__} among the operands")


def _constant(run: SubBoxes, value: Tensor) -> Enclosure:
    """Return a tensor of the graph: the real numbers that its operations stand for, and how far its own are
    from them."""
    made = number(run, value, value.dtype)
    if id(value) in run.reals:
        own = made.lo
        made.lo, made.hi = run.reals[id(value)]
        made.error = torch.maximum((own - made.lo).abs(), (own - made.hi).abs()) * (1 + 1e-9)
        made.nonnegative = made.nonnegative and bool((made.lo >= 0).all())
    return made


def promoted(*values: Any) -> torch.dtype:
    """Return the dtype in which torch computes with two operands."""
    one, other = (torch.empty(v.shape, dtype=v.dtype) if isinstance(v, Enclosure) else v for v in values)
    return torch.result_type(one, other)


@dataclass(frozen=True)
class OperationEntry:
    """An operation of the table."""

    bound: Function
    honours: frozenset[str]


TABLE: dict[Any, OperationEntry] = {}


def entry(*overloads: Any) -> Callable[[Function], Function]:
    """Puts a function into the table, for one or several overloads."""

    def register(bound: Function) -> Function:
        names = frozenset(inspect.signature(bound).parameters) - {"call"}
        for overload in overloads:
            if overload in TABLE:
                raise AssertionError(f"{overload} is in the table already")
            TABLE[overload] = OperationEntry(bound, names)
        return bound

    return register


def bind(overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, without those that only say where the result lies.

    Raises:
        Unsupported: an operation that is not in the table, or an argument that its entry does not honour.
    """
    name = str(overload)
    if overload not in TABLE:
        raise Unsupported(f"{name} is not among the operations that the verifier bounds")
    honours = TABLE[overload].honours
    bound: dict[str, Any] = {}
    for place, argument in enumerate(overload._schema.arguments):
        key = "x" if argument.name == "self" else argument.name
        if place < len(args) and not argument.kwarg_only:
            value = args[place]
        elif argument.name in kwargs:
            value = kwargs[argument.name]
        else:
            value = argument.default_value
        if key in honours:
            bound[key] = value
        elif argument.name not in _PLACEMENT and not _default(value, argument):
            raise Unsupported(f"{name} with {argument.name}={value}")
    if kwargs.get("layout") not in (None, torch.strided):
        raise Unsupported(f"{name} with another layout than strided")
    return bound


def _default(value: Any, argument: Any) -> bool:
    plain = value is None or isinstance(value, bool | int | float | str)
    usual = argument.default_value
    return plain and (value is None or value == usual or (value is False and usual is None))


def needs_float(x: Enclosure, name: str) -> None:
    """Refuses whole numbers and comparisons."""
    if x.dtype not in FLOATS:
        raise Unsupported(f"{name} of {str(x.dtype).removeprefix('torch.')}")


def needs_number(x: Enclosure, name: str) -> None:
    """Refuses comparisons."""
    if x.dtype not in FLOATS and x.dtype not in INTEGERS:
        raise Unsupported(f"{name} of {str(x.dtype).removeprefix('torch.')}")
