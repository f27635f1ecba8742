"""What was renamed still works for a release, with a warning that says the new name.

What this catches that no other test does: an entry of a table in :mod:`trivium.former` whose new name is none, an
argument that lost its former name, a warning that does not say what to write instead, and a recipe whose identity moved
because a key of it was renamed.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trivium as tv
from trivium import former
from trivium.certification import Specification, Witness, certify
from trivium.certification.ask import ask
from trivium.certification.assemble import claims
from trivium.fitting.bounds import best_constant
from trivium.fitting.family import Family
from trivium.simplex.constants import Constants, bounded, uniform
from trivium.simplex.geometry import influence_to_range
from trivium.simplex.order import Order
from trivium.simplex.restriction import restrict, stand_ins
from trivium.testing import checks
from trivium.training.collect import Batch
from trivium.training.fitting import fit_record
from trivium.training.recipe import SchemeSection, load_recipe, parse_recipe

ORDER = Order(((0,), (1,)))
ZEROS = torch.zeros(1, 2)
#: Of the recipe below, computed when the key was called ``margin``.
DIGEST = "aab09599ee979ec1"
MASK = torch.ones(1, 2, dtype=torch.bool)


def renamed_names() -> list[tuple[str, str, str]]:
    return [(module, old, new) for module, names in former.NAMES.items() for old, new in names.items()]


@pytest.mark.parametrize(("module", "old", "new"), renamed_names(), ids=lambda part: part)
def test_a_former_name_is_the_present_thing(module: str, old: str, new: str) -> None:
    place = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is called {module}\.{new} now"):
        found = getattr(place, old)
    assert found is vars(place)[new]


@pytest.mark.parametrize(("old", "new"), former.MODULES.items(), ids=lambda part: part)
def test_a_former_module_is_the_present_one(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    present = importlib.import_module(new)
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now"):
        found = importlib.import_module(old)
    assert found is present
    assert present.__spec__ is not None
    assert present.__spec__.name == present.__name__ == new, "it keeps its own name"


def test_a_name_that_never_was_is_refused_as_python_does() -> None:
    from trivium import scheme

    with pytest.raises(AttributeError, match="has no attribute 'Never'"):
        _ = scheme.Never  # type: ignore[attr-defined]


def constants() -> Constants:
    return bounded(2, 1.0, {"entropy": 1.0})


#: By what is made: the same, made with former arguments (a call that warns), and the words of the warning.
ARGUMENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "Specification": (lambda: Specification(teachers=2, order=ORDER), "num_teachers"),
    "Specification, margin": (lambda: Specification(2, order=ORDER, margin=0.1), "order_margin"),
    "Witness": (lambda: Witness("W-N", {}, None, "float32", teachers=2, residual=1.0, note=""), "num_teachers"),
    "certify": (lambda: certify(tv.Entropy(), question=Specification(2), seconds=0.0), "specification"),
    "certify, margin": (lambda: certify(tv.Entropy(), num_teachers=2, margin=0.0, seconds=0.0), "order_margin"),
    "ask": (lambda: ask(lambda count, names: claims(tv.Entropy(), count, names), teachers=2), "num_teachers"),
    "checks": (lambda: list(checks([tv.Entropy()], teachers=2)), "num_teachers"),
    "ConformingSet": (lambda: tv.ConformingSet(teachers=2), "num_teachers"),
    "ConformingSet, margin": (lambda: tv.ConformingSet(2, order=ORDER, margin=0.1), "order_margin"),
    "Constants": (lambda: Constants(gap=torch.zeros(2, 2)), "log_ratio"),
    "Constants, regularity": (lambda: Constants(torch.zeros(2, 2), regularity={"entropy": 1.0}), "lipschitz"),
    "bounded": (lambda: bounded(2, 1.0, regularity={}), "lipschitz"),
    "uniform": (lambda: uniform(teachers=2), "num_teachers"),
    "influence_to_range": (lambda: influence_to_range(1.0, teachers=2), "num_teachers"),
    "restrict": (lambda: restrict(ZEROS, serving=MASK), "teacher_mask"),
    "stand_ins": (lambda: stand_ins(serving=MASK), "teacher_mask"),
    "best_constant": (lambda: best_constant(ZEROS, serving=MASK), "teacher_mask"),
    "compose": (lambda: tv.compose(teachers=["a", "b"]), "teacher_names"),
    "compose, margin": (lambda: tv.compose(["a", "b"], order="a > b", margin=0.1), "order_margin"),
    "OrdinalSafety": (lambda: tv.AXIOMS["W-S"](ORDER, margin=0.1), "order_margin"),
    "AMTSS": (lambda: tv.RULES["amtss"](teachers=2), "num_teachers"),
    "MMKD": (lambda: tv.RULES["mmkd"](teachers=2, classes=3), "num_teachers"),
    "Family": (lambda: Family(("entropy",), (), False, margin=0.0), "order_margin"),
    "Batch": (lambda: Batch(ZEROS, [ZEROS], ZEROS, ZEROS, {}, serving=MASK), "teacher_mask"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_former_argument_is_taken(name: str) -> None:
    make, new = ARGUMENTS[name]
    with pytest.warns(DeprecationWarning, match=f"is called {new} now"):
        make()


ATTRIBUTES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "Specification.teachers": (lambda: Specification(2), "teachers", "num_teachers"),
    "Specification.margin": (lambda: Specification(2), "margin", "order_margin"),
    "Constants.teachers": (constants, "teachers", "num_teachers"),
    "Constants.gap": (constants, "gap", "log_ratio"),
    "Constants.regularity": (constants, "regularity", "lipschitz"),
    "Constants.margin": (constants, "margin", "order_margin"),
    "ConformingSet.teachers": (lambda: tv.ConformingSet(2), "teachers", "num_teachers"),
    "ConformingSet.margin": (lambda: tv.ConformingSet(2), "margin", "order_margin"),
    "Order.teachers": (lambda: ORDER, "teachers", "num_teachers"),
    "Scheme.teachers": (lambda: tv.compose(["a", "b"]), "teachers", "teacher_names"),
    "Certificate.question": (lambda: certify(tv.Entropy(), num_teachers=2, seconds=0.0), "question", "specification"),
    "Certificate.findings": (lambda: certify(tv.Entropy(), num_teachers=2, seconds=0.0), "findings", "results"),
    "AMTSS.teachers": (lambda: tv.RULES["amtss"](num_teachers=2), "teachers", "num_teachers"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_former_attribute_is_the_present_one(name: str) -> None:
    make, old, new = ATTRIBUTES[name]
    made = make()
    with pytest.warns(DeprecationWarning, match=f"is called {new} now"):
        found = getattr(made, old)
    assert found is getattr(made, new) or found == getattr(made, new)


def test_a_former_argument_counts() -> None:
    with pytest.warns(DeprecationWarning, match="order_margin"):
        specification = Specification(2, order=ORDER, margin=0.25)
    assert specification.order_margin == 0.25
    with pytest.warns(DeprecationWarning, match="teacher_names"):
        scheme = tv.compose(teachers=["x", "y"])
    assert scheme.teacher_names == ("x", "y")


def test_a_former_key_of_a_recipe_is_read_and_its_identity_stays() -> None:
    content = {
        "student": {"model": "none"},
        "teachers": [{"name": "a", "model": "none"}, {"name": "b", "model": "none"}],
        "data": {"domains": [{"name": "x", "train": "x.txt", "validation": "y.txt"}]},
    }
    now = parse_recipe({**content, "scheme": {"order": "a > b", "order_margin": 0.5}})
    with pytest.warns(DeprecationWarning, match="margin of scheme in a recipe is called order_margin now"):
        then = parse_recipe({**content, "scheme": {"order": "a > b", "margin": 0.5}})
    assert then == now
    assert then.scheme == SchemeSection(order="a > b", order_margin=0.5)
    assert then.digest() == now.digest() == DIGEST


def test_a_fit_of_an_earlier_release_is_still_that_of_its_recipe(tmp_path: Path) -> None:
    """A file that lacks a key of today, or has one under its former name, was once taken for that of another scheme."""
    shipped = Path(tv.__file__).parent / "assets" / "first_light"
    content = json.loads((shipped / "fit.json").read_text(encoding="utf-8"))
    content["scheme"]["margin"] = content["scheme"].pop("order_margin")
    (tmp_path / "fit.json").write_text(json.dumps(content), encoding="utf-8")
    found = fit_record(load_recipe(shipped / "fitted.yaml"), tmp_path)
    assert found is not None
    assert "missing" not in found
    content["scheme"]["margin"] = 0.5
    (tmp_path / "fit.json").write_text(json.dumps(content), encoding="utf-8")
    assert "another scheme" in (fit_record(load_recipe(shipped / "fitted.yaml"), tmp_path) or {})["missing"]
    content["scheme"] = {"token": "none"}
    (tmp_path / "fit.json").write_text(json.dumps(content), encoding="utf-8")
    assert "another scheme" in (fit_record(load_recipe(shipped / "fitted.yaml"), tmp_path) or {})["missing"]
