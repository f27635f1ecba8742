"""Scales composed by normalized product."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Composition
from trivium.scheme.derivation import Derived, Step
from trivium.scheme.words import describe, most
from trivium.simplex.constants import Constants, uniform
from trivium.simplex.rounding import add_down, up
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Product(Composition):
    """w_k ∝ Π_s w_{s,k}: a sum of log-weights, then a log-softmax.

    Commutative, associative, uniform is neutral (T2); influence and regularity add (T3, T4); order gaps add (T5).
    Cost O(K) a part.
    """

    parts: tuple[Operator, ...]

    def __post_init__(self) -> None:
        require(len(self.parts) > 0, "a product must have at least one part", "none", "Use Static() for uniform.")

    @property
    def ranges(self) -> Mapping[str, Range]:
        return merged_ranges(self.parts)

    @property
    def operands(self) -> tuple[Operator, ...]:
        return self.parts

    def with_operands(self, operands: Sequence[Operator]) -> Self:
        return type(self)(tuple(operands))

    def log_weights(self, features: Features) -> Tensor:
        total = self.parts[0].log_weights(features)
        for part in self.parts[1:]:
            total = total + part.log_weights(features)
        return torch.log_softmax(total, dim=-1)

    def formula(self) -> str:
        return " ⊗ ".join(part.formula() for part in self.parts)

    @staticmethod
    def constants(parts: Sequence[Constants]) -> Constants:
        """Return gaps add and regularities add (T3, T4, T5).

        *Proof.* log(w_j/w_k) = Σ_s log(w_{s,j}/w_{s,k}) ≥ Σ_s gap_s[j, k]: the normalizer cancels. d_H is a seminorm of
        log u − log v, so d_H(w, w′) ≤ Σ_s d_H(w_s, w_s′) ≤ Σ_s Σ_f L_{s,f}·‖u_f − u_f′‖. Known floors and caps do not
        survive (T3) unless all parts but one are uniform, which is neutral (T2).
        """
        counts = [part.num_teachers for part in parts]
        num_teachers = counts[0]
        require(counts == [num_teachers] * len(parts), "the parts of a product must weight the same teachers", counts)
        log_ratio, lipschitz = torch.zeros(num_teachers, num_teachers, dtype=torch.float64), dict[str, float]()
        for part in parts:
            log_ratio = add_down(log_ratio, part.log_ratio)
            for name, constant in part.lipschitz.items():
                lipschitz[name] = up(lipschitz[name] + constant, steps=1) if name in lipschitz else constant
        moving = [part for part in parts if bool((part.log_ratio != 0).any())]
        alone = moving[0] if len(moving) == 1 else uniform(num_teachers)
        return Constants(log_ratio, lipschitz, alone.known_floor, alone.known_cap)

    def derived(self, operands: Sequence[Derived]) -> Derived:
        parts = [part.constants for part in operands]
        whole = self.constants(parts)
        influences = [part.influence for part in parts]
        finite = all(map(math.isfinite, influences))
        lines = [f"T3: influence adds: {_sum(influences, whole.influence)} nats"] if finite else []
        if any(part.lipschitz for part in parts):
            lines.append(
                f"T4: regularity adds: {_sum([part.total_lipschitz for part in parts], whole.total_lipschitz)}"
            )
        if finite:
            lines.append("T5: gaps log(w_j/w_k) add, pair by pair")
            lines.append("W-N, W-P: it ends in a log-softmax of finite scores")
        lengths = [len(part.steps) for part in operands]
        back = tuple(1 + sum(lengths[place + 1 :]) for place in range(len(parts)))
        head = " ⊗ ".join(f"{{{place}}}" for place in range(len(parts))) + f": {describe(whole)}"
        return Derived(
            whole,
            (*(step for part in operands for step in part.steps), Step(head, tuple(lines), back)),
            normalized=finite,
            pure=all(part.pure for part in operands),
            unknown=_each(name for part in operands for name in part.unknown),
            culprits=_each(name for part in operands for name in part.culprits),
            proper=all(part.proper for part in operands) and sum(map(math.isinf, influences)) <= 1,
        )


def merged_ranges(parts: tuple[Operator, ...]) -> dict[str, Range]:
    """Return the box of several operators: for a feature that two of them read, the intersection is what both see, but
    each clips for itself, so the box is the union; of whole numbers alone where all that read it see whole numbers.

    Raises:
        InputError: a feature that has one number a teacher for one operator and another count for the next.
    """
    box: dict[str, Range] = {}
    for part in parts:
        for name, interval in part.ranges.items():
            known = box.get(name, interval)
            require(
                known[3:] == interval[3:],
                f"the operators that read the feature {name!r} must agree on how many numbers it has",
                f"{known} and {interval}",
                "Give one of them another name.",
            )
            box[name] = interval._replace(
                low=min(known.low, interval.low),
                high=max(known.high, interval.high),
                integer=known.integer and interval.integer,
            )
    return box


def _each(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in order."""
    return tuple(dict.fromkeys(names))


def _sum(parts: Sequence[float], total: float) -> str:
    added = " + ".join(most(part) for part in parts)
    # The gap matrix keeps which teacher is favoured, so the whole may be less than the sum of the parts.
    relation = "=" if math.isclose(sum(parts), total, rel_tol=1e-9, abs_tol=1e-12) else "≥"
    return f"{added} {relation} {most(total)}"
