"""Print docstrings of the public API that a seed draws, to be read side by side for two trees.

``python scripts/docstring_sample.py`` draws 40 of this tree. ``--tree DIRECTORY`` reads another checkout, ``--names
FILE`` prints the ones that a file lists, a name a line, instead of drawing: write the names of one tree with ``--list``
and print the same ones of the other. What a later tree calls otherwise is found by ``old = new`` on the line.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def public(tree: Path) -> dict[str, str]:
    """The docstring of every public module, class, function and method under ``src/trivium``, by its dotted name."""
    source = tree / "src"
    return dict(item for path in sorted((source / "trivium").rglob("*.py")) for item in _of_file(source, path))


def _of_file(source: Path, path: Path) -> Iterator[tuple[str, str]]:
    parts = path.relative_to(source).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    if not any(part.startswith("_") for part in parts):
        yield from _of_node(ast.parse(path.read_text(encoding="utf-8")), ".".join(parts))


def _of_node(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node)
    if text:
        yield name, text
    if isinstance(node, ast.FunctionDef):
        return  # what stands inside a function is nobody's to call
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield from _of_node(child, f"{name}.{child.name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the drawn docstrings; the exit code is 1 where a listed name has none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--names", type=Path, help="print these, a name a line, `old = new` where it was renamed")
    parser.add_argument("--list", action="store_true", help="print the names alone")
    given = parser.parse_args(arguments)
    found = public(given.tree)
    if given.names is None:
        drawn = sorted(random.Random(given.seed).sample(sorted(found), min(given.count, len(found))))
    else:
        lines = [line for line in given.names.read_text(encoding="utf-8").splitlines() if line.strip()]
        drawn = [
            next((n for n in reversed([p.strip() for p in line.split("=")]) if n in found), line) for line in lines
        ]
    for name in drawn:
        print(name if given.list else f"## {name}\n\n{found.get(name, '(none)')}\n")
    return int(any(name not in found for name in drawn))


if __name__ == "__main__":
    sys.exit(main())
