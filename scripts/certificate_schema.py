"""Write ``docs/certificate.schema.json`` from the model that reads certificates (``make index``)."""

from __future__ import annotations

import json
from pathlib import Path

from trivium.certify.certificate import schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "certificate.schema.json"


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
