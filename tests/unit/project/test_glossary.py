"""Every name in the glossary exists.

What this catches that no other test does: a term whose class, attribute, argument or feature was renamed without the
page that explains it, and a term that stands there twice.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

import trivium as tv
from trivium.certification.specification import Specification
from trivium.scheme.scheme import compose
from trivium.simplex.restriction import restrict
from trivium.weighting.features import BUILT_IN

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| term |")
]
LINKS = sorted(set(re.findall(r"\[`([\w.]+)`\]\[([\w.]+)\]", PAGE)))
PLAIN = sorted({name for row in ROWS for name in re.findall(r"^`(\w+)`$", row[1])})
ARGUMENTS = {
    *(field.name for field in dataclasses.fields(Specification)),
    *compose.__wrapped__.__annotations__,  # type: ignore[attr-defined]  # through what checks its arguments
    *restrict.__wrapped__.__annotations__,  # type: ignore[attr-defined]
}


def test_each_term_stands_once_and_is_explained() -> None:
    terms = [row[0] for row in ROWS]
    assert len(terms) == len(set(terms)) > 25
    assert all(len(row) == 3 and row[2] for row in ROWS)


@pytest.mark.parametrize(("shown", "path"), LINKS, ids=lambda part: part)
def test_a_linked_name_exists(shown: str, path: str) -> None:
    module, _, name = path.rpartition(".")
    found = vars(importlib.import_module(module))[name]
    *owner, attribute = shown.split(".")
    if owner or attribute != name:
        own = {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
        assert attribute in own | set(vars(found))


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_an_argument_or_a_feature(name: str) -> None:
    assert name in ARGUMENTS | set(BUILT_IN)
    assert tv.__version__
