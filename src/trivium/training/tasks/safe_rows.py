"""What safety asks of rows, whichever kind they are: the tokens before each position, their text, one more column."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from trivium.data.examples import Examples
from trivium.data.rows import Rows
from trivium.data.table import Table
from trivium.errors import InputError


def token_ids(rows: Table) -> Tensor | None:
    """Return what stands before each position, [N, T]; None for rows that are no text."""
    return rows.input_ids if isinstance(rows, Rows) else None


def texts_of(rows: Table, tokenizer: Any) -> list[str]:
    """Return the text of each row: of a window of text what is predicted in it.

    Raises:
        InputError: rows that are no texts.
    """
    if isinstance(rows, Rows):
        return [tokenizer.decode(labels[labels >= 0]) for labels in rows.labels]
    values = rows.inputs.values.get("text") if isinstance(rows, Examples) else None
    if values is None or isinstance(values, Tensor):
        raise InputError("safety.critical.regex and classifier need texts", "other inputs", "Name a column or domains.")
    return list(values)


def with_critical(rows: Table, critical: Tensor) -> Table:
    """Return the rows with a column ``critical``, 0 or 1.

    Raises:
        InputError: rows of a user's own kind, which cannot be copied.
    """
    if not isinstance(rows, Rows | Examples):
        raise InputError("safety needs rows of text or examples", type(rows).__name__, "Leave the section out.")
    found: Table = dataclasses.replace(rows, columns={**rows.columns, "critical": critical.float().unsqueeze(-1)})
    return found
