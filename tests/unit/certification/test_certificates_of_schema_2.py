"""Certificates that a release with other names wrote: read under the present names, and written back as they were.

What this catches that no other test does: a key of a witness or of a built-in rule's options that is not translated,
and a digest that comes out otherwise once a file has been read.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trivium.certification import load
from trivium.certification.certificate import SCHEMA
from trivium.certification.earlier import former, modern
from trivium.cli import work

DATA = Path(__file__).resolve().parents[2] / "data"
NAMES = ("gap", "amtss", "margin")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_and_written_back_with_its_digest(name: str) -> None:
    file = DATA / f"certificate_2_{name}.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["schema"] != SCHEMA
    assert load(file).to_data() == data
    assert former(modern(data)) == data


@pytest.mark.parametrize("name", NAMES)
def test_all_that_it_says_is_computed_again(name: str) -> None:
    found = work.verified(str(DATA / f"certificate_2_{name}.json"), 0.05, None)
    assert found["refusals"] == []
    assert set(found["confirmed"]) >= {"W-F", "W-N", "W-P", "W-B"}


def test_its_witnesses_replay() -> None:
    found = work.replayed(str(DATA / "certificate_2_gap.json"))
    assert found["refusals"] == []
    assert [told["witness"]["axiom"] for told in found["witnesses"]] == ["W-B", "W-R", "W-S"]
    assert all(told["reasons"] == [] for told in found["witnesses"])
