"""The data table of a run: documents, rows and tokens of every split, what was dropped and why, what nothing reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trivium.data.table import Table
from trivium.training.recipe import Recipe
from trivium.training.tasks.base import Lengths


def data_table(
    recipe: Recipe, tables: Mapping[str, Table], lengths: Callable[[Table], Lengths], processes: int = 1
) -> dict[str, Any]:
    """Return the content of ``data.json``.

    Args:
        tables: the rows of each split.
        lengths: counts the tokens of a split's domains where their census cannot, with sentences on what is cut.
        processes: that train side by side.

    Returns:
        ``sources``: a count for each split and domain, see :class:`trivium.data.census.Count`; ``training``: how many
        rows all steps read, of how many; ``warnings``: sentences. Plain values.
    """
    sources, warnings = [], []
    for split, rows in tables.items():
        tokens, cut = lengths(rows)
        for number, count in enumerate(rows.census):
            plain = count.to_json()
            if number in tokens:
                plain["tokens"] = tokens[number]
            sources.append({"split": split, **plain})
            warnings += [f"{split} data: {line}" for line in count.warnings()]
        warnings += [f"{split} data: {line}" for line in cut]
    train = recipe.train
    taken = train.steps * train.batch_size * train.accumulation * processes
    return {
        "kind": recipe.data.kind,
        "sources": sources,
        "training": {"rows": len(tables["train"]), "read": taken},
        "sentence": steps_sentence(len(tables["train"]), taken),
        "warnings": warnings,
    }


def steps_sentence(rows: int, taken: int) -> str:
    """Return how much of the training rows the steps read.

    >>> steps_sentence(400, 100)
    'All steps together read 100 of 400 training rows.'
    >>> steps_sentence(400, 1000)
    'All steps together read 1,000 training rows: each of 400 about 2.5 times.'
    """
    if taken < rows:
        return f"All steps together read {taken:,} of {rows:,} training rows."
    return f"All steps together read {taken:,} training rows: each of {rows:,} about {taken / rows:.3g} times."
