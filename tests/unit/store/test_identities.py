"""What goes into an identity: each thing that an answer depends on, once, and nothing that it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trivium.store.code import imported, source_files
from trivium.store.identity import Identity, of_tensor, versions
from trivium.store.modules import of_module


def test_an_identity_is_the_same_however_it_is_written_down() -> None:
    a, b = Identity({"x": 1, "y": {"a": [1, 2], "b": "c"}}), Identity({"y": {"b": "c", "a": (1, 2)}, "x": 1})
    assert a.digest() == b.digest()
    assert a.changed(b.parts) == []


@pytest.mark.parametrize("other", [{"x": 2}, {"x": "1"}, {"x": 1, "y": None}, {}, {"x": [1]}])
def test_any_other_part_is_another_identity(other: dict[str, Any]) -> None:
    assert Identity(other).digest() != Identity({"x": 1}).digest()
    assert Identity(other).changed({"x": 1}) != []


def test_shape_and_type_of_a_tensor_count() -> None:
    value = torch.arange(6, dtype=torch.float32)
    variants = [value, value.view(2, 3), value.view(3, 2), value.view(torch.int32), -value, value.half()]
    assert len({of_tensor(variant) for variant in variants}) == len(variants)
    assert of_tensor(value.view(2, 3).T) == of_tensor(value.view(2, 3).T.contiguous())
    assert of_tensor(torch.tensor([True, False])) != of_tensor(torch.tensor([False, True]))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.tied = nn.Linear(3, 2, bias=False)
        self.tied.weight = self.linear.weight
        self.scale, self.options = 2.0, {"a": [1, "b"], "c": np.arange(3.0)}
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.plain = torch.ones(2)
        self.seen = {3, 1, 2}

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.linear(x)


def changed(change: Callable[[Any], None]) -> str:
    torch.manual_seed(0)
    made = Scaled()
    with torch.no_grad():
        change(made)
    return of_module(made)


def untie(made: Scaled) -> None:
    made.tied.weight = nn.Parameter(made.linear.weight.clone())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.linear.bias.add_(1e-6),
        lambda m: m.table.add_(1),  # never saved, as the frequencies of rotary positions are not
        lambda m: setattr(m, "scale", 3.0),
        lambda m: m.options.update(c=np.arange(3.0) + 1),
        lambda m: m.options["a"].append(1),
        lambda m: m.plain.mul_(2),
        lambda m: m.seen.add(4),
        lambda m: setattr(m, "linear", nn.Linear(3, 2).double()),
        untie,
    ],
)
def test_whatever_a_module_computes_with_is_in_its_identity(change: Callable[[Any], None]) -> None:
    assert changed(change) != changed(lambda made: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.eval(),
        lambda m: m.requires_grad_(False),
        lambda m: m.linear.register_forward_hook(lambda *given: None),
        lambda m: setattr(m, "name_or_path", "elsewhere"),
    ],
)
def test_what_changes_no_answer_is_not(change: Callable[[Any], None]) -> None:
    assert changed(change) == changed(lambda made: None)


def test_each_tensor_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from trivium.store import modules

    read: list[tuple[int, ...]] = []
    monkeypatch.setattr(modules, "of_tensor", lambda tensor: read.append(tuple(tensor.shape)) or "x")
    of_module(Scaled())
    assert sorted(read) == [(2,), (2,), (2, 3), (4,)]  # the tied weight once


def test_a_structure_is_known_without_its_values() -> None:
    first = Scaled()
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.linear.weight.mul_(2)
    assert of_module(first, values=False) == of_module(second, values=False)
    second.linear = nn.Linear(3, 3)
    assert of_module(first, values=False) != of_module(second, values=False)


@pytest.mark.parametrize(
    "line",
    [
        "import helper",
        "import helper as other",
        "from helper import x",
        "from package.helper import x",
        "from package import helper",
        "import package.helper",
        "from package import relative",
        "import importlib\nimportlib.import_module('helper')",
        "__import__('helper')",
        "def later():\n    import helper",
        "import first",
    ],
)
def test_files_beside_are_found_however_they_are_imported(line: str, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name, code in {
        "helper.py": "x = 1\n",
        "first.py": "import second\n",
        "second.py": "import helper\n",
        "package/__init__.py": "",
        "package/helper.py": "x = 1\n",
        "package/relative.py": "from .helper import x\n",
    }.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "mine.py").write_text(f"import os, torch\n{line}\n", encoding="utf-8")
    found = source_files(tmp_path / "mine.py", tmp_path)
    assert any(name.endswith("helper.py") for name in found)
    assert "mine.py" in found


def test_a_file_that_cannot_be_read_as_python_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def (:\n", encoding="utf-8")
    assert imported(tmp_path / "mine.py") == []


def test_releases_that_decide_an_answer_are_named() -> None:
    assert {"python", "torch", "transformers", "numpy"} <= set(versions())
