"""The objective that trains: a short student for each scheme, judged on validation data, stopped early if it lags."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

from torch import Tensor

from trivium.data.table import Table
from trivium.training import run
from trivium.training.evaluate import student_nll
from trivium.training.recipe import Recipe, SchemeSection
from trivium.training.run import PreparedRun
from trivium.tuning.mixture import Split, Watch, mean_nll, rows_of
from trivium.tuning.space import Space

#: Validations a student, the last at its end.
EVALUATIONS = 5


class StudentObjective:
    """Validation bits per byte, or nats an example, mean of the domains, of a student trained for a few steps.

    Every student has the recipe's initial weights, data and order of rows, so students differ by their scheme alone.
    Trials never see the test rows: they are taken out of the workshop before the first.

    Args:
        steps: optimizer steps a student; the schedule ends there.
        folder: students live below it, one a scheme.
    """

    what = "student"

    def __init__(self, space: Space, prepared_run: PreparedRun, steps: int, folder: Path) -> None:
        self.space, self.prepared_run, self.steps, self.folder = space, prepared_run, steps, folder
        self.blind = dataclasses.replace(prepared_run, tables=dataclasses.replace(prepared_run.tables, test=None))

    @property
    def unit(self) -> str:
        """What values are."""
        return f"{self.rows('validation').unit} of the student"

    def measurable(self, section: SchemeSection) -> str:
        """Empty: a student can learn under any scheme."""
        return ""

    def value(self, section: SchemeSection, watch: Watch | None = None) -> float:
        """Train anew and return the last validation.

        ``watch`` sees every validation and may raise; the student is then removed.
        """
        folder = self._folder(section)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            nll = run.distill(self._recipe(section), self.blind, folder, watch=watch or run.unwatched)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        # Last, as a mark: a folder without it was cut off.
        (folder / "done").write_text("", encoding="utf-8")
        return mean_nll(nll["student"], self.rows("validation"))

    def nll(self, section: SchemeSection, split: Split) -> Tensor:
        """Nats a row, [N], float64; trains where no student of this scheme is kept."""
        folder = self._folder(section)
        if not (folder / "done").exists():
            self.value(section)
        model = self.prepared_run.task.load(self.space.recipe, self.prepared_run.base, folder / "student")
        return student_nll(model, self.rows(split)).cpu()

    def rows(self, split: Split) -> Table:
        """The rows of a split; the recipe must have it."""
        return rows_of(self.prepared_run, split)

    def keep(self, sections: list[SchemeSection]) -> None:
        """Remove the students of all other schemes."""
        kept = {self._folder(section).name for section in sections}
        for folder in self.folder.glob("*") if self.folder.is_dir() else []:
            if folder.name not in kept:
                shutil.rmtree(folder)

    def _folder(self, section: SchemeSection) -> Path:
        return self.folder / hashlib.sha256(section.model_dump_json().encode()).hexdigest()[:16]

    def _recipe(self, section: SchemeSection) -> Recipe:
        recipe = self.space.with_section(section)
        train, steps = recipe.train, self.steps
        changed = {
            "steps": steps,
            "warmup_steps": min(train.warmup_steps, steps // EVALUATIONS),
            "evaluate_every": -(-steps // EVALUATIONS),
            "save_every": steps,
            "tracker": "none",
        }
        return recipe.model_copy(update={"name": "trial", "train": train.model_copy(update=changed)})
