"""Every text file that the project opens names its encoding.

Ruff's PLW1514 asks the same, but only where it can tell that the receiver is a path; this asks of every call by name.
What it catches that no run does: a file that is read and written by the machine's default, which is UTF-8 here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("src", "scripts", "benchmarks", "examples", "tests", "docs")
#: What opens a text file, with the place of its encoding among the positional arguments.
OPENERS = {"open": 99, "read_text": 0, "write_text": 1}
#: Modules whose ``open`` opens no text file, or is a browser's.
NOT_TEXT = {"os", "tarfile", "zipfile", "webbrowser"}


def unnamed(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function, method = node.func, isinstance(node.func, ast.Attribute)
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name not in OPENERS or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
            continue
        if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") in NOT_TEXT:
            continue
        place = 0 if method else 1
        modes = [k.value for k in node.keywords if k.arg == "mode"] + node.args[place : place + 1]
        binary = any(isinstance(m, ast.Constant) and isinstance(m.value, str) and "b" in m.value for m in modes)
        if not (name == "open" and binary) and len(node.args) <= OPENERS[name]:
            yield node


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("path.open()", 1),
        ("path.open('a')", 1),
        ("open(path, 'w')", 1),
        ("path.read_text()", 1),
        ("path.write_text('')", 1),
        ("path.open('rb')", 0),
        ("open(path, mode='rb')", 0),
        ("path.write_text('', encoding='utf-8')", 0),
        ("path.read_text('utf-8')", 0),
        ("tarfile.open(path)", 0),
    ],
)
def test_the_check_itself(code: str, count: int) -> None:
    assert len(list(unnamed(ast.parse(code)))) == count


@pytest.mark.deep
def test_every_text_file_names_its_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in unnamed(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)
