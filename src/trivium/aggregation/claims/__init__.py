"""Which operator keeps which axiom: every cell is claimed with a proof, or refuted by a witness that replays.

:func:`claims` gives the two tables, aggregators and softening operators, as plain rows for a command or a page. Nothing
here is taken on trust: tests attack each claim, and each witness is numbers that the axiom's own residual judges.
"""

from __future__ import annotations

from trivium.aggregation.claims.pools import POOL_CLAIMS
from trivium.aggregation.claims.softeners import SOFTENER_CLAIMS
from trivium.aggregation.claims.table import (
    DOMAINS,
    Broken,
    Cell,
    Claims,
    ClaimsTable,
    Holds,
    PoolWitness,
    SofteningWitness,
)


def claims() -> tuple[ClaimsTable, ClaimsTable]:
    """Return the table of the aggregators and that of the softening operators.

    >>> pools, softeners = claims()
    >>> print(pools.row("linear").cells["A-T(a)"])
    broken: (.9, .05, .05) and (.05, .9, .05) at w = ½, T = 4 give (.377, .377, .246) or (.389, .389, .222) by order
    """
    return POOL_CLAIMS, SOFTENER_CLAIMS


__all__ = [
    "DOMAINS",
    "POOL_CLAIMS",
    "SOFTENER_CLAIMS",
    "Broken",
    "Cell",
    "Claims",
    "ClaimsTable",
    "Holds",
    "PoolWitness",
    "SofteningWitness",
    "claims",
]
