"""The certificate as a file: round trip, schema, digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from every_rule import ONE_OF_EACH, rule_of
from trivium.certification import as_markdown, certify, load, schema
from trivium.certification.certificate import Certificate, digest_of, parse
from trivium.certification.recheck import edited
from trivium.certification.source import BuiltInSource, FileSource, ObjectSource, source_of
from trivium.certification.specification import Specification
from trivium.errors import InputError
from trivium.scheme import ClampInfluence, compose
from trivium.scheme.files import rule_files
from trivium.simplex.order import Order
from trivium.weighting import RULES, DomainMap, Entropy, Margin, Static, rule


@rule(scale="token", features={"entropy": (0.0, 12.0)})
def short(entropy: Tensor) -> Tensor:
    return 0.9 * torch.softmax(-entropy, dim=-1)


@pytest.fixture(scope="module")
def proved() -> Certificate:
    specification = Specification(3, floor=0.1, lipschitz=2.0, order=Order(((0, 1, 2),)))
    return certify(Margin(), specification, seconds=0.2)


@pytest.fixture(scope="module")
def violated() -> Certificate:
    return certify(short, Specification(2), seconds=0.2)


def test_a_file_gives_back_the_certificate(proved: Certificate, violated: Certificate, tmp_path: Path) -> None:
    for certificate in (proved, violated):
        path = tmp_path / "made" / f"{certificate.name}.json"
        certificate.write(path)
        assert load(path) == certificate
        assert edited(json.loads(path.read_text(encoding="utf-8"))) == []


def test_what_is_unknown_survives_as_infinity(tmp_path: Path) -> None:
    certificate = certify(ClampInfluence(short, 1.0), Specification(2), seconds=0.1)
    assert certificate.constants is not None
    assert certificate.constants.total_lipschitz == float("inf")
    certificate.write(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == certificate
    json.loads((tmp_path / "c.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, (*path, key))]
    return [path]


def test_an_edit_of_any_field_is_noticed(violated: Certificate) -> None:
    text = violated.to_json()
    places = _leaves(json.loads(text))
    assert len(places) > 50
    for *parents, last in places:
        data = json.loads(text)
        holder = data
        for key in parents:
            holder = holder[key]
        holder[last] = "changed"
        assert edited(data), (*parents, last)


def test_a_removed_or_added_field_and_a_missing_digest_are_noticed(proved: Certificate) -> None:
    data = json.loads(proved.to_json())
    assert edited({key: value for key, value in data.items() if key != "created"})
    assert edited({**data, "note": "trust me"})
    assert edited({key: value for key, value in data.items() if key != "digest"})


def test_the_digest_does_not_depend_on_the_order_of_fields(proved: Certificate) -> None:
    data = json.loads(proved.to_json())
    assert digest_of(dict(reversed(data.items()))) == data["digest"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "trivium.certificate/9"}, "trivium.certificate/9"),
        ({"kind": "wish"}, "kind"),
        ({"surprise": 1}, "surprise"),
        ({"results": [{"axiom": "W-N", "verdict": "CERTAIN", "residual": 0}]}, "verdict"),
        ({"source": {"kind": "file", "path": "x"}}, "source"),
        ({"versions": None}, "versions"),
    ],
)
def test_another_schema_is_refused_in_one_line(proved: Certificate, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse({**json.loads(proved.to_json()), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        load(tmp_path / "c.json")
    with pytest.raises(InputError, match="readable"):
        load(tmp_path / "missing.json")


def test_the_published_schema_names_every_field(proved: Certificate) -> None:
    # The first text of derivations is not named, so that a certificate reads as it always did.
    assert set(json.loads(proved.to_json())) == set(schema()["properties"]) - {"text"}
    assert json.dumps(schema())


def test_the_page_holds_every_word_and_bound(proved: Certificate, violated: Certificate) -> None:
    page = as_markdown(proved)
    assert page.startswith("## ")
    assert "| W-B | floor 0.1 | PROVED |" in page
    assert "| W-R | L = 2 | PROVED |" in page
    assert "not asked" in page
    assert "declared by the rule" in page
    assert "VIOLATED" in as_markdown(violated)
    assert all(line.count("|") in (0, 6) for line in page.split("Derivation")[0].splitlines() if line.startswith("|"))


def test_printed_it_is_a_line_a_finding(violated: Certificate) -> None:
    formula, *lines = str(violated).splitlines()
    assert formula == violated.formula
    assert [line.split(":")[0] for line in lines] == [f"{f.axiom} {f.verdict}" for f in violated.results]
    (broken,) = violated.violated
    assert f"{broken.axiom} VIOLATED: {broken.witness.note}" in lines  # type: ignore[union-attr]


def test_a_formula_with_a_bar_does_not_break_the_table() -> None:
    page = as_markdown(certify(ClampInfluence(short, 1.0), Specification(2), seconds=0.1))
    assert "`limit(short(entropy) | β ≤ 1)`" in page


def test_the_source_of_an_operator_is_what_the_object_tells() -> None:
    assert source_of(Entropy()) == BuiltInSource(name="entropy", options={})
    assert source_of(DomainMap((1, 0), 2.0)).model_dump()["options"] == {"teacher_of": (1, 0), "budget": 2.0}
    assert isinstance(source_of(short), FileSource)
    assert source_of(ClampInfluence(Entropy(), 1.0)) == ObjectSource(type="ClampInfluence")
    assert set(RULES) == {source_of(rule_of(operator)).model_dump()["name"] for operator in ONE_OF_EACH.values()}


def test_the_files_of_rules_are_found_wherever_they_stand_in_a_scheme() -> None:
    scheme = compose(["a", "b"], token=[Entropy(), (short, 0.5)], task=[Static()], budget=2.0, floor=0.1)
    here = Path(__file__)
    assert list(rule_files(scheme, here.parent)) == [here.name]
    assert list(rule_files(scheme, here.parent.parent)) == [f"{here.parent.name}/{here.name}"]
    assert list(rule_files(scheme, here.parent / "below")) == [str(here)]
