"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_WIDTH_OF_A_LOG = 120


def console() -> Console:
    """The terminal at its own width; a file or pipe, which has none, at one that no table is cut to."""
    here = Console()
    return here if here.is_terminal else Console(width=max(here.width, _WIDTH_OF_A_LOG))
