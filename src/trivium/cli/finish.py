"""What every finished run gets: certificate, coloured sample, report."""

from __future__ import annotations

import json
from pathlib import Path

from trivium.certification import add_run, certify
from trivium.certification.certificate import Certificate
from trivium.cli.console import console
from trivium.cli.subject import Subject
from trivium.cli.table import show
from trivium.report import accuracy_table, write_report
from trivium.training.recipe import Recipe
from trivium.training.run import PreparedRun
from trivium.training.sample import write_sample


def finish(recipe: Recipe, prepared_run: PreparedRun, folder: Path, subject: Subject) -> Certificate:
    """Write them.

    Args:
        recipe: as run.
        workshop: the run's teachers and rows.
        folder: the run's folder, which holds its student.
        subject: what the recipe stood for when the run began: its file may have been edited since for the next one.
    """
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    certificate = certify(subject.operator, specification, source=subject.source, name=subject.name)
    certificate = add_run(certificate, folder)
    certificate.write(folder / "certificate.json")
    if prepared_run.tokenizer is not None:
        student = prepared_run.task.load(recipe, prepared_run.base, folder / "student")
        write_sample(subject.scheme, prepared_run, student, folder / "sample.json")
    write_report(folder)
    return certificate


def show_finished(certificate: Certificate, folder: Path) -> None:
    """Print the axiom table, and that of accuracies where the run has one."""
    show(certificate, console(), derivation=False)
    if (found := folder / "accuracy.json").is_file():
        console().print(accuracy_table(json.loads(found.read_text(encoding="utf-8"))))
