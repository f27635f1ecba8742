"""W-F by form: a rule that is a graph on one row is a function of that row, whatever its operations compute.

:func:`form_of` reads the captured graphs of a rule and says what they show: which operations, closed over which
constants, and what floating point leaves open. :func:`breach` is the finding for a rule that, as it is written, means
something else on a batch than on a row.
"""

from __future__ import annotations

import operator as python
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from trivium.axioms import FunctionOfItsRow
from trivium.certification.specification import DType, Result, Specification, Witness
from trivium.scheme.tree import leaves
from trivium.weighting.base import Operator, Rule, UserRule, program_of
from trivium.weighting.compare import Difference
from trivium.weighting.program import Opaque, Program

#: In which a rule is captured: all that W-F names.
DTYPES: Mapping[DType, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
}

#: Operations whose result is one correctly rounded step from each entry, or moves entries about: no batch changes it.
_EXACT = """
    abs neg add sub mul div sqrt reciprocal clamp clamp_min clamp_max relu maximum minimum where amax amin max min
    argmax argmin sort topk gather index index_select select slice cat stack expand view _unsafe_view reshape permute
    transpose t unsqueeze squeeze clone detach alias lift_fresh lift_fresh_copy _to_copy to arange full full_like
    zeros zeros_like ones ones_like scalar_tensor eq ne lt le gt ge logical_and logical_or logical_not logical_xor
    bitwise_and bitwise_or bitwise_not isnan isinf isfinite round floor ceil trunc sign sgn any all flip roll unbind
    split split_with_sizes chunk new_zeros new_ones new_full eye tril triu diagonal diag_embed masked_fill
    slice_scatter select_scatter index_put scatter one_hot hardtanh rsub
"""
#: Operations that jump where their input crosses a threshold, or that pick by comparing.
_JUMPS = """
    eq ne lt le gt ge argmax argmin round floor ceil trunc sign sgn heaviside searchsorted bucketize floor_divide
    remainder fmod logical_and logical_or logical_not logical_xor any all hardshrink threshold
"""
#: Operations with an output of places, which jump, beside one of values, which does not.
_PLACES = {"max": 1, "min": 1, "sort": 1, "topk": 1, "median": 1, "kthvalue": 1, "cummax": 1, "cummin": 1}


@dataclass(frozen=True)
class Form:
    """What the graphs of one rule show of W-F: the argument, a line a step, or why there is none."""

    pure: bool
    lines: tuple[str, ...]
    why_not: str = ""


def programs(rule: UserRule, num_teachers: int) -> dict[DType, Program | Opaque]:
    """Return the captures of a rule in each dtype; the rule keeps them, so asking again costs nothing."""
    return {name: rule.program(num_teachers, dtype) for name, dtype in DTYPES.items()}


def form_of(rule: UserRule, num_teachers: int) -> Form:
    """Return whether a rule is a function of its row by its form: captured in every dtype, and the same on a batch."""
    found = programs(rule, num_teachers)
    for name, program in found.items():
        if isinstance(program, Opaque):
            first = found["float32"]
            place = "" if isinstance(first, Opaque) else f" in {name}"
            said = f"opaque{place}: {program}"
            return Form(False, (f"W-F: not known, {said}",), said)
    for name, dtype in DTYPES.items():
        if (difference := rule.difference(num_teachers, dtype)) is not None:
            said = f"as it is written it means something else on a batch than on a row{_line(difference)}, in {name}"
            return Form(False, (f"W-F: {said}",), said)
    program = found["float32"]
    assert isinstance(program, Program)
    return Form(True, tuple(_argument(program, num_teachers)))


def form_of_library(rule: Rule, num_teachers: int) -> Form:
    """Return the same of a rule of the catalogue that declares no constants.

    It runs as it is written, on a batch; that it means the same there is its claim to be ``row_local``, which the
    search attacks.
    """
    for dtype in DTYPES.values():
        program = program_of(rule, num_teachers, dtype)
        if isinstance(program, Opaque):
            said = f"opaque: {program}"
            return Form(False, (f"W-F: not known, {said}",), said)
    line = "W-F: a rule of the library that acts along the teacher axis alone, captured as a graph of one row"
    return Form(True, (line,))


def _argument(program: Program, num_teachers: int) -> Iterator[str]:
    names = [name for node in program.graph.graph.nodes if (name := packet(node))]
    shown = ", ".join(sorted(set(names)))
    count = len(program.constants)
    closed = f"closed over {count} constant{'s' if count != 1 else ''}" if count else "closed over no constant"
    yield f"W-F: by form: a graph of {len(names)} operations ({shown}), {closed}, graph {program.digest[:12]}"
    yield "W-F: none is random or keeps a state, and the graph has one row for its input: exact in real arithmetic"
    rounding = sorted({packet(node) for node in program.graph.graph.nodes if packet(node) and not exact(node)})
    if not rounding:
        yield "W-F: and in floating point: every operation is rounded correctly, in a batch of any size"
        return
    slack = ", ".join(
        f"{FunctionOfItsRow().tolerance(dtype, num_teachers):.2g} in {name}" for name, dtype in DTYPES.items()
    )
    yield (
        f"W-F: in floating point {', '.join(rounding)} may be rounded by the size of the batch; "
        f"batches are compared up to {slack}"
    )
    yield from _thresholds(program)


def _thresholds(program: Program) -> Iterator[str]:
    """A line where something that was rounded is compared: rounding by the batch can then decide."""
    rounded: set[fx.Node] = set()
    jumps: list[str] = []
    for node in program.graph.graph.nodes:
        inputs = [given for given in node.all_input_nodes if given in rounded]
        if inputs or (packet(node) and not exact(node)):
            rounded.add(node)
        if any(_floating(given) for given in inputs) and _jumps(node):
            line = program.lines.get(node.name)
            jumps.append(packet(node) + (f" of line {line}" if line else ""))
    if jumps:
        yield (
            f"W-F: {', '.join(dict.fromkeys(jumps))} compares numbers that were rounded: "
            "a row within that rounding of a threshold may fall on either side of it"
        )


def packet(node: fx.Node) -> str:
    """Return the plain name of the operation of a node: ``softmax`` of ``aten._softmax.default``; empty for no
    operation."""
    if node.op != "call_function" or node.target is python.getitem:
        return ""
    return str(node.target).removeprefix("aten.").removeprefix("prims.").split(".")[0].lstrip("_") or str(node.target)


def exact(node: fx.Node) -> bool:
    """Return whether a node gives the same bits in a batch of any size."""
    name = packet(node)
    if name in ("add", "sub", "rsub"):  # a·x + y may be rounded once or twice
        return float(node.kwargs.get("alpha", 1)) in (1.0, -1.0)  # type: ignore[arg-type]
    return name in _EXACT.split() or not _floating(node)


def _jumps(node: fx.Node) -> bool:
    name = packet(node)
    if name in _PLACES:
        return any(user.target is python.getitem and user.args[1] == _PLACES[name] for user in node.users)
    if name == "to_copy":
        return not _floating(node)
    if name == "div":
        return node.kwargs.get("rounding_mode") is not None
    return name in _JUMPS.split()


def _floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, Tensor) and v.is_floating_point() for v in values)


def breach(operator: Operator, specification: Specification) -> Result | None:
    """W-F VIOLATED by a rule of the operator that means something else on a batch than on a row; None where none does.

    Such a rule is refused where it would run. Its witness is the batch on which :attr:`UserRule.difference` was seen.
    """
    for rule in _users(operator):
        for name, dtype in DTYPES.items():
            difference = rule.difference(specification.num_teachers, dtype)
            if difference is None:
                continue
            features = _completed(operator, difference, specification.num_teachers)
            note = (
                f"{rule.name} as it is written gives row {difference.row} of a batch of {_size(difference)} weights "
                f"that differ by {difference.size:.3g} from those of the row alone{_line(difference)}: "
                "reduce and index along the last axis only"
            )
            witness = Witness(
                "W-F",
                features,
                None,
                name,
                specification.num_teachers,
                difference.size,
                note,
                difference.row,
                specification,
            )
            slack = FunctionOfItsRow().tolerance(dtype, max(1, specification.num_teachers))
            where = f"row {difference.row} of a batch of {_size(difference)}, in {name}"
            said = "as it is written against its graph, on batches of four sizes"
            return Result("W-F", "VIOLATED", difference.size, slack, where, search=said, witness=witness)
    return None


def differs(operator: Operator, witness: Witness) -> float:
    """Return how far the rules of an operator, as they are written, are from their graphs at the batch of a W-F
    witness."""
    dtype, worst = DTYPES[witness.dtype], 0.0
    for rule in _users(operator):
        program = rule.program(witness.num_teachers, dtype)
        if isinstance(program, Opaque) or not set(rule.features) <= set(witness.features):
            continue
        batch = {name: torch.tensor(witness.features[name], dtype=dtype) for name in rule.features}
        expected = program(batch)[0]
        try:
            found = rule.as_written(batch)
        except Exception:  # it is written for one row alone, which is what it runs on
            continue
        distance = torch.where(expected == found, 0.0, (expected - found).abs().double())
        worst = max(worst, float(distance.nan_to_num(nan=torch.inf).amax(dim=-1)[witness.row]))
    return worst


def _completed(operator: Operator, difference: Difference, num_teachers: int) -> dict[str, list[list[float]]]:
    """Return the batch of one rule with what the other rules read, in the middle of its range."""
    features = {name: value.double().tolist() for name, value in difference.features.items()}
    for name, interval in operator.ranges.items():
        if name not in features:
            middle = (interval.low + interval.high) / 2
            middle = float(round(middle)) if interval.integer else middle
            features[name] = [[middle] * interval.width(num_teachers)] * _size(difference)
    return features


def _users(operator: Operator) -> list[UserRule]:
    found = [leaf for leaf in leaves(operator) if isinstance(leaf, UserRule)]
    return list({id(rule): rule for rule in found}.values())


def _size(difference: Difference) -> int:
    return len(next(iter(difference.features.values())))


def _line(difference: Difference) -> str:
    return f", line {difference.line}" if difference.line else ""
