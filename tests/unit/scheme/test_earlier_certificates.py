"""Certificates that earlier code wrote of each composition still hold.

What this catches that no other test does: a line of a derivation, or a constant, that comes out otherwise than it was
certified. The files in ``certificates/1`` were written before rules were captured, those in ``certificates/2`` when the
constants of a composition stood apart from its class. A change of the calculus on purpose raises
``trivium.scheme.derivation.TEXT``, and these files stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tiers import first
from trivium.certification import Specification, certify, load
from trivium.certification.certificate import digest_of, parse
from trivium.certification.recheck import checked
from trivium.cli import work
from trivium.scheme import ClampInfluence, FloorMix, MixUniform, PerEntry, Power, Product, Project, Squash, derivation
from trivium.scheme.derivation import Derived
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.training.recipe import load_recipe
from trivium.weighting import Entropy, Margin, Operator, Static

HERE = Path(__file__).resolve().parent / "certificates"
ORDER = Order(((0,), (1, 2)))
CERTIFIED: dict[str, Operator] = {
    "limit": ClampInfluence(Entropy(), 2.0),
    "mix": MixUniform(Entropy(strength=0.5), 0.1),
    "floor_mix": FloorMix(Entropy(), 0.05),
    "squash": Squash(Entropy(), 2.0),
    "power": Power(Margin(), 0.5),
    "product": Product((Static((3.0, 2.0, 2.0)), Margin(strength=0.1))),
    "conform": Project(Entropy(), ConformingSet(3, 0.05, 0.8, ORDER, 0.1)),
    "per_entry": PerEntry(Margin()),
}


@pytest.mark.parametrize("schema", first(["1", "2"]))
@pytest.mark.parametrize("name", first(CERTIFIED, 3))
def test_a_certificate_of_earlier_code_holds(name: str, schema: str) -> None:
    certificate = load(HERE / schema / f"{name}.json")
    # Other seconds than recorded, so that what the search counted is left out, and all that is derived is compared.
    found = checked(certificate, CERTIFIED[name], seconds=0.02)
    assert found.refusals == ()
    assert found.confirmed == tuple(result.axiom for result in certificate.results)
    assert {result.verdict for result in certificate.results} == {"PROVED"}
    assert any(line.startswith("derivation") for line in found.left) == (schema == "1")


@pytest.mark.parametrize("schema", first(["1", "2"]))
def test_a_certified_recipe_with_every_key_beside_a_rule_holds(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    file = f"{schema}/recipe.json"
    assert load_recipe("recipe.yaml").digest() == json.loads(Path(file).read_text(encoding="utf-8"))["source"]["digest"]
    assert work.verified(file, 0.02, None)["refusals"] == []


def test_another_calculus_is_refused() -> None:
    file = HERE / "2" / "limit.json"
    assert checked(load(file), ClampInfluence(Entropy(), 2.5), seconds=0.02).refusals
    data = json.loads(file.read_text(encoding="utf-8"))
    data["derivation"] = [line.replace("T3: ", "T2: ") for line in data["derivation"]]
    edited = parse({**data, "digest": digest_of(data)})
    assert checked(edited, CERTIFIED["limit"], seconds=0.02).refusals == ("derivation is not as certified",)


def test_under_another_text_the_lines_of_a_certificate_are_left_and_all_else_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = HERE / "2" / "squash.json"
    data, operator = json.loads(file.read_text(encoding="utf-8")), CERTIFIED["squash"]
    assert "text" not in certify(operator, Specification(3), seconds=0.02).to_data(), "the first text is not named"
    monkeypatch.setattr(derivation, "TEXT", 2)
    monkeypatch.setattr(Squash, "after", reworded(Squash.after))
    found = checked(parse(data), operator, seconds=0.02)
    assert found.refusals == ()
    assert "the lines of derivations: they have text 1, this version writes 2" in found.left
    again = certify(operator, Specification(3), seconds=0.02)
    assert again.to_data()["text"] == 2
    assert parse(again.to_data()) == again
    assert checked(again, operator, seconds=0.03).refusals == ()
    data["constants"]["lipschitz"] = 1.5
    assert checked(parse(data), operator, seconds=0.02).refusals == ("constants is not as certified",)
    # Without a new version the same change of a line is refused, and so is a text that is not known here.
    monkeypatch.setattr(derivation, "TEXT", 1)
    assert "derivation is not as certified" in checked(load(file), operator, seconds=0.02).refusals
    assert any("later than this version's 1" in reason for reason in checked(again, operator, seconds=0.02).refusals)


def reworded(after: Callable[[Squash, Derived], Derived]) -> Callable[[Squash, Derived], Derived]:
    def anew(self: Squash, part: Derived) -> Derived:
        *before, last = after(self, part).steps
        lines = tuple(line.replace("L kept", "L is kept") for line in last.lines)
        return replace(after(self, part), steps=(*before, replace(last, lines=lines)))

    return anew
