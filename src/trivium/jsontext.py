"""JSON as every reader takes it: the one writer of the package, and the reader of what users write.

Python writes ``NaN`` and ``Infinity``, which are no JSON: most other readers refuse the whole file for one of them.
Here a number that is not finite is null. Where infinity must not be lost, as in a certificate, it is made a string
before it comes here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def json_text(value: Any, indent: int | None = None, **options: Any) -> str:
    """Return plain values as JSON, null for each number that is not finite.

    Args:
        options: further ones of :func:`json.dumps`, such as ``sort_keys``. Characters beyond ASCII stay as they are
            unless ``ensure_ascii`` is given.

    >>> json_text({"nats": [1.5, float("nan")], "bound": float("-inf")})
    '{"nats": [1.5, null], "bound": null}'
    """
    return json.dumps(finite_or_null(value), indent=indent, allow_nan=False, **{"ensure_ascii": False, **options})


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write ``value`` to ``path``, whole or not at all: a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json_text(value, indent) + "\n", encoding="utf-8")
    partial.replace(path)


#: How JSON writes half of a character beyond the first 65,536; a pair of them is a whole one.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(line: bytes) -> Any:
    """Return plain values from what a user or another program wrote, with nothing passed over.

    Raises:
        ValueError: no JSON in UTF-8; one name twice in an object, of which Python would keep the last; half of a
            character, which no UTF-8 can hold; brackets too deep.

    >>> read_json(b'{"text": "a", "text": "b"}')
    Traceback (most recent call last):
    ValueError: 'text' is there twice
    """
    text = line.decode("utf-8-sig")
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None
    if _HALF.search(text):
        json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, where a half is alone
    return found


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def finite_or_null(value: Any) -> Any:
    """Return the same mappings, lists and values, None in place of each float that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
