"""Which rows are critical."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import InputError, calling, nearest, require
from trivium.safety import UnsafeSet
from trivium.training.safety_section import SafetySection
from trivium.training.tasks import Tables
from trivium.training.tasks.safe_rows import texts_of, token_ids, with_critical
from trivium.weighting.loading import load_object


def marked_tables(section: SafetySection, unsafe: UnsafeSet, tokenizer: Any, tables: Tables, base: Path) -> Tables:
    """Return the tables with the column ``critical``, 0 or 1 a row.

    Raises:
        InputError: no critical row in a split; a domain that does not exist, a column that is not there.
    """
    classify = _classifier(section.critical.classifier, base)

    def marked(split: str, rows: Table | None) -> Any:
        if rows is None:
            return None
        critical = critical_rows(section, rows, tokenizer, classify)
        states = unsafe.states(token_ids(rows), rows.task, rows.labels.shape[1])
        exposed = (unsafe.exposed(states) & rows.mask).any(-1) if split != "train" else critical
        require(
            bool((critical & exposed).any()),
            f"the {split} data must hold critical inputs on which something is unsafe",
            f"{int(critical.sum())} critical of {len(rows)} rows",
            "Widen safety.critical, or take more rows.",
        )
        return with_critical(rows, critical)

    return Tables(marked("train", tables.train), marked("validation", tables.validation), marked("test", tables.test))


def _classifier(reference: str | None, base: Path) -> Callable[[list[str]], Any] | None:
    if reference is None:
        return None
    require(".py:" in reference, "safety.critical.classifier must be FILE.py:NAME", repr(reference), "Name a function.")
    found = load_object(reference, base)
    require(callable(found), f"{reference} must be a function", type(found).__name__, "From texts to 0 or 1.")
    return found  # type: ignore[no-any-return]


def critical_rows(
    section: SafetySection, rows: Table, tokenizer: Any, classify: Callable[[list[str]], Any] | None = None
) -> Tensor:
    """Return which rows are critical, bool [N]: those of which everything that the section names holds."""
    given = section.critical
    found = torch.ones(len(rows), dtype=torch.bool)
    if given.column is not None:
        found &= rows.columns[given.column].squeeze(-1) > 0.5
    if given.domains is not None:
        for name in given.domains:
            if name not in rows.domains:
                raise InputError("safety.critical.domains must name domains", repr(name), nearest(name, rows.domains))
        found &= torch.isin(rows.domain, torch.tensor([rows.domains.index(name) for name in given.domains]))
    if given.regex is not None or classify is not None:
        texts = texts_of(rows, tokenizer)
        if given.regex is not None:
            try:
                pattern = re.compile(given.regex)
            except re.error as error:
                raise InputError(
                    "safety.critical.regex must be a regular expression", str(error), "Mend it."
                ) from error
            found &= torch.tensor([pattern.search(text) is not None for text in texts])
        if classify is not None:
            with calling("the classifier of critical inputs must read texts", "Call it in Python to see."):
                answers = torch.as_tensor([float(answer) for answer in classify(texts)])
            require(
                answers.shape == (len(rows),),
                "the classifier of critical inputs must answer once a text",
                f"{list(answers.shape)} for {len(rows)}",
                "Return a list of 0 or 1.",
            )
            found &= answers > 0.5
    return found
