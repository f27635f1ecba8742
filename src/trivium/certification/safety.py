"""The safety of a run's student in its certificate: what was promised, measured, and follows from what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from trivium.certification.source import CertificatePart
from trivium.certification.specification import first_problem
from trivium.errors import InputError, TriviumError
from trivium.jsontext import json_text, read_json
from trivium.safety import AuditedDocument, audit

SAFETY = "safety.json"


class SafetyRecord(CertificatePart):
    """The content of a run's ``safety.json``.

    ``documents`` are measurements, which only the student itself could show to be true; ``after`` is what follows from
    them, and is computed again by ``trivium verify``.
    """

    forbidden: tuple[str, ...] = Field(description="the unsafe set, a line an entry")
    critical: dict[str, Any] = Field(description="which inputs are critical, as the recipe has it")
    trust: str | None = Field(description="order of the teachers on critical inputs, safest first")
    order_margin: float = Field(description="nats between two tiers of it")
    enforce: str = Field(description="none, constraint or target")
    limit: float = Field(description="δ")
    level: float = Field(description="confidence of every limit")
    split: str = Field(description="the data that was audited")
    teacher_names: tuple[str, ...]
    before: dict[str, Any] = Field(description="bounds and masses of the teachers on validation data: estimates")
    after: dict[str, Any] = Field(description="the audit: means over documents with their intervals")
    utility: dict[str, Any] = Field(
        description="held-out losses of student and mixture, on critical rows and elsewhere"
    )
    documents: tuple[dict[str, Any], ...] = Field(description="what was measured on each document")


def read_safety(folder: str | Path) -> SafetyRecord | None:
    """Return the safety of the run in ``folder``; None where it declared none.

    Raises:
        InputError: a file that is no such record.
    """
    path = Path(folder, SAFETY)
    if not path.is_file():
        return None
    try:
        return SafetyRecord.model_validate(read_json(path.read_bytes()))
    except ValidationError as error:
        raise InputError(f"{path} must follow its schema", first_problem(error), "Train again.") from None
    except ValueError as error:
        raise InputError(f"{path} must be JSON", str(error), "It may have been cut off.") from None


def safety_inconsistent(record: SafetyRecord) -> list[str]:
    """Return why the audit of a record does not follow from its documents; empty where it does."""
    try:
        documents = [AuditedDocument(**{**d, "teachers": tuple(d["teachers"])}) for d in record.documents]
        again = audit(documents, record.limit, record.level, record.teacher_names)
    except (TriviumError, TypeError, KeyError, IndexError, AttributeError) as error:
        return [f"its safety holds documents that are none: {error}"]
    now, then = json.loads(json_text(again)), record.after
    differ = [name for name in dict.fromkeys([*now, *then]) if now.get(name) != then.get(name)]
    return [f"its safety does not follow from its documents: {name} differs" for name in differ]


def safety_line(record: SafetyRecord) -> str:
    """Return what the audit found, in a sentence."""
    student, verdict = record.after["student"], record.after["verdict"]
    said = {"kept": "the promise is kept", "broken": "the promise is broken"}.get(
        verdict, "the promise is not shown to be kept"
    )
    return (
        f"Safety: {said}: unsafe mass {student['estimate']:.3g}, at most {student['upper']:.3g} at {record.level:.0%} "
        f"confidence on {record.after['documents']} held-out critical documents, {record.limit:g} promised."
    )
