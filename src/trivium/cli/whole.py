"""A whole run: from a recipe to a folder with a student, its record, a certificate and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trivium.certification.certificate import Certificate
from trivium.cli.finish import finish
from trivium.cli.subject import of_file, of_recipe
from trivium.errors import InputError, require
from trivium.former import renamed
from trivium.simplex.typed import typed
from trivium.training import run
from trivium.training.checkpoints import refuse_overwrite
from trivium.training.evaluate import bits_per_byte
from trivium.training.processes import is_main
from trivium.training.recipe import MOST_SEED, Recipe, load_recipe, parse_recipe
from trivium.training.run import PreparedRun, Progress, silent
from trivium.training.trace import read_trace


@renamed(nats="nll")
@dataclass(frozen=True)
class Distilled:
    """The results of a run.

    Attributes:
        folder: holds ``student/``, ``report.html``, ``certificate.json``, ``metrics.jsonl`` and the recipe as run.
        shares: each teacher's mean weight at the end of training.
        nll: held-out nats a row, see :func:`trivium.training.run.distill`.
        scores: held-out losses in ``unit``, the mean of the domains, of student, mixture and each teacher.
        certificate: of the scheme; None in a process that only helped to train.
    """

    folder: Path
    shares: Mapping[str, float]
    nll: Mapping[str, Tensor]
    scores: Mapping[str, float]
    unit: str
    certificate: Certificate | None

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in self.shares.items())
        scores = ", ".join(f"{name} {score:.4g}" for name, score in self.scores.items())
        lines = [f"student: {self.folder / 'student'}", f"shares: {shares}", f"held-out {self.unit}: {scores}"]
        if self.certificate is not None:
            words = ", ".join(f"{result.axiom} {result.verdict}" for result in self.certificate.results)
            lines += [f"certificate: {words}", f"report: {self.folder / 'report.html'}"]
        return "\n".join(lines)


@typed(leave={"recipe"})
def distill(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    seed: int | None = None,
    base: str | Path = ".",
    progress: Progress = silent,
    prepared: Callable[[PreparedRun], None] | None = None,
) -> Distilled:
    """Train a student on weighted teachers and leave what ``trivium distill`` leaves.

    Args:
        recipe: a file, or a recipe made in Python.
        out: the run's folder; None: ``runs/NAME`` of the recipe.
        resume: go on from the last checkpoint, if there is one.
        seed: in place of the recipe's ``train.seed``.
        base: where relative paths of a recipe made in Python count from; those of a file count from its folder.
        progress: called with (stage, done, total).
        prepared: called when data and teachers have been read, before anything is trained.

    Raises:
        InputError: anything in recipe, data or models that cannot be used. AxiomViolation: the monitor stopped it.

    Cost: that of the training; reading the teachers once before it.
    """
    if isinstance(recipe, Recipe):
        # Once more, as a copy with changes in it is not checked where it is made.
        content, place, source = parse_recipe(recipe.model_dump(warnings=False)), Path(base), None
    elif isinstance(recipe, str | Path):
        content, place, source = load_recipe(recipe), Path(recipe).parent, str(recipe)
    else:
        raise InputError("a run must have a recipe", type(recipe).__name__, "Give a file, or a tv.Recipe.")
    if seed is not None:
        require(0 <= seed <= MOST_SEED, f"a seed must be from 0 to {MOST_SEED}", seed, "For example 0.")
    subject = of_recipe(content, place) if source is None else of_file(source)
    if seed is not None:
        content = content.model_copy(update={"train": content.train.model_copy(update={"seed": int(seed)})})
    folder = Path("runs") / content.name if out is None else Path(out)
    refuse_overwrite(folder, resume)
    cache = place / content.cache.folder if content.cache.folder else folder / "cache"
    prepared_run = run.prepare(content, place, cache, progress, resumed=folder if resume else None)
    if prepared is not None and is_main():
        prepared(prepared_run)
    nll = run.distill(content, prepared_run, folder, resume=resume, progress=progress)
    certificate = finish(content, prepared_run, folder, subject) if is_main() else None
    rows, _ = prepared_run.held_out
    scores: dict[str, Tensor] = {name: nll[name] for name in ("student", "mixture") if name in nll}
    scores |= dict(zip(content.teacher_names, nll["teachers"].unbind(-1), strict=True))
    return Distilled(
        folder,
        _shares(folder),
        nll,
        {name: _mean(list(bits_per_byte(values, rows).values())) for name, values in scores.items()},
        rows.unit,
        certificate,
    )


def _shares(folder: Path) -> Mapping[str, float]:
    steps = [line for line in read_trace(folder / "metrics.jsonl") if line["kind"] == "step"]
    found: Mapping[str, float] = steps[-1]["share"].get("all", {}) if steps else {}
    return found


def _mean(values: list[float]) -> float:
    """NaN where one is: a teacher that does not serve a domain has no mean."""
    return sum(values) / len(values)
