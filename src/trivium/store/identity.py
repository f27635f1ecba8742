"""What a result depends on, by name. A result is reused only where every part of its identity is the same."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from trivium.jsontext import json_text

#: The packages whose code decides what a model answers and how it is kept.
_LIBRARIES = ("trivium", "torch", "transformers", "numpy")


@dataclass(frozen=True)
class Identity:
    """Everything that a result depends on.

    Attributes:
        parts: plain values by name: strings, numbers, lists and mappings of those.

    >>> a = Identity({"rows": "12ab", "files": {"rule.py": "77"}})
    >>> a.changed({"rows": "12ab", "files": {"rule.py": "78"}})
    ['files.rule.py']
    >>> a.digest() == Identity({"files": {"rule.py": "77"}, "rows": "12ab"}).digest()
    True
    """

    parts: Mapping[str, Any]

    def digest(self) -> str:
        """Return SHA-256 of all parts, 32 hex digits; a file's name, say."""
        return sha256(canonical(self.parts))[:32]

    def changed(self, begun: Mapping[str, Any]) -> list[str]:
        """Return the names of the parts that differ from those of ``begun``, dotted where a part is a mapping."""
        return _changed(json.loads(canonical(begun)), json.loads(canonical(self.parts)))


def _changed(begun: Any, now: Any) -> list[str]:
    if not (isinstance(begun, Mapping) and isinstance(now, Mapping)):
        return [] if begun == now else [""]
    names = list(dict.fromkeys([*begun, *now]))
    absent = object()
    return [
        f"{name}.{inner}" if inner else str(name)
        for name in names
        for inner in _changed(begun.get(name, absent), now.get(name, absent))
    ]


def canonical(value: Any) -> str:
    """Return JSON with sorted keys: equal values are equal text."""
    return json_text(value, sort_keys=True, separators=(",", ":"))


def sha256(data: str | bytes | memoryview) -> str:
    """64 hex digits."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def of_tensor(tensor: Tensor) -> str:
    """Return SHA-256 of a tensor's shape, type and values, 64 hex digits."""
    plain = tensor.detach().cpu().contiguous()
    head = f"{tuple(plain.shape)}{plain.dtype}:".encode()
    found = hashlib.sha256(head)
    found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def of_table(tensors: Mapping[str, Tensor], columns: Mapping[str, Tensor], names: Sequence[Any]) -> str:
    """Of a table of rows, 32 hex digits.

    Args:
        tensors: by name. columns: likewise, those that the data hold for a scheme. names: plain values.
    """
    parts = {"tensors": tensors, "columns": columns}
    digests = {part: {name: of_tensor(value) for name, value in held.items()} for part, held in parts.items()}
    return Identity({**digests, "names": list(names)}).digest()


def versions() -> dict[str, str]:
    """Return the releases of Python and of the libraries whose code decides what a model answers."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a partial installation computes nothing with it
            continue
    return found
