"""``trivium rules``: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"proved": "bold green", "verified": "green", "searched": "yellow", "broken": "bold red"}


def rules(
    name: Annotated[str | None, typer.Argument(help="A rule, for its formula, source, cost and each axiom.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask every axiom again and replay every witness.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the rows here, with the witnesses.")] = None,
) -> None:
    """Print every weighting rule, as published and as conforming: what it keeps and what it breaks.

    Exit code 0: printed, and with --check everything came out as recorded. 1: something did not. 2: bad input.
    """
    from trivium.catalogue import table
    from trivium.cli.console import console
    from trivium.errors import InputError, nearest

    rows, screen = table.read(), console()
    if name is not None:
        chosen = [row for row in rows if name in (row["name"], row["key"])]
        if not chosen:
            known = [row["name"] for row in rows]
            raise InputError("a rule must be in the catalogue", repr(name), nearest(name, known))
        rows = chosen
        for row in rows:
            _details(row, screen)
    else:
        _table(rows, screen)
    if json is not None:
        table.write(rows, json)
    if check and not _check({row["key"] for row in rows}, screen):
        raise typer.Exit(1)


def _table(rows: list[dict[str, Any]], screen: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from trivium.catalogue.table import SIGNS

    axioms = list(rows[0]["cells"])
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("rule", "form", "scale", *axioms):
        shown.add_column(title, no_wrap=True)
    for row in rows:
        signs = [SIGNS[row["cells"][axiom]["verdict"]] for axiom in axioms]
        shown.add_row(row["name"], row["form"], row["scale"], *(Text(sign, style=STYLES[sign]) for sign in signs))
    screen.print(shown)
    screen.print(Text(explained(), style="dim"), soft_wrap=True)


def explained() -> str:
    """What was asked, in a sentence."""
    from trivium.catalogue.entry import INFLUENCE, LIPSCHITZ, TEACHERS

    return (
        f"Asked of all, for {TEACHERS} teachers: influence of at most {INFLUENCE:g} nats (W-B), "
        f"{LIPSCHITZ:g} nats a unit of the features (W-R), "
        "the safety order a > b > c (W-S; only a projection is told it). "
        "`trivium rules NAME` shows formula, source, bounds and what each witness does."
    )


def _details(row: dict[str, Any], screen: Console) -> None:
    from rich.text import Text

    from trivium.catalogue.table import SIGNS

    screen.print(Text(f"{row['key']} ({row['form']}, {row['scale']} scale)", style="bold"))
    for label in ("formula", "source", "cost"):
        screen.print(Text(f"  {label:<8} {row[label]}"), soft_wrap=True)
    for axiom, cell in row["cells"].items():
        style = STYLES[SIGNS[cell["verdict"]]]
        screen.print(Text.assemble(f"  {axiom}      ", (f"{cell['verdict']:<14}", style), cell["note"]), soft_wrap=True)
    screen.print()


def _check(keys: set[str], screen: Console) -> bool:
    from rich.text import Text

    from trivium.catalogue.check import differences
    from trivium.cli.progress import shown

    with shown() as progress:
        found = differences(keys, lambda done, total: progress("asking again", done, total))
    for line in found:
        screen.print(Text(line, style="bold red"), soft_wrap=True)
    if not found:
        screen.print(Text(f"{len(keys)} rows asked again: every verdict as recorded, every witness reproduced."))
    return not found
