"""``trivium theory``: the framework's theorems, proved, attained or refuted again on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trivium.theory import Report

STYLES = {"PROVED": "bold green", "ATTAINED": "green", "CHECKED": "yellow", "REFUTED": "bold blue"}
SCHEMA = "trivium.theory/1"
_LEVELS = "▁▂▃▄▅▆▇█"


def theory(
    theorems: Annotated[list[str] | None, typer.Argument(help="T0 … T6, T12, T14; all by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write every row and curve here.")] = None,
) -> None:
    """Examine the theorems about the axioms: what is proved, what is attained, what is refuted.

    Exit code 0: everything came out as stated. 1: something did not. 2: bad input, or the solver is not installed. 3:
    anything else.
    """
    import torch
    from rich.text import Text

    from trivium.cli.console import console
    from trivium.jsontext import write_json
    from trivium.theory import MEANING, THEOREMS, examine

    torch.set_num_threads(1)  # the tensors are tiny: two threads take six times as long as one
    start, screen, reports = time.monotonic(), console(), []
    for number in theorems or THEOREMS:
        reports += examine([number])
        _show(reports[-1], screen)
    words = [row.word for report in reports for row in report.rows]
    for word, meaning in MEANING.items():
        if word in words:
            screen.print(Text(f"{word}: {meaning}."), style="dim", soft_wrap=True)
    counts = ", ".join(f"{words.count(word)} {word}" for word in MEANING if word in words)
    failed = [report.theorem for report in reports if not report.holds]
    outcome = f"NOT as stated: {', '.join(failed)}" if failed else "all as stated"
    line = f"{len(reports)} theorems, {len(words)} claims: {counts}; {outcome}. {time.monotonic() - start:.1f} s."
    screen.print(Text(line), style="bold", soft_wrap=True)
    if json is not None:
        data = {"schema": SCHEMA, "holds": not failed, "reports": [report.to_json() for report in reports]}
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, data)
    if failed:
        raise typer.Exit(1)


def _show(report: Report, screen: Console) -> None:
    from rich.text import Text

    screen.print(Text(f"{report.theorem}  {report.title}"), style="bold", soft_wrap=True)
    for row in report.rows:
        word, style = (row.word, STYLES[row.word]) if row.holds else ("NOT AS STATED", "bold red")
        screen.print(Text.assemble("  ", (f"{word:<9}", style), " ", row.claim), soft_wrap=True)
        screen.print(Text(f"{'':12}{row.how}: {row.seen}"), style="dim", soft_wrap=True)
    for curve in report.curves:
        span = f"{curve.y[0]:.3g} → {curve.y[-1]:.3g} in {curve.x[-1]:,.0f} steps"
        screen.print(Text(f"  {sparkline(curve.y)}  {curve.name}: {span}"), soft_wrap=True)
    screen.print()


def sparkline(values: Sequence[float]) -> str:
    """Eight levels between 0 and the largest value, a character a value.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    top = max(values) or 1.0
    return "".join(_LEVELS[min(7, math.floor(8 * max(0.0, value) / top))] for value in values)
