"""An account of the data of one source: what was found, what was dropped and why, and what nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

#: Share of a source's documents above which dropping them is a warning.
TOLERATED = 0.01


@dataclass(frozen=True)
class Count:
    """One domain's data in one split, counted.

    Attributes:
        domain, source: its name, and the reference that it was read from.
        documents: found there, those that were dropped included; an example is a document.
        examined: of those, how many were looked at: reading ends where there are enough rows to draw from.
        dropped: by reason, how many of those looked at.
        short: documents that were cut short.
        rows, available: rows that the run reads, and how many there were to draw them from.
        tokens: that are predicted in these rows; of examples, that the student reads; None where it reads no text.
        read, unread: columns; of those that nothing reads also what they hold.
        notes: what else to know of it, a sentence each; ``alerts`` are those that are warnings.
    """

    domain: str
    source: str
    documents: int
    examined: int
    rows: int
    available: int
    tokens: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    short: int = 0
    read: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        return sum(self.dropped.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain values under the names of the attributes."""
        plain = {name: value for name, value in self.__dict__.items() if name != "alerts"}
        return {
            **plain,
            "dropped": dict(self.dropped),
            "unread": dict(self.unread),
            "read": list(self.read),
            "notes": [*self.alerts, *self.notes],
        }

    def warnings(self) -> list[str]:
        """Return what a user has to be told, without the name of the split."""
        found = list(self.alerts)
        if self.lost > TOLERATED * self.examined:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
            found.append(f"{self.lost} of {self.examined} documents of {self.domain!r} are dropped: {reasons}")
        found += [
            f"column {name!r} of {self.domain!r} holds texts that nothing reads"
            for name, kind in self.unread.items()
            if kind == TEXTS
        ]
        return found


def unknown_token(tokenizer: Any) -> int | None:
    """Return the id that stands for text which a tokenizer has no token for; None where it has one for everything, or
    where the id is that of a token with another use."""
    found, others = tokenizer.unk_token_id, (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return None if found is None or found in others else int(found)


def unknown_alert(unknown: int, tokens: int) -> str | None:
    """Return what to say of tokens that stand for text which no token stands for; None where they are few.

    >>> unknown_alert(30, 1000)
    '30 of 1,000 tokens stand for text that the tokenizer does not know'
    """
    if unknown <= TOLERATED * tokens:
        return None
    return f"{unknown:,} of {tokens:,} tokens stand for text that the tokenizer does not know"


#: What a column of sentences holds; see :func:`kind_of`.
TEXTS = "texts"


def kind_of(values: Iterable[object]) -> str:
    """Return what a column holds: ``texts`` of several words, ``words`` (names, ids), ``numbers``, ``lists``, or
    ``mixed``.

    >>> kind_of(["a cat sits", None, "and sleeps on"]), kind_of(["id-1", "id-2"]), kind_of([1, 2.5]), kind_of([[1, 2]])
    ('texts', 'words', 'numbers', 'lists')
    """
    if isinstance(values, Tensor | np.ndarray) and not (isinstance(values, np.ndarray) and values.dtype.kind in "US"):
        return "numbers"
    known = [value for value in values if value is not None]
    if not known:
        return "nothing"
    if all(isinstance(value, str) for value in known):
        several = sum(len(str(value).split()) > 1 for value in known)
        return TEXTS if 2 * several >= len(known) else "words"
    if all(isinstance(value, int | float) for value in known):
        return "numbers"
    return "lists" if all(isinstance(value, list | tuple) for value in known) else "mixed"


def unread_of(columns: Mapping[str, Iterable[object]], read: Iterable[str]) -> dict[str, str]:
    """Return the columns that are not in ``read``, and what each holds."""
    used = set(read)
    return {name: kind_of(values) for name, values in columns.items() if name not in used}
