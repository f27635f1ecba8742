"""The captured program of each user's rule, as a certificate holds it: to be read, and to be compared later."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.certification.function_form import programs
from trivium.certification.source import CertificatePart
from trivium.certification.specification import DType
from trivium.scheme.tree import leaves
from trivium.weighting.base import Operator, UserRule
from trivium.weighting.program import Opaque

#: Numbers of a constant up to which a certificate shows them; of longer ones it holds the hash alone.
SHOWN = 64


class Constant(CertificatePart):
    """A tensor that a graph is closed over, as it was when the rule was captured."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str = Field(description="of its numbers as they lie in memory, row by row")
    values: tuple[bool | int | float, ...] | None = Field(description=f"in full up to {SHOWN} numbers, null beyond")


class OpaqueRule(CertificatePart):
    """Why a rule could not be captured: it runs as it is written, and no word about it is above NOT FALSIFIED."""

    reason: str
    line: int | None = Field(description="of its file, where that is known")


class ProgramRecord(CertificatePart):
    """One user's rule as the graph that it runs as."""

    rule: str = Field(description="its formula, as the derivation calls it")
    dtype: Literal["float32"] = Field("float32", description="of the features that the listing is for")
    opaque: OpaqueRule | None = Field(None, description="given exactly where there is no graph")
    inputs: tuple[str, ...] = Field((), description="the features of one row, in the order of the graph")
    listing: tuple[str, ...] = Field((), description="the graph, a line an operation: what runs at each row")
    constants: dict[str, Constant] = Field(default={}, description="what it is closed over")
    environment: dict[str, str] = Field(
        default={}, description="what else the meaning of its operations rests on: default dtype, precision of products"
    )
    digests: dict[DType, str] = Field(
        default={},
        description="SHA-256 over listing and constants in each dtype of features; where opaque there, the reason",
    )


def recorded(operator: Operator, num_teachers: int) -> tuple[ProgramRecord, ...]:
    """Return the program of each user's rule in an operator at K teachers, from left to right, each once."""
    rules = {id(leaf): leaf for leaf in leaves(operator) if isinstance(leaf, UserRule)}
    return tuple(record_of(rule, num_teachers) for rule in rules.values())


def record_of(rule: UserRule, num_teachers: int) -> ProgramRecord:
    """Return one rule's program in float32, and the digests of those in the other dtypes."""
    found = programs(rule, num_teachers)
    digests = {n: f"opaque: {p.reason}" if isinstance(p, Opaque) else p.digest for n, p in found.items()}
    program = found["float32"]
    if isinstance(program, Opaque):
        why = OpaqueRule(reason=program.reason, line=program.line)
        return ProgramRecord(rule=rule.formula(), opaque=why, digests=digests)
    return ProgramRecord(
        rule=rule.formula(),
        inputs=program.inputs,
        listing=program.listing,
        constants={name: _constant(value) for name, value in program.constants.items()},
        environment=dict(program.environment),
        digests=digests,
    )


def changes(then: ProgramRecord, now: ProgramRecord) -> list[str]:
    """Return what of a recorded program is not as captured now, a phrase a part."""
    parts = ("rule", "dtype", "opaque", "inputs", "listing", "constants", "environment", "digests")
    return [part for part in parts if getattr(then, part) != getattr(now, part)]


def _constant(value: Tensor) -> Constant:
    plain = value.detach().cpu().contiguous()
    data = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return Constant(
        dtype=str(value.dtype).removeprefix("torch."),
        shape=tuple(value.shape),
        sha256=hashlib.sha256(data).hexdigest(),
        values=_numbers(plain) if plain.numel() <= SHOWN else None,
    )


def _numbers(value: Tensor) -> tuple[bool | int | float, ...]:
    exact = value.double() if value.is_floating_point() else value
    return tuple(exact.flatten().tolist())


__all__ = ["Constant", "OpaqueRule", "ProgramRecord", "changes", "record_of", "recorded"]
