"""Aggregation: K teachers' distributions and their weights become one target distribution q.

Pools act on distributions at one temperature: p_k = softmax(z_k / T). ``POOLS`` is the table of them by name.
"""

from __future__ import annotations

from trivium.aggregation.linear import LinearPool
from trivium.aggregation.logarithmic import LogarithmicPool
from trivium.aggregation.protocol import Pool

POOLS: dict[str, Pool] = {pool.name: pool for pool in (LinearPool(), LogarithmicPool())}

__all__ = ["POOLS", "LinearPool", "LogarithmicPool", "Pool"]
