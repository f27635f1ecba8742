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
    from trivium.cli import whole
    from trivium.cli.console import console
    from trivium.cli.data import show_data
    from trivium.cli.ending import work_in
    from trivium.cli.finish import show_finished
    from trivium.cli.progress import shown
    from trivium.training.checkpoints import refuse_overwrite
    from trivium.training.recipe import load_recipe

    folder = out or Path("runs") / load_recipe(recipe).name
    refuse_overwrite(folder, resume)  # before a traceback goes there
    work_in(folder)
    with shown() as progress:
        found = whole.distill(
            recipe,
            folder,
            resume=resume,
            seed=seed,
            progress=progress,
            prepared=lambda prepared_run: show_data(prepared_run.data, console()),
        )
    if found.certificate is None:
        return
    show_finished(found.certificate, folder)
    typer.echo(f"student, certificate and report: {folder}")
    raise typer.Exit(1 if found.certificate.violated else 0)
