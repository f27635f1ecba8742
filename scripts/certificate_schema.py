"""Write ``docs/certificate.schema.json`` from the model that reads certificates (``make index``)."""

from __future__ import annotations

from pathlib import Path

from trivium.certification.certificate import schema
from trivium.jsontext import json_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "certificate.schema.json"


def text() -> str:
    return json_text(schema(), indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
