"""The catalogue: every rule, as published and as conforming, with what it keeps and what it breaks.

``ENTRIES`` are the rows, one module a scale. :mod:`trivium.catalogue.cells` asks every axiom of every entry;
:mod:`trivium.catalogue.table` reads what was found and kept in the package, each refutation with its witness.
"""

from trivium.catalogue.entry import Case, Entry
from trivium.catalogue.rows import context, learned, task, token

#: Every entry: token scale first, what learns last.
ENTRIES: tuple[Entry, ...] = (*token.ENTRIES, *task.ENTRIES, *context.ENTRIES, *learned.ENTRIES)

__all__ = ["ENTRIES", "Case", "Entry"]
