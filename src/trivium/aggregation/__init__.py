"""Aggregation: K teachers' distributions and their weights become one target distribution q.

Pools act on distributions at one temperature: p_k = softmax(z_k / T). ``POOLS`` is the table of them by name, the
power pool with its default exponent ½; :func:`make_pool` gives it any other. :class:`EntrywiseLinearPool` takes weights
[..., V, K] and is no :class:`Pool` of a recipe. What each of them keeps of the aggregation axioms is in
:mod:`trivium.aggregation.claims`; softening one distribution is in :mod:`trivium.aggregation.softening`.
"""

from __future__ import annotations

from trivium.aggregation.entrywise import EntrywiseLinearPool
from trivium.aggregation.linear import LinearPool
from trivium.aggregation.logarithmic import LogarithmicPool
from trivium.aggregation.power import PowerPool
from trivium.aggregation.protocol import Pool
from trivium.errors import InputError, nearest
from trivium.simplex.typed import typed

POOLS: dict[str, Pool] = {pool.name: pool for pool in (LinearPool(), LogarithmicPool(), PowerPool())}


@typed()
def make_pool(name: str, exponent: float | None = None) -> Pool:
    """Return the pool of that name; ``exponent`` is the power pool's ρ (by default ½), and the others take none.

    Raises:
        InputError: no such pool; an exponent for a pool without one, or one that :class:`PowerPool` refuses.

    >>> make_pool("power", -1.0).formula
    'q ∝ (Σ_k w_k·p_k^ρ)^(1/ρ), ρ = -1'
    """
    if name not in POOLS:
        raise InputError("a pool must exist", repr(name), nearest(name, POOLS))
    if exponent is None:
        return POOLS[name]
    if name != PowerPool.name:
        raise InputError("only the pool 'power' has an exponent", f"{exponent} for {name!r}", "Leave it out.")
    return PowerPool(exponent)


__all__ = ["POOLS", "EntrywiseLinearPool", "LinearPool", "LogarithmicPool", "Pool", "PowerPool", "make_pool"]
