"""What every finished run gets: certificate, coloured sample, headroom, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trivium.certification import add_run, certify
from trivium.certification.certificate import Certificate
from trivium.cli.console import console
from trivium.cli.subject import Subject
from trivium.cli.table import show
from trivium.jsontext import write_json
from trivium.report import accuracy_table, write_report
from trivium.teachers.live import LiveLogits
from trivium.training.fitting import fit_record, headroom_of
from trivium.training.recipe import Recipe
from trivium.training.run import Workshop
from trivium.training.sample import write_sample


def finish(
    recipe: Recipe, workshop: Workshop, folder: Path, subject: Subject, beside: Path | None = None
) -> Certificate:
    """Write them.

    Args:
        recipe: as run.
        workshop: the run's teachers and rows.
        folder: the run's folder, which holds its student.
        subject: what the recipe stood for when the run began: its file may have been edited since for the next one.
        beside: the folder that holds the fit.json of a fitted scheme; None: the recipe's.
    """
    question = subject.claims(len(subject.teachers), subject.teachers)
    certificate = certify(subject.operator, question, source=subject.source, name=subject.name)
    certificate = add_run(certificate, folder)
    certificate.write(folder / "certificate.json")
    if workshop.tokenizer is not None:
        student = workshop.task.load(recipe, workshop.base, folder / "student")
        write_sample(subject.scheme, workshop, student, folder / "sample.json")
    write_json(folder / "headroom.json", _headroom(recipe, workshop))
    record = fit_record(recipe, workshop.base if beside is None else beside)
    if record is not None:
        write_json(folder / "fit.json", record)
    write_report(folder)
    return certificate


def _headroom(recipe: Recipe, workshop: Workshop) -> dict[str, Any]:
    """Of the held-out rows whose logits lie in the cache: teachers are not asked again for this."""
    if isinstance(workshop.held_out[1], LiveLogits):
        return {
            "missing": "The teachers' logits of the held-out rows are not kept; `trivium headroom` reads them anew."
        }
    found, split = headroom_of(recipe, workshop)
    return found.to_data() | {"split": split, "unit": unit_of(workshop)}


def unit_of(workshop: Workshop) -> str:
    """What gains are counted in."""
    return "nats a token" if workshop.tables.validation.labels.shape[-1] > 1 else "nats an example"


def show_finished(certificate: Certificate, folder: Path) -> None:
    """Print the axiom table, and that of accuracies where the run has one."""
    show(certificate, console(), derivation=False)
    if (found := folder / "accuracy.json").is_file():
        console().print(accuracy_table(json.loads(found.read_text(encoding="utf-8"))))
