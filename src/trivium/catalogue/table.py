"""The catalogue as it was last asked, kept in the package: what ``trivium rules`` and the docs print."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from trivium.catalogue import ENTRIES
from trivium.catalogue.cells import SECONDS, Cell, cells
from trivium.catalogue.entry import Entry
from trivium.certification.specification import Witness
from trivium.errors import nearest, require
from trivium.jsontext import write_json

FILE = Path(str(files("trivium") / "assets" / "catalogue.json"))
#: One sign a verdict, for tables; a word is spelt out in the details.
SIGNS: Mapping[str, str] = {
    "PROVED": "proved",
    "VERIFIED": "verified",
    "NOT FALSIFIED": "searched",
    "VIOLATED": "broken",
}


def compute(
    only: Collection[str] | None = None,
    seconds: float = SECONDS,
    progress: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Iterator[dict[str, Any]]:
    """Yield every row, asked now: :mod:`trivium.catalogue.cells` for each entry, about two seconds each.

    Args:
        only: keys of rows to ask; the others come from the record. A key that is no row's is refused.
    """
    keys = [entry.key for entry in ENTRIES]
    for key in only or ():
        require(key in keys, "a row must be in the catalogue", repr(key), nearest(key, keys))
    recorded = {row["key"]: row for row in read()} if only is not None else {}
    for entry in ENTRIES:
        if only is not None and entry.key not in only and entry.key in recorded:
            yield recorded[entry.key]
            continue
        found = cells(entry, seconds)
        row = {**identity(entry), "cells": {axiom: cell.to_json() for axiom, cell in found.items()}}
        progress(row)
        yield row


def identity(entry: Entry) -> dict[str, Any]:
    """Return what of a row is written and not found."""
    return {
        "key": entry.key,
        "name": entry.name,
        "form": entry.form,
        "scale": entry.scale,
        "formula": entry.operator.formula(),
        "source": entry.source,
        "cost": entry.cost,
    }


def write(rows: list[dict[str, Any]], path: Path = FILE) -> None:
    """Keep rows as the catalogue's record."""
    write_json(path, rows)


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """Return the rows of the record, in the order of the catalogue."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def cell_of(row: Mapping[str, Any], axiom: str) -> Cell:
    """Return one cell of a row of the record."""
    data = row["cells"][axiom]
    witness = None if data["witness"] is None else Witness.from_json(data["witness"])
    return Cell(data["verdict"], data["note"], witness)
