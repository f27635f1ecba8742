"""Every field of a certificate that can be computed is computed again: an edit with a fitting digest is refused.

Catches what the digest cannot: whoever edits a certificate can also compute its digest again.
"""

from __future__ import annotations

import importlib
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch

from trivium.certification import Certificate, Specification, certify, load
from trivium.certification.certificate import BEFORE, digest_of
from trivium.certification.earlier import former
from trivium.certification.recheck import FREE, checked
from trivium.certification.source import BuiltInSource
from trivium.cli import subject as subjects
from trivium.cli import work
from trivium.cli.subject import Subject
from trivium.errors import InputError
from trivium.simplex.order import Order
from trivium.weighting import Margin, Operator

RULES = """
import torch
from trivium.weighting import rule

SCALE = torch.tensor([1.0, 2.0, 3.0])

@rule(scale="token", features={"entropy": (0.0, 4.0)})
def fine(entropy):
    return torch.softmax(-0.02 * entropy - SCALE, dim=-1)

@rule(scale="token", features={"entropy": (0.0, 4.0)})
def opaque(entropy):
    if float(entropy.sum()) > 1e9:
        return entropy
    return torch.softmax(-entropy, dim=-1)

@rule(scale="token", features={"entropy": (0.0, 4.0)})
def short(entropy):
    return 0.9 * torch.softmax(-entropy, dim=-1) + 0.01 * (entropy > 2)

@rule(scale="token", features={"entropy": (0.0, 4.0)})
def across(entropy):
    return torch.softmax(entropy - entropy.mean(0), dim=-1)
"""

# The package also holds a function of this name.
rechecking = importlib.import_module("trivium.certification.recheck")

#: A certificate of each word, and of each kind of witness: a point, a pair, a batch.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "proved": ("entropy", {"floor": 1e-9, "lipschitz": 2.5}, {"W-F": "PROVED", "W-B": "PROVED", "W-R": "PROVED"}),
    "verified": (
        "rules.py:fine",
        {"floor": 0.01, "lipschitz": 2.0, "order": Order(((0,), (1,), (2,))), "order_margin": 0.5},
        {"W-F": "PROVED", "W-N": "VERIFIED", "W-B": "VERIFIED", "W-R": "VERIFIED", "W-S": "VERIFIED"},
    ),
    "searched": (
        "rules.py:opaque",
        {"cap": 0.999},
        {"W-F": "NOT FALSIFIED", "W-N": "NOT FALSIFIED", "W-B": "NOT FALSIFIED"},
    ),
    "point and pair": ("rules.py:short", {"lipschitz": 1.0}, {"W-N": "VIOLATED", "W-R": "VIOLATED"}),
    "batch": ("rules.py:across", {}, {"W-F": "VIOLATED"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    (made / "rules.py").write_text(RULES, encoding="utf-8")
    return made


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Loading, capture and search of the same thing are done once."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(work, "reload", reload)
    monkeypatch.setattr(rechecking, "certify", certified)
    # The same search is here the same object, however slow the machine is.
    monkeypatch.setattr(rechecking, "BY_THE_CLOCK", re.compile("(?!)"))
    return folder


_reload = subjects.reload
_LOADED: dict[str, Subject] = {}
_SEEN: dict[str, Certificate] = {}


def reload(source: Any) -> Subject:
    if repr(source) not in _LOADED:
        _LOADED[repr(source)] = _reload(source)
    return _LOADED[repr(source)]


def certified(
    operator: Operator, specification: Specification, *, seconds: float, seed: int, source: Any
) -> Certificate:
    key = repr((str(operator), specification, seconds, seed))
    if key not in _SEEN:
        _SEEN[key] = certify(operator, specification, seconds=seconds, seed=seed, source=source)
    return _SEEN[key]


def written(case: str) -> dict[str, Any]:
    target, asked, words = CASES[case]
    subject = subjects.resolve(target)
    made = certified(subject.operator, Specification(3, **asked), seconds=0.1, seed=0, source=subject.source)
    found = {result.axiom: result.verdict for result in made.results}
    assert {axiom: found[axiom] for axiom in words} == words
    return made.to_data()


def refusals(data: dict[str, Any]) -> list[str]:
    """Of a file with these data and a digest that fits."""
    path = Path("certificate.json")
    path.write_text(json.dumps({**data, "digest": digest_of(data)}), encoding="utf-8")
    try:
        found = work.verified(str(path), None, None)
    except InputError as error:
        return [str(error)]
    return list(found["refusals"])


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for key, item in enumerate(value) for leaf in leaves(item, (*path, key))]
    return [path]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.5 + 0.125
    if isinstance(value, str):
        return value + " and more"
    return 0.25 if value is None else [1.0]


def free(path: tuple[Any, ...]) -> bool:
    place = ".".join(str(part) for part in path)
    return any(fnmatch(place, pattern) for pattern in FREE)


@pytest.mark.parametrize("case", CASES)
def test_a_certificate_as_it_was_written_holds(here: Path, case: str) -> None:
    assert refusals(written(case)) == []


@pytest.mark.parametrize("case", CASES)
def test_an_edit_of_any_field_is_refused_though_the_digest_fits(here: Path, case: str) -> None:
    accepted, places = [], leaves(written(case))
    assert len(places) > 60
    for *parents, last in places:
        if last == "digest":
            continue
        data = written(case)
        holder: Any = data
        for key in parents:
            holder = holder[key]
        holder[last] = changed(holder[last])
        if not refusals(data):
            accepted.append((*parents, last))
    unexplained = [".".join(map(str, path)) for path in accepted if not free(path)]
    assert not unexplained, ", ".join(unexplained)
    assert ("name",) in accepted, "a name is free, so a test that refuses everything is wrong"


@pytest.mark.parametrize("case", CASES)
def test_a_finding_that_is_dropped_doubled_or_weakened_is_refused(here: Path, case: str) -> None:
    for place in range(len(written(case)["results"])):
        data = written(case)
        result = data["results"].pop(place)
        assert refusals(data), f"{result['axiom']} dropped"
        data = written(case)
        data["results"].append(data["results"][place])
        assert any("2 times" in reason for reason in refusals(data))
        for word in ("PROVED", "VERIFIED", "NOT FALSIFIED", "VIOLATED"):
            data = written(case)
            if data["results"][place]["verdict"] != word:
                data["results"][place]["verdict"] = word
                assert refusals(data), f"{result['axiom']} {word}"


def test_a_good_rule_cannot_be_slandered_by_a_witness_that_asks_something_else(here: Path) -> None:
    data = written("verified")
    result = next(f for f in data["results"] if f["axiom"] == "W-B")
    asked = {**data["specification"], "floor": 0.12}
    features = {"entropy": [[4.0, 0.0, 0.0]]}
    subject = subjects.resolve("rules.py:fine")
    weights = subject.operator.log_weights({"entropy": torch.tensor(features["entropy"])}).exp()
    residual = 0.12 - float(weights.min())
    result |= {"verdict": "VIOLATED", "residual": residual, "derivation": []}
    result["witness"] = {
        "axiom": "W-B", "features": features, "other": None, "dtype": "float32", "num_teachers": 3,
        "residual": residual,
        "note": "floor is missed", "row": 0, "specification": asked,
    }  # fmt: skip
    assert any("another question" in reason for reason in refusals(data))
    told = work.replayed("certificate.json")
    assert any("another question" in reason for reason in told["refusals"])
    assert told["witnesses"] == []


def test_a_witness_of_another_axiom_or_without_a_question_is_no_witness(here: Path) -> None:
    data = written("point and pair")
    for change, said in (({"axiom": "W-P"}, "one of W-P"), ({"specification": None}, "no question")):
        edited = json.loads(json.dumps(data))
        next(f for f in edited["results"] if f["axiom"] == "W-N")["witness"].update(change)
        assert any(said in reason for reason in refusals(edited))


def test_an_operator_from_another_place_is_refused_though_it_answers_the_same() -> None:
    """In Python, where nothing has looked at the file before: `trivium verify` refuses it while loading."""
    made = certify(Margin(), Specification(3), seconds=0.02, source=BuiltInSource(name="margin", options={}))
    assert checked(made, Margin(), source=BuiltInSource(name="margin", options={})).refusals == ()
    other = BuiltInSource(name="margin", options={"strength": 1.0})
    assert checked(made, Margin(), source=other).refusals == ("source is not as certified",)


def test_another_seconds_leaves_what_searches_came_to(here: Path) -> None:
    path = Path("certificate.json")
    path.write_text(json.dumps(written("searched")), encoding="utf-8")
    found = work.verified(str(path), 0.2, None)
    assert found["refusals"] == []
    assert any("0.2 s now, 0.1 s then" in line for line in found["left"])


def test_a_file_of_schema_1_is_read_and_its_words_confirmed(here: Path) -> None:
    data = written("verified")
    data["schema"] = BEFORE
    del data["programs"]
    data["derivation"] = ["[1] as it was told then"]
    for result in data["results"]:
        if result["axiom"] == "W-F":  # in those days a user's rule had no more
            result |= {"verdict": "VERIFIED", "search": "bounded by the form of its code"}
    path = Path("old.json")
    data = former(data)
    path.write_text(json.dumps({**data, "digest": digest_of(data)}), encoding="utf-8")
    certificate: Certificate = load(path)
    assert certificate.programs is None
    assert json.loads(certificate.to_json()) == json.loads(path.read_text(encoding="utf-8"))
    found = work.verified(str(path), None, None)
    assert found["refusals"] == []
    assert set(found["confirmed"]) == {"W-F", "W-N", "W-P", "W-B", "W-R", "W-S"}
    assert any("before rules were captured" in line for line in found["left"])
    assert any("W-F: PROVED now" in line for line in found["left"])
    data["findings"][1]["verdict"] = "PROVED"
    path.write_text(json.dumps({**data, "digest": digest_of(data)}), encoding="utf-8")
    assert any("says PROVED" in reason for reason in work.verified(str(path), None, None)["refusals"])


@pytest.mark.parametrize("schema", [BEFORE, "trivium.certificate/2"])
def test_programs_belong_to_schemas_after_1_alone(here: Path, schema: str) -> None:
    data = written("verified") | {"schema": schema}
    if schema != BEFORE:
        del data["programs"]
    assert any("programs do not belong" in reason for reason in refusals(former(data)))
