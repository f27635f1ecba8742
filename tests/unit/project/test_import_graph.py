"""Every module is used by a command, a public name or an entry point, not by tests alone.

A room's ``__init__`` only passes names on: what it imports counts as used where the name is, in its own code or in a
module that is used itself. So a file that nothing but its room's list of names mentions is found.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import trivium

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: Used by no run, with the reason why it stays.
EXCEPTIONS = {
    "trivium.testing": "a user's own tests import it, and nothing of the library may",
    "trivium.gradients": "the audit of effective weights, which runs are to show live; documented under its own page",
    "trivium.safety.rare": "an audit of whole completions, which a user calls; no run samples that many",
}


def modules() -> dict[str, Path]:
    """Every module of the package by name."""
    found = {}
    for path in sorted((SOURCE / "trivium").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imported(name: str) -> dict[str, str]:
    """Local name → what it stands for, of every import in a module, those inside functions included."""
    found: dict[str, str] = {}
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def home(target: str, seen: frozenset[str] = frozenset()) -> str | None:
    """The module that a dotted name is defined in, through any ``__init__`` that passes it on."""
    if target in MODULES:
        return target
    head, _, last = target.rpartition(".")
    if head not in MODULES:
        return home(head, seen) if head else None
    if target not in seen and last in imported(head) and imported(head)[last].startswith("trivium"):
        return home(imported(head)[last], seen | {target}) or head
    return head


def uses(name: str) -> set[str]:
    """The modules that a module uses."""
    passes_on = MODULES[name].name == "__init__.py"
    named = {node.id for node in ast.walk(tree(name)) if isinstance(node, ast.Name)}
    wanted = {
        target
        for local, target in imported(name).items()
        if target.startswith("trivium") and (not passes_on or local.partition(".")[0] in named)
    }
    texts = {node.value for node in ast.walk(tree(name)) if isinstance(node, ast.Constant)}
    wanted |= {text for text in texts if isinstance(text, str) and text in MODULES}  # imported by name, later
    return {found for found in map(home, wanted) if found} | ({name.rpartition(".")[0]} - {""})


def reached(roots: set[str]) -> set[str]:
    """What is used from there, directly or not."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += uses(name)
    return found


def roots() -> set[str]:
    """Where commands, public names and entry points are."""
    tables = [PROJECT.get("scripts", {}), *PROJECT.get("entry-points", {}).values()]
    entries = {text.partition(":")[0] for table in tables for text in table.values()}
    public = {f"{room.__name__}.{name}" for room in (trivium, trivium.rules) for name in room.__all__}
    later = {".".join(place) for place in trivium._LATER.values()}
    found = {home(name) for name in public | later | entries}
    return {name for name in found if name}


def test_no_module_is_used_by_tests_alone() -> None:
    unused = set(MODULES) - reached(roots())
    excused = {name for name in unused if any(f"{name}.".startswith(f"{room}.") for room in EXCEPTIONS)}
    assert sorted(unused - excused) == []
    assert set(EXCEPTIONS) <= unused, "an exception that is used is none"


def test_a_module_that_only_its_room_names_is_found() -> None:
    """The kind of file that stood here once: a room's ``__init__`` imports it, its tests use it, and nothing else."""
    below = {name for name in MODULES if name.startswith("trivium.gradients.")}
    assert below
    assert not below & reached({"trivium.gradients"})
    assert "trivium.losses.streaming" in reached({"trivium"})  # by way of the room's ``__init__``
