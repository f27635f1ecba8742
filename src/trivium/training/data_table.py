"""The data table of a run: documents, rows and tokens of every split, what was dropped and why, what nothing reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from trivium.data.census import TOLERATED, unknown_alert
from trivium.data.examples import Examples, Table
from trivium.data.labelled import PAIR
from trivium.teachers.transformers_classifier import TransformersClassifier
from trivium.training.recipe import Recipe

#: How many texts are tokenized at once to be counted.
_AT_ONCE = 4096


def data_table(
    recipe: Recipe, tables: Mapping[str, Table], readers: Mapping[str, TransformersClassifier], processes: int = 1
) -> dict[str, Any]:
    """The content of ``data.json``.

    Args:
        tables: the rows of each split.
        readers: of examples, the models that tokenize texts, student first, under the names that sentences call them.
        processes: that train side by side.

    Returns:
        ``sources``: a count for each split and domain, see :class:`trivium.data.census.Count`; ``training``: how many
        rows all steps read, of how many; ``warnings``: sentences. Plain values.
    """
    sources, warnings = [], []
    for split, rows in tables.items():
        tokens, cut = _lengths(rows, readers) if isinstance(rows, Examples) else ({}, [])
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
    """How much of the training rows the steps read.

    >>> steps_sentence(400, 100)
    'All steps together read 100 of 400 training rows.'
    >>> steps_sentence(400, 1000)
    'All steps together read 1,000 training rows: each of 400 about 2.5 times.'
    """
    if taken < rows:
        return f"All steps together read {taken:,} of {rows:,} training rows."
    return f"All steps together read {taken:,} training rows: each of {rows:,} about {taken / rows:.3g} times."


def _lengths(rows: Examples, readers: Mapping[str, TransformersClassifier]) -> tuple[dict[int, int], list[str]]:
    """The tokens that the first reader reads of each domain, and a sentence for each reader that cuts many
    texts, or knows little of them."""
    values = [value for name, value in rows.inputs.values.items() if name in ("text", PAIR)]
    texts = [value for value in values if not isinstance(value, Tensor)]
    if not texts:
        return {}, []
    tokens: dict[int, int] = {}
    said = []
    for who, reader in readers.items():
        counted = [pair for part in _parts(texts) for pair in reader.counted(*part)]
        found, unknown = [length for length, _ in counted], sum(missed for _, missed in counted)
        alert = unknown_alert(unknown, sum(found))
        said += [] if alert is None else [f"{alert}, that of {who}"]
        if not tokens:
            for number, length in zip(rows.domain.tolist(), found, strict=True):
                tokens[number] = tokens.get(number, 0) + min(length, reader.window)
        cut = sum(length > reader.window for length in found)
        if cut > TOLERATED * len(found):
            said.append(f"{who} reads the first {reader.window} tokens alone of {cut} of {len(found)} texts")
    return tokens, said


def _parts(texts: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    for begin in range(0, len(texts[0]), _AT_ONCE):
        yield [column[begin : begin + _AT_ONCE] for column in texts]
