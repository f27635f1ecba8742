"""Tables for the terminal, from the same comparison.json as the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from trivium.report.comparison import groups, side_by_side
from trivium.report.numbers import NOTHING, decimal, interval, percent, reading


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """Name, then each domain, the mean and its interval, for the mixture and for the student.

    Args:
        comparison: the content of a comparison.json.
    """
    domains = [str(domain) for domain in comparison.get("domains") or []]
    whats = groups(comparison)
    table = Table(title=f"held-out {comparison.get('unit', 'bits per byte')}, lower is better", title_justify="left")
    table.add_column("weights", no_wrap=True)
    table.add_column("of the", no_wrap=True)
    for heading in [*domains, "mean"]:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    for row in side_by_side(comparison):
        for index, (what, cell) in enumerate(zip(whats, row["cells"], strict=True)):
            values = [NOTHING] * (len(domains) + 2)
            if cell is not None:
                values = [*cell["domains"], cell["mean"], cell["interval"]]
            name = Text(row["label"] if index == 0 else "")
            table.add_row(name, what, *values, end_section=index == len(whats) - 1)
    return table


def accuracy_table(accuracy: Mapping[str, Any]) -> Table:
    """Accuracy and nats an example of each predictor, over all held-out examples and in each domain.

    Args:
        accuracy: the content of an accuracy.json.
    """
    domains = [str(domain) for domain in accuracy.get("domains") or []]
    table = Table(title="held-out accuracy and nats an example", title_justify="left")
    table.add_column("predictor", no_wrap=True)
    shown = domains if len(domains) > 1 else []
    for heading in ["all", *shown]:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in accuracy.get("rows") or []:
        teacher = "teacher " if row.get("what") == "teacher" else ""
        parts = [row, *((row.get("domains") or {}).get(domain) or {} for domain in shown)]
        cells = [f"{percent(part.get('accuracy'))}  {decimal(part.get('nats'))}" for part in parts]
        table.add_row(Text(f"{teacher}{row.get('name')}"), *cells)
    return table


def difference_table(comparison: Mapping[str, Any]) -> Table:
    """Return each difference of two runs with its interval and what that shows.

    Args:
        comparison: the content of a comparison.json.
    """
    labels = {str(row.get("name")): str(row.get("label") or row.get("name")) for row in comparison.get("rows") or []}
    table = Table(title=f"differences in mean {comparison.get('unit', 'bits per byte')}", title_justify="left")
    for heading in ("of the", "a", "b"):
        table.add_column(heading, no_wrap=True)
    table.add_column("a − b", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("shows", no_wrap=True)
    words = {"lower": Text("a is better", style="bold"), "higher": Text("b is better", style="bold")}
    for entry in comparison.get("differences") or []:
        shown = reading(entry.get("interval"))
        table.add_row(
            str(entry.get("what")),
            *(Text(labels.get(str(entry.get(side)), str(entry.get(side)))) for side in ("a", "b")),
            decimal(entry.get("difference"), sign=True),
            interval(entry.get("interval"), sign=True),
            words.get(shown, Text(shown)),
        )
    return table
