"""The record of the catalogue against what is found now."""

from __future__ import annotations

from collections.abc import Callable, Collection

from trivium.catalogue import ENTRIES
from trivium.catalogue.cells import cells
from trivium.catalogue.entry import Entry
from trivium.catalogue.table import cell_of, identity, read
from trivium.certification.calculus import known
from trivium.certification.falsify import replay
from trivium.certification.specification import Witness


def stale() -> list[str]:
    """Return what the record says of a row that is written elsewhere: rows that are missing, left over or told
    differently."""
    recorded = {row["key"]: row for row in read()}
    lines = [f"{key} is recorded and in no row" for key in recorded if key not in {e.key for e in ENTRIES}]
    for entry in ENTRIES:
        row = recorded.get(entry.key)
        if row is None:
            lines.append(f"{entry.key} is not recorded")
        elif any(row[name] != value for name, value in identity(entry).items()):
            lines.append(f"{entry.key} is recorded with another formula, source, cost, form or scale")
        elif set(row["cells"]) != set(entry.specification.axioms):
            lines.append(f"{entry.key} is recorded with other axioms")
    return lines


def differences(keys: Collection[str], progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Return every axiom of the rows ``keys`` asked again and every witness replayed, a line for each that differs."""
    lines, recorded = stale(), {row["key"]: row for row in read()}
    chosen = [entry for entry in ENTRIES if entry.key in keys and entry.key in recorded]
    for done, entry in enumerate(chosen, start=1):
        found, row = cells(entry), recorded[entry.key]
        for axiom, cell in found.items():
            then = cell_of(row, axiom)
            if then.verdict != cell.verdict:
                lines.append(f"{entry.key}, {axiom}: recorded {then.verdict}, now {cell.verdict}")
            if then.witness is not None and not reproduces(entry, then.witness):
                lines.append(f"{entry.key}, {axiom}: the recorded witness does not break it")
        progress(done, len(chosen))
    return lines


def reproduces(entry: Entry, witness: Witness) -> bool:
    """Return whether a recorded witness still breaks its axiom."""
    return witness.breaks(replay(entry.operator, witness, known(entry.operator, witness.num_teachers)))
