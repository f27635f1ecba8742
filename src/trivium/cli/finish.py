"""Complete a finished run: certificate, coloured sample, headroom, report."""

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
from trivium.training.run import PreparedRun
from trivium.training.sample import write_sample


def finish(
    recipe: Recipe, prepared_run: PreparedRun, folder: Path, subject: Subject, beside: Path | None = None
) -> Certificate:
    """Write them.

    Args:
        recipe: as run.
        workshop: the run's teachers and rows.
        folder: the run's folder, which holds its student.
        subject: what the recipe stood for when the run began: its file may have been edited since for the next one.
        beside: the folder that holds the fit.json of a fitted scheme; None: the recipe's.
    """
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    certificate = certify(subject.operator, specification, source=subject.source, name=subject.name)
    certificate = add_run(certificate, folder)
    certificate.write(folder / "certificate.json")
    if prepared_run.tokenizer is not None:
        student = prepared_run.task.load(recipe, prepared_run.base, folder / "student")
        write_sample(subject.scheme, prepared_run, student, folder / "sample.json")
    write_json(folder / "headroom.json", _headroom(recipe, prepared_run))
    record = fit_record(recipe, prepared_run.base if beside is None else beside)
    if record is not None:
        write_json(folder / "fit.json", record)
    write_report(folder)
    return certificate


def _headroom(recipe: Recipe, prepared_run: PreparedRun) -> dict[str, Any]:
    """Of the held-out rows whose logits lie in the cache: teachers are not asked again for this."""
    if isinstance(prepared_run.held_out[1], LiveLogits):
        return {
            "missing": "The teachers' logits of the held-out rows are not kept; `trivium headroom` reads them anew."
        }
    found, split = headroom_of(recipe, prepared_run)
    return found.to_data() | {"split": split, "unit": unit_of(prepared_run)}


def unit_of(prepared_run: PreparedRun) -> str:
    """Return what gains are counted in."""
    return "nats a token" if prepared_run.tables.validation.labels.shape[-1] > 1 else "nats an example"


def show_finished(certificate: Certificate, folder: Path) -> None:
    """Print the axiom table, and that of accuracies where the run has one."""
    show(certificate, console(), derivation=False)
    if (found := folder / "accuracy.json").is_file():
        console().print(accuracy_table(json.loads(found.read_text(encoding="utf-8"))))
