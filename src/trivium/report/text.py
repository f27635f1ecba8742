"""The coloured page: held-out text, each token in the colour of the teacher that weighed most in predicting it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trivium.report.folder import RunFolder
from trivium.report.numbers import counted, decimal, finite
from trivium.report.section import PageSection

#: Tokens of one document that are shown; more would make the page slow to open and nobody reads them.
_SHOWN: Final = 3000
_SCALES: Final = ("all", "token", "task", "context")
#: Control characters that HTML cannot hold or a reader cannot see, as their pictures; tab and newline stay.
_PICTURES: Final = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}


def text(folder: RunFolder) -> PageSection | None:
    """Build the section from sample.json; None for a run on examples, which has no text."""
    if folder.sample is None and folder.accuracy is not None:
        return None
    if folder.sample is None:
        sentence = f"sample.json {folder.faults['sample.json']}, so no text is shown."
        return PageSection("text", "Test text by teacher", "_text.html", missing=sentence)
    # These are the first of the page's teachers, so a teacher has its colour here too.
    teacher_names = [str(name) for name in folder.sample.get("teachers") or folder.teacher_names]
    documents = [_document(document, len(teacher_names)) for document in folder.sample.get("documents") or []]
    domains = list(dict.fromkeys(document["domain"] for document in documents))
    scales = [scale for scale in _SCALES if any(document["packed"][scale] for document in documents)]
    data = {
        "documents": documents,
        "domains": domains,
        "scales": scales,
        "teachers": teacher_names,
        # Index of the document → scale → thousandths, teacher by teacher: a third of the bytes of nested decimals.
        "weights": [{scale: document["packed"][scale] for scale in scales} for document in documents],
    }
    missing = "" if documents else "sample.json holds no documents, so no text is shown."
    return PageSection("text", "Test text by teacher", "_text.html", data, missing=missing)


def _document(document: Mapping[str, Any], num_teachers: int) -> dict[str, Any]:
    tokens = [str(token) for token in document.get("tokens") or []]
    shown = tokens[:_SHOWN]
    weights = document.get("weights") or {}
    packed = {scale: _packed(weights.get(scale), len(shown), num_teachers) for scale in _SCALES}
    left_out = len(tokens) - len(shown)
    return {
        "domain": str(document.get("domain") or "text"),
        "name": str(document.get("name") or ""),
        "tokens": [_token(token, packed["all"], index, num_teachers) for index, token in enumerate(shown)],
        "packed": packed,
        "means": _means(packed["all"], num_teachers),
        "note": f"the first {counted(len(shown), 'token')}; {left_out:,} more are not shown" if left_out else "",
    }


def _packed(rows: Any, tokens: int, num_teachers: int) -> list[int | None]:
    """Thousandths, teacher by teacher and token by token; None for what is not a number. Empty when absent."""
    if not isinstance(rows, Sequence) or not rows:
        return []
    flat: list[int | None] = []
    for index in range(tokens):
        row = rows[index] if index < len(rows) and isinstance(rows[index], Sequence) else []
        values = [finite(row[k]) if k < len(row) else None for k in range(num_teachers)]
        flat += [None if value is None else round(1000 * value) for value in values]
    return flat


def _token(token: str, packed: Sequence[int | None], index: int, num_teachers: int) -> dict[str, Any]:
    """Return the token's pieces between newlines, its dominant teacher (−1: unknown) and how strongly to colour it."""
    row = packed[index * num_teachers : (index + 1) * num_teachers]
    known = [(value, -k) for k, value in enumerate(row) if value is not None]
    weight, negative = max(known, default=(0, 1))
    return {
        "pieces": visible(token).split("\n"),
        "teacher": -negative % 8 if known else -1,
        "opacity": strength(weight, num_teachers),
    }


def strength(thousandths: float, num_teachers: int) -> float:
    """0 for a weight of 1/K, which dominates nothing, to 1 for a weight of one.

    >>> strength(1000, 3), strength(500, 2), strength(1000, 1)
    (1.0, 0.0, 1.0)
    """
    even = 1000 / max(num_teachers, 1)
    return 1.0 if num_teachers <= 1 else round(min(1.0, max(0.0, (thousandths - even) / (1000 - even))), 2)


def visible(token: str) -> str:
    r"""Return the token with a picture for every control character and a replacement for half a surrogate pair.

    >>> visible("a\x00\n\r"), visible("\ud83d")
    ('a␀\n␍', '�')
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", token.translate(_PICTURES))


def _means(packed: Sequence[int | None], num_teachers: int) -> list[dict[str, Any]]:
    means = []
    for k in range(num_teachers):
        known = [value for value in packed[k::num_teachers] if value is not None]
        if known:
            mean = sum(known) / len(known) / 1000
            means.append({"teacher": k, "mean": decimal(mean), "percent": round(100 * mean, 1)})
    return means
