"""What every finished run gets: certificate, coloured sample, report."""

from __future__ import annotations

import json
from pathlib import Path

from trivium.certification import add_run, certify
from trivium.certification.certificate import Certificate
from trivium.cli.console import console
from trivium.cli.subject import of_recipe, resolve
from trivium.cli.table import show
from trivium.report import accuracy_table, write_report
from trivium.training.build import build_scheme
from trivium.training.recipe import Recipe
from trivium.training.run import Workshop
from trivium.training.sample import write_sample


def finish(recipe: Recipe, base: Path, workshop: Workshop, folder: Path, source: str | None) -> Certificate:
    """Write them.

    Args:
        recipe, base: the recipe as run and the folder its paths count from.
        workshop: the run's teachers and rows.
        folder: the run's folder, which holds its student.
        source: the recipe's file as the certificate names it; None of one that was made in Python.
    """
    subject = of_recipe(recipe, base) if source is None else resolve(source)
    question = subject.claims(len(subject.teachers), subject.teachers)
    certificate = certify(subject.operator, question, source=subject.source, name=subject.name)
    certificate = add_run(certificate, folder)
    certificate.write(folder / "certificate.json")
    if workshop.tokenizer is not None:
        student = workshop.task.load(recipe, base, folder / "student")
        write_sample(build_scheme(recipe, base), workshop, student, folder / "sample.json")
    write_report(folder)
    return certificate


def show_finished(certificate: Certificate, folder: Path) -> None:
    """Print the axiom table, and that of accuracies where the run has one."""
    show(certificate, console(), derivation=False)
    if (found := folder / "accuracy.json").is_file():
        console().print(accuracy_table(json.loads(found.read_text(encoding="utf-8"))))
