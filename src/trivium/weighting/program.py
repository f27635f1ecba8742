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
import operator
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from trivium.errors import RuleError
from trivium.simplex.capturing import CAPTURING, capturing

#: Numbers of a constant up to which a listing shows them; of longer ones it shows shape and hash.
_SHOWN = 64
_ATEN = torch.ops.aten
_BRANCHES = "it branches on values, or reads them as Python numbers (use torch.where)"
#: Operations whose indices depend on the order in which equal numbers lie in memory, with the output that holds them.
_TIES = {
    _ATEN.topk.default: 1,
    _ATEN.sort.default: 1,
    _ATEN.median.dim: 1,
    _ATEN.nanmedian.dim: 1,
    _ATEN.kthvalue.default: 1,
    _ATEN.mode.default: 1,
}
#: Of entries that share memory these return whatever lies beside it (seen in PyTorch 2.13).
_OF_DISTINCT = frozenset([_ATEN.median.dim, _ATEN.median.default, _ATEN.nanmedian.dim, _ATEN.kthvalue.default])
_UNINITIALIZED = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "resize"})


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
        """The outputs at one row of features [width]."""
        outputs: tuple[Tensor, ...] = self.graph(*(features[name] for name in self.inputs))
        return outputs

    def __call__(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The outputs [..., ·] of features [..., width] whose leading axes broadcast: the graph under ``vmap``."""
        given = [features[name] for name in self.inputs]
        leading = torch.broadcast_shapes(*(value.shape[:-1] for value in given))
        rows = [value.expand(*leading, value.shape[-1]).reshape(-1, value.shape[-1]) for value in given]
        if not leading.numel():
            one = self.graph(*(value.new_zeros(value.shape[-1]) for value in rows))
            return tuple(output.new_zeros((*leading, *output.shape)) for output in one)
        with _plain(rows[0].device):
            outputs = torch.vmap(self.graph, randomness="error")(*rows)
        return tuple(output.reshape(*leading, *output.shape[1:]) for output in outputs)


def capture(
    function: Callable[[Mapping[str, Tensor]], tuple[Tensor, ...]],
    rows: Mapping[str, Tensor],
    file: str = "",
) -> Program | Opaque:
    """The graph of ``function`` at one row of the shapes and dtypes of ``rows``, whose values are not looked at.

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
        with torch.no_grad(), warnings.catch_warnings(), _plain(next(iter(rows.values())).device):
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
    return _finished(traced, names)


def _finished(traced: fx.GraphModule, names: tuple[str, ...]) -> Program | Opaque:
    try:
        _own(traced)
        _functional(traced)
    except _Refused as refusal:
        return Opaque(refusal.reason, _line(refusal.node))
    lines = {node.name: line for node in traced.graph.nodes if (line := _line(node))}
    constants = {
        str(node.target): getattr(traced, str(node.target)) for node in traced.graph.nodes if node.op == "get_attr"
    }
    listing = tuple(_listing(traced.graph, constants, names))
    hashed = hashlib.sha256("\n".join(listing).encode())
    for name, value in constants.items():
        hashed.update(name.encode() + _bytes(value))
    environment = {
        "default dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }
    return Program(names, traced, constants, environment, listing, hashed.hexdigest(), lines)


class _Refused(Exception):
    def __init__(self, reason: str, node: Any) -> None:
        super().__init__(reason)
        self.reason, self.node = reason, node


def _own(traced: fx.GraphModule) -> None:
    """Clones what the graph is closed over."""
    for node in traced.graph.nodes:
        if node.op != "get_attr":
            continue
        value = getattr(traced, str(node.target))
        if isinstance(value, FakeTensor) or not isinstance(value, Tensor):
            raise _Refused("part of it is computed where it cannot be followed (another thread?)", node)
        copy = value.detach().clone(memory_format=torch.contiguous_format)
        delattr(traced, str(node.target))
        traced.register_buffer(str(node.target), copy)


def _functional(traced: fx.GraphModule) -> None:
    """Rewrites what functionalization leaves, drops dead operations, and refuses what is no function of its inputs."""
    graph = traced.graph
    owned: set[Any] = set()
    for node in list(graph.nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            _rewrite(node, owned)
        if node.op == "call_function":
            owned.add(node)
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users and not _mutates(node):
            graph.erase_node(node)
    for check in (_not_by_chance, _admit):
        for node in graph.nodes:
            if node.op == "call_function" and node.target is not operator.getitem:
                check(node)
    graph.lint()
    traced.recompile()


def _rewrite(node: Any, owned: set[Any]) -> None:
    """``squeeze_`` of a fresh tensor is ``squeeze``; ``lift_fresh_copy`` and ``copy`` are copies."""
    overload = node.target
    packet = overload._schema.name.removeprefix("aten::")
    if packet in ("squeeze_", "unsqueeze_", "t_", "transpose_", "detach_") and node.args[0] in owned:
        node.target = getattr(getattr(_ATEN, packet[:-1]), overload._overloadname)
        source = node.args[0]
        source.replace_all_uses_with(node, lambda user: user is not node and _after(user, node))
    elif overload is _ATEN.lift_fresh_copy.default:
        node.target = _ATEN.clone.default
    elif packet == "index_put" and _is_choice(node):
        target, mask, value = node.args[0], node.args[1][0], node.args[2]
        node.target, node.args, node.kwargs = _ATEN.where.self, (mask, value, target), {}
    elif overload is _ATEN.masked_fill.Tensor and node.args[2].meta["val"].dtype is node.args[0].meta["val"].dtype:
        # The same, and vmap runs it at once instead of row by row.
        node.target, node.args = _ATEN.where.self, (node.args[1], node.args[2], node.args[0])
    elif packet in ("slice", "slice_scatter"):
        _close_slice(node, 1 if packet == "slice" else 2)
    elif overload is _ATEN.copy.default:
        target, source = node.args[0].meta["val"], node.args[1]
        graph = node.graph
        with graph.inserting_before(node):
            cast = graph.call_function(_ATEN._to_copy.default, (source,), {"dtype": target.dtype})
            wide = graph.call_function(_ATEN.expand.default, (cast, list(target.shape)))
        for made in (cast, wide):
            made.meta = dict(node.meta)
        cast.meta["val"] = target.new_empty(node.args[1].meta["val"].shape)
        node.replace_all_uses_with(wide)


def _is_choice(node: Any) -> bool:
    """Whether an ``index_put`` writes one number where a mask of the same shape says so."""
    target, indices, value, *rest = node.args
    shape, kind = target.meta["val"].shape, target.meta["val"].dtype
    mask = indices[0].meta["val"] if len(indices) == 1 and isinstance(indices[0], fx.Node) else None
    return (
        mask is not None
        and mask.dtype is torch.bool
        and mask.shape == shape
        and value.meta["val"].numel() == 1
        and value.meta["val"].dtype is kind
        and not any(rest)
    )


def _close_slice(node: Any, first: int) -> None:
    """An open end becomes the length: vmap cannot hold the number that stands for it."""
    given = list(node.args) + [0, None, None][len(node.args) - first :]
    length = node.args[0].meta["val"].shape[given[first]]
    given[first + 1] = 0 if given[first + 1] is None else given[first + 1]
    end = given[first + 2]
    given[first + 2] = length if end is None else min(int(end), int(length))
    node.args = tuple(given)


def _after(user: Any, node: Any) -> bool:
    return bool(node < user)


def _mutates(node: Any) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def _not_by_chance(node: Any) -> None:
    if isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags:
        raise _Refused(f"the result of {node.target} is left to chance", node)


def _admit(node: Any) -> None:
    overload = node.target
    if not isinstance(overload, torch._ops.OpOverload):
        raise _Refused(f"{node.target} is not an operation on tensors", node)
    name = str(overload)
    if overload.namespace not in ("aten", "prims"):
        raise _Refused(f"{name} is not one of PyTorch's own operations", node)
    if _mutates(node):
        raise _Refused(f"{name} changes a tensor that the rule does not own", node)
    if overload._schema.name.removeprefix("aten::") in _UNINITIALIZED:
        raise _Refused(f"{name} is memory with anything in it: use zeros", node)
    if overload is _ATEN._local_scalar_dense.default:
        raise _Refused(_BRANCHES, node)
    if torch.Tag.data_dependent_output in overload.tags or _shape_of_values(node):
        raise _Refused(f"{name} reads values, or its shape depends on them", node)
    if overload in _OF_DISTINCT and 0 in node.args[0].meta["val"].stride():
        raise _Refused(f"{name} of an expanded tensor, which PyTorch reads wrongly: clone it first", node)
    if overload in _TIES:
        used = [user.args[1] for user in node.users if user.target is operator.getitem]
        if _TIES[overload] in used:
            raise _Refused(f"where numbers tie, {name} gives any of their indices: use sort(stable=True)", node)


def _shape_of_values(node: Any) -> bool:
    """Whether the shape of a result depends on values; that of an index does only where it is a mask."""
    if node.target in (_ATEN.index.Tensor, _ATEN.index_put.default):
        indices = [index for index in node.args[1] if isinstance(index, fx.Node)]
        return any(bool(index.meta["val"].dtype in (torch.bool, torch.uint8)) for index in indices)
    return torch.Tag.dynamic_output_shape in node.target.tags


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
    kind, said = type(error).__name__, " ".join(str(error).split())
    if "DataDependent" in kind or "data-dependent" in said or "Could not guard" in said:
        return _BRANCHES
    return f"{kind}: {said[:160]}"


def line_of(error: BaseException, file: str) -> int | None:
    """The innermost line of ``file`` that an exception passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if file and Path(f.filename) == Path(file)), None)


@dataclass(frozen=True, eq=False)
class Difference:
    """A batch on which a function as it is written gives a row other weights than its graph.

    Attributes:
        features: the batch, [N, width] by name.
        row: the one that differs most, by ``size``.
        line: of the user's file, where batch and row part, if known.
    """

    features: Mapping[str, Tensor]
    row: int
    size: float
    line: int | None

    def error(self, name: str) -> RuleError:
        """What a run says that may not start."""
        where = f" (line {self.line})" if self.line else ""
        return RuleError(
            f"rule {name!r} must mean the same on one row [K] as on a batch of rows [..., K]",
            f"weights that differ by {self.size:.3g}{where}",
            "Reduce and index along the last axis only: x.mean(-1), x[..., i], x.shape[-1].",
        )


def unlike(program: Program, batch: Mapping[str, Tensor]) -> str:
    """Where ``vmap`` runs an operation as another one than a row does, in words; empty if nowhere on this batch.

    A number [] of one row promotes other dtypes less than a tensor does; under ``vmap`` both have an axis of rows. So
    every result must have the dtype and the shape that it has on one row.
    """
    watch = _Kinds(program.graph)
    with torch.no_grad(), _plain(batch[program.inputs[0]].device):
        torch.vmap(watch.run, randomness="error")(*(batch[name] for name in program.inputs))
    return watch.found


class _Kinds(fx.Interpreter):
    """Compares dtype and shape of what each node gives with what it gave on one row."""

    found = ""

    def run_node(self, n: Any) -> Any:
        value = super().run_node(n)
        expected = n.meta.get("val")
        if self.found or not isinstance(value, Tensor) or not isinstance(expected, Tensor):
            return value
        if value.dtype != expected.dtype or value.shape != expected.shape:
            self.found = f"{n.target} gives {_type(expected)} on a row and {_type(value)} on each of several"
        return value


def parting_line(one: Program, many: Program, batch: Mapping[str, Tensor]) -> int | None:
    """The line at which the graph of a row and that of a batch begin to give different numbers, if known."""
    seen, whole = _Values(one.graph), _Values(many.graph)
    try:
        with torch.no_grad():
            whole.run(*(batch[name] for name in many.inputs))
            rows = []
            for row in range(len(next(iter(batch.values())))):
                seen.run(*(batch[name][row] for name in one.inputs))
                rows.append(dict(seen.values))
    except Exception:  # only the line is lost
        return None
    for a, b in zip(one.graph.graph.nodes, many.graph.graph.nodes, strict=False):
        if a.op == "output" or b.op == "output":
            break
        line = many.lines.get(b.name) or one.lines.get(a.name)
        if a.target != b.target and "placeholder" not in (a.op, b.op) and "get_attr" not in (a.op, b.op):
            return line
        value = whole.values.get(b)
        alone = [values.get(a) for values in rows]
        if not isinstance(value, Tensor) or not all(isinstance(v, Tensor) for v in alone):
            continue
        stacked = torch.stack([v for v in alone if isinstance(v, Tensor)])
        apart = stacked.shape != value.shape and value.shape != stacked.shape[1:]
        if apart or (
            stacked.shape == value.shape and not torch.allclose(stacked.double(), value.double(), 1e-4, 1e-5, True)
        ):
            return line
    return None


class _Values(fx.Interpreter):
    """Keeps the value of every node of the last run."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.values: dict[Any, Any] = {}
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _line(node: Any) -> int | None:
    place = str(node.meta.get("stack_trace") or "")
    return int(place) if place.isdigit() else None


def _listing(graph: fx.Graph, constants: Mapping[str, Tensor], features: Sequence[str]) -> Iterator[str]:
    """A line a node, numbered, so that two captures of one function give the same text."""
    names: dict[Any, str] = {}
    inputs = iter(features)

    def text(part: Any) -> str:
        if isinstance(part, fx.Node):
            return names[part]
        if isinstance(part, list | tuple):
            return f"[{', '.join(text(item) for item in part)}]"
        return repr(part) if isinstance(part, float | str) else str(part)

    for number, node in enumerate(graph.nodes):
        names[node] = f"%{number}"
        if node.op == "placeholder":
            yield f"%{number} = feature {next(inputs)}: {_type(node.meta['val'])}"
        elif node.op == "get_attr":
            value = constants[str(node.target)]
            shown = (
                str(value.flatten().tolist()) if value.numel() <= _SHOWN else hashlib.sha256(_bytes(value)).hexdigest()
            )
            yield f"%{number} = constant {_type(value)} {shown}"
        elif node.op == "output":
            yield f"return {text(node.args[0])}"
        else:
            name = "item" if node.target is operator.getitem else str(node.target)
            given = [text(arg) for arg in node.args] + [f"{key}={text(v)}" for key, v in node.kwargs.items()]
            yield f"%{number} = {name}({', '.join(given)})"


def _type(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""


@contextlib.contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """Autocast off: it would make another function of the same operations."""
    with torch.autocast(device.type, enabled=False):
        yield


def same(one: Program | Opaque, other: Program | Opaque) -> bool:
    """Whether two captures are of one function."""
    return isinstance(one, Program) and isinstance(other, Program) and one.digest == other.digest


def first_difference(one: Program, other: Program) -> int | None:
    """The line of the user's file at which two captures part, if known."""
    nodes = zip(one.graph.graph.nodes, other.graph.graph.nodes, strict=False)
    for (a, b), (left, right) in zip(nodes, zip(one.listing, other.listing, strict=False), strict=False):
        if left != right:
            return other.lines.get(b.name) or one.lines.get(a.name)
    return None
