"""Every class of the package has a name of its own.

What this catches that no other test does: a second class of a name that another room has already, which a reader, a
traceback and a search would confuse.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import trivium

SOURCE = Path(trivium.__file__).resolve().parent


def classes(source: Path) -> dict[str, list[str]]:
    """The files of each class by its name, also of classes inside functions."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(source)))
    return found


def test_no_class_name_is_there_twice() -> None:
    assert {name: files for name, files in classes(SOURCE).items() if len(files) > 1} == {}


def test_two_classes_of_one_name_are_seen(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Trace: ...\n", encoding="utf-8")
    (tmp_path / "two.py").write_text("def make():\n    class Trace: ...\n", encoding="utf-8")
    assert classes(tmp_path)["Trace"] == ["one.py", "two.py"]
