"""Tell whether a function is being captured as a graph, during which tensors have shapes and no values."""

from __future__ import annotations

from contextvars import ContextVar

#: Set by :func:`trivium.weighting.program.capture`; checks of values are left out while it is.
CAPTURING: ContextVar[bool] = ContextVar("capturing", default=False)


def capturing() -> bool:
    """Return whether a capture is under way: no value may be looked at.

    >>> capturing()
    False
    """
    return CAPTURING.get()
