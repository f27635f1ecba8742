"""What the run read: documents, rows and tokens a split, what was dropped, and columns that nothing read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from trivium.report.folder import RunFolder
from trivium.report.numbers import NOTHING
from trivium.report.section import PageSection

_COLUMNS = ("split", "domain", "documents", "dropped", "rows", "tokens", "columns read", "not read")


def data(folder: RunFolder) -> PageSection | None:
    """Build the section from data.json; None for the folder of a run that left none."""
    if folder.data is None:
        return None
    table = {"columns": _COLUMNS, "rows": _rows(folder.data), "numeric": ("documents", "rows", "tokens")}
    return PageSection(
        "data", "Data", "_data.html", table | {"lines": _lines(folder.data), "warnings": _warnings(folder.data)}
    )


def data_table(content: Mapping[str, Any]) -> Table:
    """Return the same for the terminal.

    Args:
        content: of a data.json.
    """
    table = Table(title="data", title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in ("documents", "rows", "tokens") else "left", overflow="fold")
    for row in _rows(content):
        table.add_row(*(Text(cell) for cell in row))
    return table


def data_lines(content: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Sentences below the table, and whether each is a warning."""
    return [(line, False) for line in _lines(content)] + [(f"warning: {line}", True) for line in _warnings(content)]


def _rows(content: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            str(source.get("split")),
            str(source.get("domain")),
            _of(source.get("examined"), source.get("documents")),
            _counted(source.get("dropped") or {}) + (f"; {source['short']} cut short" if source.get("short") else ""),
            _of(source.get("rows"), source.get("available")),
            NOTHING if source.get("tokens") is None else f"{int(source['tokens']):,}",
            ", ".join(map(str, source.get("read") or [])) or NOTHING,
            ", ".join(f"{name} ({kind})" for name, kind in (source.get("unread") or {}).items()) or NOTHING,
        ]
        for source in content.get("sources") or []
    ]


def _of(part: Any, whole: Any) -> str:
    if part is None or whole is None:
        return NOTHING
    return f"{int(part):,}" if part == whole else f"{int(part):,} of {int(whole):,}"


def _counted(dropped: Mapping[str, Any]) -> str:
    return ", ".join(f"{int(count):,} {reason}" for reason, count in dropped.items() if count) or "none"


def _lines(content: Mapping[str, Any]) -> list[str]:
    found = [str(content["sentence"])] if content.get("sentence") else []
    for source in content.get("sources") or []:
        notes = "; ".join(map(str, source.get("notes") or []))
        if notes:
            found.append(f"{source.get('split')}, {source.get('domain')}: {notes}.")
    return found


def _warnings(content: Mapping[str, Any]) -> list[str]:
    return [str(line) for line in content.get("warnings") or []]
