"""The graph of a rule made functional, held to what a function of one row may be, and written down as text."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor

_ATEN = torch.ops.aten
BRANCHES = "it branches on values, or reads them as Python numbers (use torch.where)"
#: Numbers of a constant up to which a listing shows them; of longer ones it shows shape and hash.
_SHOWN = 64
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


class Refused(Exception):
    """A node because of which a graph is no function of one row."""

    def __init__(self, reason: str, node: Any) -> None:
        super().__init__(reason)
        self.reason, self.node = reason, node


def own_constants(traced: fx.GraphModule) -> None:
    """Clones what the graph is closed over."""
    for node in traced.graph.nodes:
        if node.op != "get_attr":
            continue
        value = getattr(traced, str(node.target))
        if isinstance(value, FakeTensor) or not isinstance(value, Tensor):
            raise Refused("part of it is computed where it cannot be followed (another thread?)", node)
        copy = value.detach().clone(memory_format=torch.contiguous_format)
        delattr(traced, str(node.target))
        traced.register_buffer(str(node.target), copy)


def make_functional(traced: fx.GraphModule) -> None:
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


def agree_with_rows(traced: fx.GraphModule, rows: Sequence[Tensor]) -> None:
    """Makes the graph compute on several rows under ``vmap`` what it computes on one, by operations written down.

    A number [] of one row leaves the dtype of a tensor [K] beside it; under ``vmap`` some operations (``where``,
    ``clamp``, ``addcmul`` in PyTorch 2.13) promote to the wider of the two, and what trains would not be what is
    bounded: its operands are converted. A ``view`` of what lies otherwise in memory than it did at capture, on several
    rows or on real tensors, is preceded by a copy. Neither depends on the values, so two rows of zeros tell.

    Args:
        rows: an example of one row, in the order of the inputs.

    Raises:
        Refused: an operation whose result still has another dtype or shape on several rows, or which runs on one row
            and not on several.
    """
    batch, before = [row.new_zeros(2, *row.shape) for row in rows], None
    while True:
        watch = _Kinds(traced)
        try:
            torch.vmap(watch.run, randomness="error")(*batch)
        except Exception as error:
            if watch.node is None and watch.last.target is not _ATEN.view.default and not _runs(traced, rows):
                return  # undefined at zero, say: what it does elsewhere is compared with the function as written
            if watch.node is None:
                watch.node, watch.told = (
                    watch.last,
                    f"{watch.last.target} runs on one row and not on several ({_first_line(error)})",
                )
        if watch.node is None:
            return
        if watch.node is before or not (_copy_first(traced.graph, watch.node) or _convert(traced.graph, watch.node)):
            raise Refused(f"{watch.told}: write it in another way, or convert its operands to one dtype", watch.node)
        before = watch.node
        traced.recompile()


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _runs(traced: fx.GraphModule, rows: Sequence[Tensor]) -> bool:
    """Return whether the graph computes one row of zeros."""
    try:
        traced(*(row.new_zeros(row.shape) for row in rows))
    except Exception:
        return False
    return True


class _Kinds(fx.Interpreter):
    """The first node whose result has another dtype or shape than on one row, how they differ, and the last one run."""

    node: Any = None
    last: Any = None
    told = ""

    def run_node(self, n: Any) -> Any:
        self.last = n
        value, expected = super().run_node(n), n.meta.get("val")
        if self.node is not None or not isinstance(value, Tensor) or not isinstance(expected, Tensor):
            return value
        if value.dtype != expected.dtype or value.shape != expected.shape:
            self.node = n
            self.told = f"{n.target} gives {type_of(expected)} on a row and {type_of(value)} on each of several"
        return value


def _copy_first(graph: fx.Graph, node: Any) -> bool:
    """Copies what a ``view`` reads, in the order of its entries; False where the node is none."""
    if node.target is not _ATEN.view.default:
        return False
    source = node.args[0]
    with graph.inserting_before(node):
        made = graph.call_function(_ATEN.clone.default, (source,), {"memory_format": torch.contiguous_format})
    made.meta = {**source.meta, "stack_trace": node.meta.get("stack_trace")}
    node.replace_input_with(source, made)
    return True


def _convert(graph: fx.Graph, node: Any) -> bool:
    """Converts the operands of a node to the dtype of its result on one row; False where there is none to convert."""
    kind, others = node.meta["val"].dtype, []
    for operand in node.all_input_nodes:
        value = operand.meta.get("val")
        alike = isinstance(value, Tensor) and value.dtype.is_floating_point == kind.is_floating_point
        if alike and value.dtype not in (kind, torch.bool):
            others.append(operand)
    for operand in others:
        with graph.inserting_before(node):
            made = graph.call_function(_ATEN._to_copy.default, (operand,), {"dtype": kind})
        made.meta = {**operand.meta, "val": operand.meta["val"].to(kind), "stack_trace": node.meta.get("stack_trace")}
        node.replace_input_with(operand, made)
    return bool(others)


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
    """Return whether an ``index_put`` writes one number where a mask of the same shape says so."""
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
        raise Refused(f"the result of {node.target} is left to chance", node)


def _admit(node: Any) -> None:
    overload = node.target
    if not isinstance(overload, torch._ops.OpOverload):
        raise Refused(f"{node.target} is not an operation on tensors", node)
    name = str(overload)
    if overload.namespace not in ("aten", "prims"):
        raise Refused(f"{name} is not one of PyTorch's own operations", node)
    if _mutates(node):
        raise Refused(f"{name} changes a tensor that the rule does not own", node)
    if overload._schema.name.removeprefix("aten::") in _UNINITIALIZED:
        raise Refused(f"{name} is memory with anything in it: use zeros", node)
    if overload is _ATEN._local_scalar_dense.default:
        raise Refused(BRANCHES, node)
    if torch.Tag.data_dependent_output in overload.tags or _shape_of_values(node):
        raise Refused(f"{name} reads values, or its shape depends on them", node)
    if overload in _OF_DISTINCT and 0 in node.args[0].meta["val"].stride():
        raise Refused(f"{name} of an expanded tensor, which PyTorch reads wrongly: clone it first", node)
    if overload in _TIES:
        used = [user.args[1] for user in node.users if user.target is operator.getitem]
        if _TIES[overload] in used:
            raise Refused(f"where numbers tie, {name} gives any of their indices: use sort(stable=True)", node)


def _shape_of_values(node: Any) -> bool:
    """Return whether the shape of a result depends on values; that of an index does only where it is a mask."""
    if node.target in (_ATEN.index.Tensor, _ATEN.index_put.default):
        indices = [index for index in node.args[1] if isinstance(index, fx.Node)]
        return any(bool(index.meta["val"].dtype in (torch.bool, torch.uint8)) for index in indices)
    return torch.Tag.dynamic_output_shape in node.target.tags


def place_of(node: Any) -> int | None:
    """Return the line of the user's file that a node comes from, if known."""
    place = str(node.meta.get("stack_trace") or "")
    return int(place) if place.isdigit() else None


def listing_of(graph: fx.Graph, constants: Mapping[str, Tensor], features: Sequence[str]) -> Iterator[str]:
    """Yield a line a node, numbered, so that two captures of one function give the same text."""
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
            yield f"%{number} = feature {next(inputs)}: {type_of(node.meta['val'])}"
        elif node.op == "get_attr":
            value = constants[str(node.target)]
            shown = (
                str(value.flatten().tolist())
                if value.numel() <= _SHOWN
                else hashlib.sha256(bytes_of(value)).hexdigest()
            )
            yield f"%{number} = constant {type_of(value)} {shown}"
        elif node.op == "output":
            yield f"return {text(node.args[0])}"
        else:
            name = "item" if node.target is operator.getitem else str(node.target)
            given = [text(arg) for arg in node.args] + [f"{key}={text(v)}" for key, v in node.kwargs.items()]
            yield f"%{number} = {name}({', '.join(given)})"


def type_of(value: Tensor) -> str:
    """Dtype and shape, ``float32[3]``."""
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def bytes_of(value: Tensor) -> bytes:
    """Return the numbers of a tensor as bytes, for a hash."""
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
