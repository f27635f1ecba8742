"""``trivium distill``: from a recipe to a student with its record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def distill(
    recipe: Annotated[Path, typer.Argument(help="RECIPE.yaml; `trivium recipe` prints one to edit.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/NAME of the recipe.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="In place of the recipe's train.seed.")] = None,
) -> None:
    """Train a student on weighted teachers; leave student, trace, certificate and report in the run's folder.

    The scheme is certified before training: one that is VIOLATED is trained all the same, watched by the monitor.
    Exit code 0: done. 1: done, and an axiom is violated. 2: bad input, or the monitor stopped the run; checkpoints
    stay. 3: anything else, with the traceback in the run's folder.
    """
    from trivium.cli.console import console
    from trivium.cli.data import show_data
    from trivium.cli.ending import work_in
    from trivium.cli.finish import finish
    from trivium.cli.progress import shown
    from trivium.cli.subject import of_recipe
    from trivium.training import run
    from trivium.training.checkpoints import refuse_overwrite
    from trivium.training.processes import is_main
    from trivium.training.recipe import load_recipe

    content = load_recipe(recipe)
    if seed is not None:
        content = content.model_copy(update={"train": content.train.model_copy(update={"seed": seed})})
    folder = out or Path("runs") / content.name
    base = recipe.parent
    refuse_overwrite(folder, resume)
    work_in(folder)
    subject = of_recipe(str(recipe))
    with shown() as progress:
        cache = base / content.cache.folder if content.cache.folder else folder / "cache"
        workshop = run.prepare(content, base, cache, progress, resumed=folder if resume else None)
        if is_main():
            show_data(workshop.data, console())
        run.distill(content, workshop, folder, resume=resume, progress=progress)
    if not is_main():
        return
    violated = finish(content, workshop, folder, subject)
    typer.echo(f"student, certificate and report: {folder}")
    raise typer.Exit(1 if violated else 0)
