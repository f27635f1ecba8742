from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from by_path import load
from trivium.catalogue import ENTRIES, Entry
from trivium.catalogue.cells import cells
from trivium.catalogue.check import reproduces, stale
from trivium.catalogue.table import cell_of, read
from trivium.certification.calculus import derive
from trivium.certification.decisions import decide
from trivium.certification.specification import VERDICTS
from trivium.scheme.tree import leaves
from trivium.weighting import RULES, Margin

ROOT = Path(__file__).resolve().parents[3]
RECORD = {row["key"]: row for row in read()}
BROKEN = [(entry, axiom) for entry in ENTRIES for axiom, cell in RECORD[entry.key]["cells"].items() if cell["witness"]]
PROVED = [
    (e, a) for e in ENTRIES for a, cell in RECORD[e.key]["cells"].items() if cell["verdict"] == "PROVED" and a != "W-C"
]


def named(value: object) -> str:
    return value.key if isinstance(value, Entry) else str(value)


def test_the_record_is_that_of_the_rows() -> None:
    assert stale() == [], "run `make index`"


def test_keys_differ() -> None:
    assert len({entry.key for entry in ENTRIES}) == len(ENTRIES)


def test_every_rule_of_the_library_has_a_row() -> None:
    alone = [rules for rules in (list(leaves(entry.operator)) for entry in ENTRIES) if len(rules) == 1]
    assert {type(rule) for rules in alone for rule in rules} == set(RULES.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_every_cell_is_filled(entry: Entry) -> None:
    row = RECORD[entry.key]
    assert set(row["cells"]) == set(entry.specification.axioms)
    for axiom in row["cells"]:
        cell = cell_of(row, axiom)
        assert cell.verdict in VERDICTS
        assert (cell.witness is not None) == (cell.verdict == "VIOLATED")


@pytest.mark.parametrize(("entry", "axiom"), BROKEN, ids=named)
def test_every_recorded_witness_breaks_its_axiom(entry: Entry, axiom: str) -> None:
    witness = cell_of(RECORD[entry.key], axiom).witness
    assert witness is not None
    assert reproduces(entry, witness)


@pytest.mark.parametrize(("entry", "axiom"), PROVED, ids=named)
def test_every_proof_is_derived_again(entry: Entry, axiom: str) -> None:
    assert decide(derive(entry.operator, entry.specification.num_teachers), entry.specification)[axiom].proved


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_formula_gives_what_was_computed_by_hand(entry: Entry) -> None:
    assert entry.cases, "an entry needs a hand-computed case"
    for case in entry.cases:
        assert torch.allclose(entry.weights(case.inputs()), case.expected(), rtol=0, atol=case.tolerance)


def test_a_conforming_form_keeps_what_does_not_need_an_order() -> None:
    for entry in ENTRIES:
        if entry.form == "conforming":
            verdicts = {axiom: cell["verdict"] for axiom, cell in RECORD[entry.key]["cells"].items()}
            assert {verdicts[axiom] for axiom in ("W-F", "W-N", "W-P", "W-B")} == {"PROVED"}, entry.key


def test_asking_again_finds_the_recorded_verdicts() -> None:
    entry = next(entry for entry in ENTRIES if entry.key == "margin")
    found = {axiom: cell.verdict for axiom, cell in cells(entry, seconds=0.5).items()}
    assert found == {axiom: cell["verdict"] for axiom, cell in RECORD["margin"]["cells"].items()}


def test_the_page_is_fresh() -> None:
    page = load("scripts/rules_page.py").page(read())
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == page, "run `make index`"


def test_every_mark_of_the_page_is_the_verdict_and_leads_to_its_reason() -> None:
    script = load("scripts/rules_page.py")
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    for key, row in RECORD.items():
        assert f'href="#{script.slug(key)}"' in page
        for axiom, cell in row["cells"].items():
            assert script.mark(key, axiom, script.sign_of(cell["verdict"])) in page
    headings = {script.slug(line.lstrip("# ")) for line in page.splitlines() if line.startswith("#")}
    places = headings | set(re.findall(r'id="([^"]+)"', page))
    links = re.findall(r'href="#([^"]+)"', page)
    assert len(links) > 7 * len(RECORD)
    assert set(links) <= places
    assert len(places) == len(headings) + page.count('id="')


def test_an_entry_without_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match="source and cost"):
        Entry("x", "ours", Margin(), "token", source="", cost="O(K)")
