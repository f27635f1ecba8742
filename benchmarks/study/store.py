"""Finished cells, one JSON line each, in the ignored work folder; a stopped run goes on from them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from trivium.jsontext import json_text


class Cell(NamedTuple):
    """One run. ``data`` is the digest of all that it depends on besides (:func:`benchmarks.study.harness.identity`),
    ``formula`` the arm's scheme: a cell that was run on other data, by other code or under another rule is another."""

    setting: str
    condition: str
    corruption: str
    arm: str
    seed: int
    steps: int
    formula: str
    data: str

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:20]  # noqa: TID251


class Store:
    """The file of finished cells. Only one process appends to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        if path.is_file():
            for line in self._lines():
                if "failed" not in line:  # failing costs nothing, and what failed may have been mended since
                    self.done[line["key"]] = line

    def _lines(self) -> Iterator[dict[str, Any]]:
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the last line of a killed run may be half

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self.done

    def __getitem__(self, cell: Cell) -> dict[str, Any]:
        return self.done[cell.key]

    def add(self, cell: Cell, result: dict[str, Any]) -> None:
        line = {"key": cell.key, **cell._asdict(), **encoded(result)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # After a kill the file may end inside a line: a fresh one starts after a newline of its own.
        start = "\n" if self._ends_inside_a_line() else ""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(start + json_text(line) + "\n")
        self.done[cell.key] = line

    def _ends_inside_a_line(self) -> bool:
        if not self.path.is_file() or self.path.stat().st_size == 0:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"


def encoded(value: Any) -> Any:
    """Tensors as base64 of float32: a cell holds thousands of numbers."""
    if isinstance(value, torch.Tensor):
        return {"float32": base64.b64encode(value.numpy().astype("<f4").tobytes()).decode()}
    if isinstance(value, dict):
        return {key: encoded(item) for key, item in value.items()}
    return value


def array(value: dict[str, str]) -> np.ndarray:
    """The inverse of :func:`encoded` for one tensor, float64."""
    return np.frombuffer(base64.b64decode(value["float32"]), "<f4").astype(np.float64)
