"""A section of the page: its words and its charts, ready for a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chart:
    """A Plotly figure whose colours are names of CSS variables, so that one page serves light and dark.

    Attributes:
        id: unique on the page.
        title: shown above it and read out for it.
        data, layout: Plotly's; a string ``var(--ink)/0.5`` is resolved in the browser.
        note: one line below it.
    """

    id: str
    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    note: str = ""


@dataclass(frozen=True)
class PageSection:
    """``template`` renders ``data``; where ``missing`` is set its sentence stands there instead."""

    id: str
    title: str
    template: str
    data: Mapping[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    missing: str = ""


def teacher_colour(index: int) -> str:
    """Return the CSS variable of a teacher's colour. The palette has eight; a ninth teacher starts it again."""
    return f"var(--t{index % 8})"


def line(x: list[Any], y: list[Any], name: str, colour: str, width: float = 1.8, dash: str = "solid") -> dict[str, Any]:
    """Return a Plotly line."""
    style = {"color": colour, "width": width, "dash": dash}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": style}
