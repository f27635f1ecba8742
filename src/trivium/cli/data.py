"""The data table of a run on the terminal, before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from trivium.report import data_lines, data_table


def show_data(content: Mapping[str, Any], screen: Console) -> None:
    """Print what was read, what was dropped and what nothing reads.

    Args:
        content: of a data.json.
    """
    screen.print(data_table(content))
    for line, warning in data_lines(content):
        screen.print(Text(line, style="bold yellow" if warning else "dim"), soft_wrap=True)
