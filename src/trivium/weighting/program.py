"""A rule as a program on one row: its function captured once as a graph of ATen operations, which then is the rule.

:func:`capture` runs a function on tensors without values (fake tensors of one row's static shapes), writes down every
ATen operation that reaches the dispatcher and returns a :class:`Program`. From then on nothing but the row's own
features can reach the result: no other row, global, clock, call counter or Python object is looked at again. Where a
function cannot be captured, :class:`Opaque` says why and where.

Source of the idea, one example at a time and then ``vmap``: framework §10.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from trivium.errors import words_of
from trivium.simplex.capturing import CAPTURING, capturing
from trivium.weighting.graph import (
    BRANCHES,
    Refused,
    agree_with_rows,
    bytes_of,
    listing_of,
    make_functional,
    own_constants,
    place_of,
)

_ATEN = torch.ops.aten
#: Rows a block is a multiple of: more than any kernel takes at once.
_ALIGNED = 64
#: Numbers from which a kernel shares its work among threads (at::internal::GRAIN_SIZE).
_GRAIN = 32768


@dataclass(frozen=True)
class Opaque:
    """A function that could not be captured, and why; ``line`` is where in its file, if known."""

    reason: str
    line: int | None = None

    def __str__(self) -> str:
        return self.reason + (f", line {self.line}" if self.line else "")


class _NotAFunction(Exception):
    """Raised inside a capture by what is known to be no function of one row."""


def refuse_capture(reason: str) -> None:
    """Ends a capture that is under way; does nothing outside of one."""
    if capturing():
        raise _NotAFunction(reason)


@dataclass(frozen=True, eq=False)
class Program:
    """A function of one row as a graph.

    Attributes:
        inputs: the features it takes, in the order of the graph's placeholders.
        graph: one placeholder [width] a feature, ATen operations, constants as attributes, and the outputs, a tuple.
        constants: the tensors it was closed over, cloned at capture, by attribute name.
        environment: what else the meaning of its operations rests on: default dtype, precision of products.
        listing: the graph as text, a line an operation, constants included or hashed.
        digest: SHA-256 over the listing and the bytes of the constants.
    """

    inputs: tuple[str, ...]
    graph: fx.GraphModule
    constants: Mapping[str, Tensor]
    environment: Mapping[str, str]
    listing: tuple[str, ...]
    digest: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def row(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs at one row of features [width]."""
        outputs: tuple[Tensor, ...] = self.graph(*(features[name] for name in self.inputs))
        return outputs

    def __call__(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs [..., ·] of features [..., width] whose leading axes broadcast: the graph under
        ``vmap``."""
        given = [features[name] for name in self.inputs]
        leading = torch.broadcast_shapes(*(value.shape[:-1] for value in given))
        rows = [value.expand(*leading, value.shape[-1]).reshape(-1, value.shape[-1]) for value in given]
        if not leading.numel():
            one = self.graph(*(value.new_zeros(value.shape[-1]) for value in rows))
            return tuple(output.new_zeros((*leading, *output.shape)) for output in one)
        widest = max(value.shape[-1] for value in rows)
        blocks = zip(*(_blocks(value, widest) for value in rows), strict=True)
        with plain(rows[0].device):
            parts = [torch.vmap(self.graph, randomness="error")(*block) for block in blocks]
        count = leading.numel()
        outputs = [torch.cat(pieces)[:count] for pieces in zip(*parts, strict=True)]
        return tuple(output.reshape(*leading, *output.shape[1:]) for output in outputs)


def _blocks(rows: Tensor, widest: int) -> tuple[Tensor, ...]:
    """Return rows [N, width] in blocks whose length is a multiple of ``_ALIGNED``, the last row repeated at the end.

    A kernel takes the last few numbers of a tensor one by one and rounds them otherwise than those that fill its
    vectors; it also cuts a tensor among threads that has more than ``_GRAIN`` numbers. In such blocks neither happens
    to a row because of how many others there are.
    """
    short = -len(rows) % _ALIGNED
    padded = torch.cat([rows, rows[-1:].expand(short, -1)]) if short else rows
    longest = max(1, _GRAIN // max(1, widest**2) // _ALIGNED) * _ALIGNED
    return tuple(torch.split(padded, longest))


def capture(
    function: Callable[[Mapping[str, Tensor]], tuple[Tensor, ...]],
    rows: Mapping[str, Tensor],
    file: str = "",
) -> Program | Opaque:
    """Return the graph of ``function`` at one row of the shapes and dtypes of ``rows``, whose values are not looked at.

    Mutation is written as its functional form, dead operations are dropped, and tensors from outside are cloned.

    Args:
        function: takes features by name, [width] each, and returns a tuple of tensors.
        rows: an example of one row.
        file: the user's file, to name its lines.

    Returns:
        the program, or why there is none: a branch on data, NumPy, chance, an operation that writes to what it does not
        own, that no batch may run, or whose result the layout decides.

    Cost: one run of the function and some milliseconds.
    """
    names = tuple(rows)

    def positional(*values: Tensor) -> tuple[Tensor, ...]:
        with _Escapes(file), fx_traceback.preserve_node_meta():
            return tuple(function(dict(zip(names, values, strict=True))))

    token = CAPTURING.set(True)
    try:
        with torch.no_grad(), warnings.catch_warnings(), plain(next(iter(rows.values())).device), _silent():
            warnings.simplefilter("ignore")
            traced = make_fx(
                torch.func.functionalize(positional, remove="mutations"),
                tracing_mode="fake",
                _allow_non_fake_inputs=True,
            )(*rows.values())
    except _NotAFunction as error:
        return Opaque(str(error))
    except SystemExit as error:
        return Opaque(f"it exits ({error})", line_of(error, file))
    except Exception as error:  # a user's function may raise anything, and so may fake tensors in it
        return Opaque(_why(error), line_of(error, file))
    finally:
        CAPTURING.reset(token)
    return _finished(traced, rows)


def _finished(traced: fx.GraphModule, rows: Mapping[str, Tensor]) -> Program | Opaque:
    names = tuple(rows)
    try:
        own_constants(traced)
        make_functional(traced)
        with torch.no_grad(), plain(next(iter(rows.values())).device):
            agree_with_rows(traced, list(rows.values()))
    except Refused as refusal:
        return Opaque(refusal.reason, place_of(refusal.node))
    lines = {node.name: line for node in traced.graph.nodes if (line := place_of(node))}
    constants = {
        str(node.target): getattr(traced, str(node.target)) for node in traced.graph.nodes if node.op == "get_attr"
    }
    listing = tuple(listing_of(traced.graph, constants, names))
    hashed = hashlib.sha256("\n".join(listing).encode())
    for name, value in constants.items():
        hashed.update(name.encode() + bytes_of(value))
    environment = {
        "default dtype": "float32",  # whatever it is elsewhere: see plain()
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }
    return Program(names, traced, constants, environment, listing, hashed.hexdigest(), lines)


class _Escapes(TorchFunctionMode):
    """Ends a capture where values leave for Python or NumPy, lets a number [] of the row index a table, and notes the
    line of the user's file that each operation comes from."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        fx_traceback.current_meta["stack_trace"] = self._place()
        if name in _LEAVES and args and _valueless(args[0]):
            raise _NotAFunction(f"{name}() takes it out of PyTorch (write it with torch)")
        if func is Tensor.__getitem__ and len(args) == 2:
            table, key = args
            keys = key if isinstance(key, tuple) else (key,)
            if _is_number(keys[-1]) and all(part is Ellipsis for part in keys[:-1]) and len(keys) <= 2:
                places = [None] * (table.ndim - 1) if len(keys) == 2 else []
                return _ATEN.index.Tensor(table, [*places, keys[-1]])
        return func(*args, **(kwargs or {}))

    def _place(self) -> str:
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename not in (self.file, __file__):
            frame = frame.f_back  # type: ignore[assignment]
        return str(frame.f_lineno) if frame is not None and frame.f_code.co_filename == self.file else ""


_LEAVES = frozenset({"numpy", "__array__", "tolist", "data_ptr", "untyped_storage", "storage", "__dlpack__"})


def _valueless(value: Any) -> bool:
    return isinstance(value, FakeTensor) or (isinstance(value, Tensor) and torch._is_functional_tensor(value))


def _is_number(key: Any) -> bool:
    return _valueless(key) and key.ndim == 0 and not key.dtype.is_floating_point and key.dtype is not torch.bool


def _why(error: BaseException) -> str:
    kind, said = type(error).__name__, " ".join(words_of(error).split())
    if "DataDependent" in kind or "data-dependent" in said or "Could not guard" in said:
        return BRANCHES
    return f"{kind}: {said[:160]}"


def line_of(error: BaseException, file: str) -> int | None:
    """Return the innermost line of ``file`` that an exception passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if file and Path(f.filename) == Path(file)), None)


@contextlib.contextmanager
def plain(device: torch.device) -> Iterator[None]:
    """Autocast off and float32 as the default dtype: under others the same operations would make another function."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(default)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Return what a function raises while it is captured is told once, as a reason; PyTorch logs it in full besides."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
