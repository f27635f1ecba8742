"""``trivium fit`` and ``trivium headroom``: strengths found by gradient, and what any weighting could gain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

#: Time for the search for counterexamples when the fitted recipe is certified.
SECONDS = 3.0


def fit(
    recipe: Annotated[Path, typer.Argument(help="RECIPE.yaml: teachers, data, and a scheme with its bounds.")],
    out: Annotated[Path | None, typer.Option(help="The folder; default runs/NAME-fit.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="Influence of the whole, nats, at most; default the recipe's, else 8.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Only these, a,b,c; default all that predict.")] = None,
    penalty: Annotated[float | None, typer.Option(min=0.0, help="Ridge; default chosen by cross-validation.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, starts and bootstrap draws.")] = 0,
) -> None:
    """Fit the scheme's strengths to the teachers' log-probabilities of validation data; no student is trained.

    Leaves fitted.yaml, which `distill` runs, certificate.json and fit.json in the folder. Test rows judge, which are
    never fitted; without them a quarter of the validation documents. Exit code 0: done. 1: done, and an axiom is
    violated. 2: bad input. 3: anything else, with the traceback in the folder.
    """
    from trivium.cli.console import console
    from trivium.cli.ending import work_in
    from trivium.cli.finish import unit_of
    from trivium.cli.progress import shown
    from trivium.errors import require
    from trivium.jsontext import write_json
    from trivium.report.fitting import fit_tables, headroom_table
    from trivium.training import run
    from trivium.training.checkpoints import require_place
    from trivium.training.fitting import fit_recipe
    from trivium.training.moved import moved
    from trivium.training.recipe import load_recipe

    content, base = load_recipe(recipe), recipe.parent
    folder = out or Path("runs") / f"{content.name}-fit"
    names = None if features is None else [name.strip() for name in features.split(",") if name.strip()]
    require(names is None or bool(names), "--features must name one", repr(features), "Leave it out to fit all.")
    require(budget is None or budget > 0, "--budget must be a positive number of nats", budget, "Try 4.")
    require(not (folder / "fit.json").exists(), "a fit must not overwrite another", str(folder), "Name another --out.")
    require_place(folder)
    work_in(folder)
    cache = base / content.cache.folder if content.cache.folder else folder / "cache"
    with shown() as progress:
        prepared_run = run.prepare(content, base, cache, progress, cached=("validation", "test"))
        found = fit_recipe(content, prepared_run, budget=budget, features=names, penalty=penalty, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fitted.yaml").write_text(moved(found.recipe, base, folder).to_yaml(), encoding="utf-8")
    data = found.to_data() | {"unit": unit_of(prepared_run)}
    write_json(folder / "fit.json", data)
    violated = _certify(folder)
    screen = console()
    for table in fit_tables(data, unit_of(prepared_run)):
        screen.print(table)
    screen.print(headroom_table(data["headroom"], unit_of(prepared_run)), soft_wrap=True)
    for line in (*found.notes, data["headroom"]["advice"]):
        screen.print(line, soft_wrap=True, highlight=False)
    screen.print(f"recipe: {folder / 'fitted.yaml'}", soft_wrap=True, highlight=False)
    raise typer.Exit(1 if violated else 0)


def headroom(
    recipe: Annotated[Path, typer.Argument(help="RECIPE.yaml: teachers, data and a scheme.")],
    out: Annotated[Path | None, typer.Option(help="The folder; default runs/NAME-headroom.")] = None,
) -> None:
    """Bound what any weights that are constant over everything, a task, a domain or a document could gain.

    The recipe's scheme and each of its scales stand beside the bounds. On test rows, or validation rows where there are
    none. Leaves headroom.json in the folder. Exit code 0: done. 2: bad input. 3: anything else.
    """
    from trivium.cli.console import console
    from trivium.cli.ending import work_in
    from trivium.cli.finish import unit_of
    from trivium.cli.progress import shown
    from trivium.jsontext import write_json
    from trivium.report.fitting import differing_table, headroom_table
    from trivium.training import run
    from trivium.training.checkpoints import require_place
    from trivium.training.fitting import headroom_of
    from trivium.training.recipe import load_recipe

    content, base = load_recipe(recipe), recipe.parent
    folder = out or Path("runs") / f"{content.name}-headroom"
    require_place(folder)
    work_in(folder)
    cache = base / content.cache.folder if content.cache.folder else folder / "cache"
    with shown() as progress:
        prepared_run = run.prepare(content, base, cache, progress, cached=("validation", "test"))
        found, split = headroom_of(content, prepared_run)
    folder.mkdir(parents=True, exist_ok=True)
    data = found.to_data() | {"split": split, "unit": unit_of(prepared_run)}
    write_json(folder / "headroom.json", data)
    screen = console()
    screen.print(headroom_table(data, data["unit"]))
    if data["differing"] is not None:
        screen.print(differing_table(data["differing"]))
    screen.print(data["advice"], soft_wrap=True, highlight=False)


def _certify(folder: Path) -> bool:
    """Certify the written recipe, not the objects of the fit, and say whether something is violated."""
    from dataclasses import replace

    from trivium.certification import certify
    from trivium.cli.console import console
    from trivium.cli.subject import resolve
    from trivium.cli.table import show
    from trivium.training.recipe import load_recipe

    path = folder / "fitted.yaml"
    subject = resolve(str(path))
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    section = load_recipe(path).scheme
    rules: list[Mapping[str, Any]] = [dict(entry) for entry in (*section.token, *section.task, *section.context)]
    specification = replace(specification, influence=sum(entry["squash"] for entry in rules))
    certificate = certify(subject.operator, specification, seconds=SECONDS, source=subject.source, name=subject.name)
    certificate.write(folder / "certificate.json")
    show(certificate, console(), derivation=False)
    return bool(certificate.violated)
