"""``trivium rules``: the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "proved": "bold green",
    "holds": "bold green",
    "verified": "green",
    "searched": "yellow",
    "broken": "bold red",
}


def rules(
    name: Annotated[
        str | None, typer.Argument(help="A rule or pool, for all that is known of it; or a RECIPE.yaml.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask every axiom again and replay every witness.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the rows here, with the witnesses.")] = None,
) -> None:
    """Print every weighting rule, as published and as conforming, every pool and every softening operator: what each
    keeps and what it breaks. Of a recipe: its scheme, and where that was fitted, the strengths with their intervals.

    Exit code 0: printed, and with --check everything came out as recorded. 1: something did not. 2: bad input. 3:
    anything else.
    """
    from rich.text import Text

    from trivium.aggregation.claims import claims
    from trivium.catalogue import table
    from trivium.cli.console import console
    from trivium.errors import InputError, nearest, require

    rows, screen = table.read(), console()
    if name is not None and name.endswith((".yaml", ".yml")):
        require(json is None and not check, "--check and --json are about the catalogue", name, "Leave them out.")
        _of_recipe(Path(name), screen)
        return
    aggregation = [row for claimed in claims() for row in claimed.to_json()]
    if name is not None:
        others = [row for row in aggregation if name in (row["name"], row["name"].split(",")[0])]
        chosen = [row for row in rows if name in (row["name"], row["key"], row["name"].split()[0])]
        if not chosen and not others:
            known = [row["name"] for row in [*rows, *aggregation]]
            raise InputError("a rule or pool must be in the catalogue", repr(name), nearest(name, known))
        rows = chosen
        for row in [*chosen, *others]:
            _details(row, screen)
    else:
        _table(rows, ("name", "form", "scale"), screen)
        screen.print(Text(explained(), style="dim"), soft_wrap=True)
        for title, claimed in zip(("aggregator", "softening"), claims(), strict=True):
            screen.print()
            _table(claimed.to_json(), ("name",), screen, title)
    if json is not None:
        table.write(rows, json)
    if check and rows and not _check({row["key"] for row in rows}, screen):
        raise typer.Exit(1)


def _of_recipe(path: Path, screen: Console) -> None:
    from trivium.report.fitting import strengths_table
    from trivium.training.build import build_scheme
    from trivium.training.fitting import fit_record
    from trivium.training.recipe import load_recipe

    recipe = load_recipe(path)
    screen.print(str(build_scheme(recipe, path.parent)), highlight=False, soft_wrap=True)
    record = fit_record(recipe, path.parent)
    if record is not None:
        screen.print(record["missing"] if "missing" in record else strengths_table(record), soft_wrap=True)


def _table(rows: Sequence[Mapping[str, Any]], told: Sequence[str], screen: Console, title: str = "rule") -> None:
    """Two lines a row: what is ``told`` of it with a sign for each axiom; then its formula, cost and source."""
    from rich.text import Text

    axioms = list(rows[0]["cells"])
    table = [(title, *told[1:], *axioms)]
    table += [(*(row[n] for n in told), *(sign_of(row["cells"][a]["verdict"]) for a in axioms)) for row in rows]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    for line, row in zip(table, (None, *rows), strict=True):
        cells = [
            (cell.ljust(width), "bold" if row is None else STYLES.get(cell, ""))
            for cell, width in zip(line, widths, strict=True)
        ]
        screen.print(Text(" ").join(Text(*cell) for cell in cells), soft_wrap=True)
        if row is not None:
            rest = " · ".join(row[name] for name in ("formula", "cost", "source"))
            screen.print(Text(f"    {rest}", style="dim"), soft_wrap=True)


def sign_of(verdict: str) -> str:
    """Return one word for a table. What is claimed of pools is proved on paper and attacked by tests: *holds*."""
    from trivium.catalogue.table import SIGNS

    return {"HOLDS": "holds", "BROKEN": "broken", **SIGNS}[verdict]


def explained() -> str:
    """Return what was asked, in a sentence."""
    from trivium.catalogue.entry import INFLUENCE, LIPSCHITZ, TEACHERS

    return (
        f"Asked of all, for {TEACHERS} teachers: influence of at most {INFLUENCE:g} nats (W-B), "
        f"{LIPSCHITZ:g} nats a unit of the features (W-R), "
        "the safety order a > b > c (W-S; only a projection is told it), whatever gradients the teachers have (W-C). "
        "`trivium rules NAME` shows formula, source, bounds and what each witness does."
    )


def _details(row: Mapping[str, Any], screen: Console) -> None:
    from rich.text import Text

    place = f" ({row['form']}, {row['scale']} scale)" if "form" in row else ""
    screen.print(Text(f"{row.get('key', row['name'])}{place}", style="bold"))
    for label in ("formula", "source", "cost"):
        screen.print(Text(f"  {label:<8} {row[label]}"), soft_wrap=True)
    for axiom, cell in row["cells"].items():
        domain = f" ({cell['domain']})" if cell.get("domain") else ""
        style = STYLES[sign_of(cell["verdict"])]
        line = Text.assemble(f"  {axiom:<8} ", (f"{cell['verdict']:<14}", style), cell["note"], domain)
        screen.print(line, soft_wrap=True)
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
