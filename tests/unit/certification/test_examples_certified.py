"""What a reader copies from ``examples/`` certifies: PROVED, or VERIFIED where a user's own code has to be bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivium.certification import Specification, certify
from trivium.certification.assemble import claims
from trivium.training.build import build_scheme
from trivium.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*/recipe.yaml"))


def test_there_are_examples() -> None:
    assert {path.parent.name for path in RECIPES} >= {"own_rule", "safety_order", "digits"}


@pytest.mark.deep
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_an_example_is_certified(path: Path) -> None:
    scheme = build_scheme(load_recipe(path), path.parent)
    specification: Specification = claims(scheme, len(scheme.teacher_names), scheme.teacher_names)
    found = certify(scheme, specification, seconds=0.5).results
    assert {f.axiom: f.verdict for f in found} == dict.fromkeys(specification.axioms, "PROVED")
