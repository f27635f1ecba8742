"""JSON as every reader takes it: the one writer of the package.

Python writes ``NaN`` and ``Infinity``, which are no JSON: most other readers refuse the whole file for one of them.
Here a number that is not finite is null. Where infinity must not be lost, as in a certificate, it is made a string
before it comes here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def json_text(value: Any, indent: int | None = None, **options: Any) -> str:
    """Plain values as JSON, null for each number that is not finite.

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


def finite_or_null(value: Any) -> Any:
    """The same mappings, lists and values, None in place of each float that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
