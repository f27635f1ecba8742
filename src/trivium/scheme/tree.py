"""Walk an operator tree."""

from __future__ import annotations

from collections.abc import Iterator

from trivium.scheme.composition import Composition
from trivium.weighting.base import Operator, Rule


def nodes(operator: Operator) -> Iterator[Operator]:
    """Yield the operator itself and all below it."""
    yield operator
    for operand in operator.operands if isinstance(operator, Composition) else ():
        yield from nodes(operand)


def leaves(operator: Operator) -> Iterator[Rule]:
    """Yield the rules at the bottom, from left to right.

    >>> from trivium.scheme.clamp_influence import ClampInfluence
    >>> from trivium.weighting.token.margin import Margin
    >>> [rule.name for rule in leaves(ClampInfluence(Margin(), 1.0))]
    ['margin']
    """
    return (node for node in nodes(operator) if isinstance(node, Rule))
