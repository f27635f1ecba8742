"""Walking an operator tree."""

from __future__ import annotations

from collections.abc import Iterator

from trivium.weighting.base import Operator, Rule


def parts_of(operator: Operator) -> tuple[Operator, ...]:
    """The operators that an operator is made of, none for a leaf."""
    found = (getattr(operator, "root", None), getattr(operator, "part", None), *getattr(operator, "parts", ()))
    return tuple(part for part in found if isinstance(part, Operator))


def nodes(operator: Operator) -> Iterator[Operator]:
    """The operator itself and all below it."""
    yield operator
    for part in parts_of(operator):
        yield from nodes(part)


def leaves(operator: Operator) -> Iterator[Rule]:
    """The rules at the bottom, from left to right.

    >>> from trivium.scheme.limit import Limit
    >>> from trivium.weighting.token.margin import Margin
    >>> [rule.name for rule in leaves(Limit(Margin(), 1.0))]
    ['margin']
    """
    return (node for node in nodes(operator) if isinstance(node, Rule))
