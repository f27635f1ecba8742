"""A derivation: what is known of an operator over its whole feature box, with the argument, a step a part.

Compositions write their steps here and :mod:`trivium.certification.calculus` walks the tree, so what a line says
stands in the class that it speaks of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch

from trivium.scheme.words import describe
from trivium.simplex.constants import Constants

#: Version of the text of derivations. Raise it when a line comes out otherwise than before, here, in a composition or
#: in :mod:`trivium.certification`: a certificate with an earlier text is then held to its numbers and words, not to its
#: lines. Under one version a line that differs is refused.
TEXT: Final = 1


@dataclass(frozen=True)
class Step:
    """One node's part of a derivation. ``{0}``, ``{1}`` … in ``head`` stand for earlier steps, ``back`` steps ago."""

    head: str
    lines: tuple[str, ...] = ()
    back: tuple[int, ...] = ()


@dataclass(frozen=True)
class Derived:
    """What is known of an operator over its whole feature box.

    Attributes:
        constants: gaps and regularity; −∞ and +∞ where nothing is known.
        steps: the derivation, the operator itself last.
        normalized: weights sum to one at every input, by the form of the operator.
        pure: a row's weights depend on that row's features alone, by the form of the operator.
        unknown: leaves that declare nothing; the rest holds wherever these return a row that can be normalized.
        culprits: leaves because of which ``normalized`` or ``pure`` is not known.
        proper: rows can be normalized wherever the unknown leaves return numbers, one of them positive. Two parts that
            may each be zero somewhere can leave nothing when multiplied, and zero to the power zero is no number.
        pareto: why W-C holds, a line of proof; empty where it is not known. No composition keeps it.
        critical: what is known on critical inputs, where more is than elsewhere. No composition keeps it.
    """

    constants: Constants
    steps: tuple[Step, ...]
    normalized: bool
    pure: bool
    unknown: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()
    proper: bool = True
    pareto: str = ""
    critical: Constants | None = None

    @property
    def informative(self) -> bool:
        """Whether anything at all is known of the weights."""
        log_ratio = self.constants.log_ratio
        if log_ratio.shape[0] == 1:  # one teacher has no ratios to bound
            return not self.unknown
        return bool((log_ratio.isfinite() & ~torch.eye(log_ratio.shape[0], dtype=torch.bool)).any())

    @property
    def positive(self) -> bool:
        """Every weight is positive: normalized, and no ratio of two weights is unbounded."""
        return self.normalized and math.isfinite(self.constants.influence)

    def then(self, head: str, whole: Constants, *lines: str, normalized: bool | None = None) -> Derived:
        """Return what is known after a step around this one, which is ``{0}`` in ``head``: constants, and why.

        ``normalized``: if rows sum to one by the form of the step; by default wherever those before could be.
        """
        normalized = self.proper if normalized is None else normalized
        step = Step(f"{head}: {describe(whole)}", lines, (1,))
        return replace(
            self, constants=whole, steps=(*self.steps, step), normalized=normalized, pareto="", critical=None
        )

    def lines(self) -> tuple[str, ...]:
        """Return the derivation as text: numbered steps, a theorem a line."""
        text = []
        for number, step in enumerate(self.steps, start=1):
            text.append(f"[{number}] " + step.head.format(*(f"[{number - back}]" for back in step.back)))
            text.extend(f"    {line}" for line in step.lines)
        return tuple(text)


def escape(text: str) -> str:
    """Text that ``str.format`` leaves as it is, to be put into the head of a step."""
    return text.replace("{", "{{").replace("}", "}}")
