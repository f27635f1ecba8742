"""The page about certificates names every field, and the published schema is the one that is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from trivium.certification.certificate import Certificate, schema
from trivium.certification.recheck import FREE
from trivium.certification.specification import Result, Specification, Witness

DOCS = Path(__file__).resolve().parents[3] / "docs"
FIELDS = {field.alias or name for name, field in Certificate.model_fields.items()} | {
    field.name for record in (Result, Specification, Witness) for field in dataclasses.fields(record)
}


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_the_page_names_every_field(field: str) -> None:
    assert f"`{field}`" in (DOCS / "certificate.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", FREE)
def test_the_page_names_every_field_that_nothing_can_compute_again(place: str) -> None:
    text = (DOCS / "certificate.md").read_text(encoding="utf-8")
    free = text[text.index("These fields are free") : text.index("And these are not compared")]
    assert f"{place.removesuffix('.*').removeprefix('results.*.')}`" in free


def test_the_published_schema_is_fresh() -> None:
    published = json.loads((DOCS / "certificate.schema.json").read_text(encoding="utf-8"))
    assert published == schema(), "run `make index`"
