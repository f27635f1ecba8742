"""A certificate on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trivium.certification.certificate import Certificate
from trivium.certification.page import MEANING, PER_ENTRY, rows, run_lines, summary
from trivium.cli.console import console as made

STYLES = {"PROVED": "bold green", "VERIFIED": "green", "NOT FALSIFIED": "yellow", "VIOLATED": "bold red"}


def show(certificate: Certificate, console: Console | None = None, derivation: bool = True) -> None:
    """Formula, table, derivation (unless told to leave it to the report), monitor, and one sentence that sums up."""
    console = console or made()
    console.print(Text(certificate.description))
    if certificate.per_entry:
        console.print(Text(PER_ENTRY, style="yellow"), soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("axiom", "asked", "verdict", "residual", "where"):
        table.add_column(name, no_wrap=name in ("axiom", "verdict"), overflow="fold")
    for row in rows(certificate):
        dim = "" if row.verdict else "dim"
        cells = [Text(cell, style=dim) for cell in row]
        cells[2] = Text(row.verdict, style=STYLES.get(row.verdict, ""))
        table.add_row(*cells)
    console.print()
    console.print(table)
    console.print()
    lines = [*certificate.derivation, *(line for result in certificate.results for line in result.derivation)]
    lines = lines if derivation else []
    searched: dict[str, list[str]] = {}
    for result in certificate.results:
        if result.verdict in ("NOT FALSIFIED", "VIOLATED") and result.search:
            searched.setdefault(result.search, []).append(result.axiom)
    lines += [f"{', '.join(axioms)}: searched {what}" for what, axioms in searched.items()]
    lines += run_lines(certificate.run) if certificate.run is not None else []
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.print()
    console.print(Text(summary(certificate), style="bold"), soft_wrap=True)
    for word in MEANING:
        if any(result.verdict == word for result in certificate.results):
            console.print(Text(f"{word}: {MEANING[word]}."), style="dim", soft_wrap=True)
