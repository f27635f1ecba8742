"""``trivium tune``: search over conforming schemes, on validation data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trivium.tuning.records import TrialRecord

#: Time for the search for counterexamples when the best is certified.
SECONDS = 3.0
_SHOWN = 8


def tune(
    recipe: Annotated[Path, typer.Argument(help="RECIPE.yaml: teachers, data, student and a scheme to begin with.")],
    out: Annotated[Path | None, typer.Option(help="The search's folder; default runs/NAME-tune.")] = None,
    objective: Annotated[
        str, typer.Option(help="mixture: the weighted teachers predict; student: train a short one.")
    ] = "mixture",
    trials: Annotated[int, typer.Option(min=2, help="Schemes in all, resumed ones included.")] = 60,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Begin no trial after this time.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Influence of the whole, nats; default the recipe's, else 4.")
    ] = None,
    floor: Annotated[float | None, typer.Option(min=0.0, help="Least weight; default the recipe's.")] = None,
    rules: Annotated[str | None, typer.Option(help="Only these, a,b,c; default all that fit.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of a student; default a fifth of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a search stopped.")] = False,
) -> None:
    """Find a scheme on validation data; leave best.yaml, trials.jsonl, tune.json and tune.html in the folder.

    Each candidate is proved to keep the budget before it is judged; one that is not is counted, with the reason.
    Trials 0 and 1 are the recipe's own scheme, held to the budget, and uniform weights. Exit code 0: done. 1: done, and
    an axiom of the best is violated. 2: bad input. 3: anything else, with the traceback in the folder.
    """
    from trivium.cli.console import console
    from trivium.cli.data import show_data
    from trivium.cli.ending import work_in
    from trivium.cli.progress import shown
    from trivium.errors import nearest, require
    from trivium.jsontext import write_json
    from trivium.report.tuning import write_tuning
    from trivium.training import run
    from trivium.training.recipe import load_recipe
    from trivium.tuning import Limits, build_space, conclude, search
    from trivium.tuning.mixture import MixtureObjective
    from trivium.tuning.outcome import write_trials
    from trivium.tuning.storage import identity_of, load_optuna, refuse_overwrite
    from trivium.tuning.student import StudentObjective

    load_optuna()
    world = os.environ.get("WORLD_SIZE", "1")
    require(world == "1", "a search must run in one process", world, "Start it without torchrun.")
    goals = ("mixture", "student")
    require(objective in goals, "--objective must be known", repr(objective), nearest(objective, goals))
    require(objective == "student" or steps is None, "--steps belong to --objective student", steps, "Leave them out.")
    content, base = load_recipe(recipe), recipe.parent
    folder = out or Path("runs") / f"{content.name}-tune"
    refuse_overwrite(folder, resume)
    work_in(folder)
    names = [name.strip() for name in (rules or "").split(",") if name.strip()]
    require(rules is None or bool(names), "--rules must name a rule", repr(rules), "Leave it out to search all.")
    space = build_space(content, base, goal=objective, budget=budget, floor=floor, rules=names)  # type: ignore[arg-type]
    specification = space.specification
    screen = console()
    cache = base / content.cache.folder if content.cache.folder else folder / "cache"
    wanted = ("validation", "test") if objective == "mixture" else ("train", "validation")
    length = steps or max(1, content.train.steps // 5)
    with shown() as progress:
        prepared_run = run.prepare(space.everything(), base, cache, progress, cached=wanted)
        counted = {name: value for name, value in prepared_run.data.items() if name != "sentence"}  # of steps not taken
        show_data(counted, screen)
        judge: Any = (
            MixtureObjective(space, prepared_run)
            if objective == "mixture"
            else StudentObjective(space, prepared_run, length, folder / "students")
        )
        settings = {"objective": objective, "budget": space.budget, "floor": space.bare.floor, "rules": names}
        trains = objective == "student"
        identity = identity_of(space, prepared_run, seed, settings | {"steps": length if trains else None}, trains)
        limits = Limits(trials, None if minutes is None else 60 * minutes)

        def record(found: list[TrialRecord]) -> None:  # not before the search is known to be the one in the folder
            write_json(folder / "data.json", counted)
            write_trials(found, folder)

        records, study = search(
            space,
            specification,
            judge,
            identity,
            folder,
            limits,
            resume=resume,
            progress=progress,
            after=record,
        )
        record(records)
        has_test = prepared_run.tables.test is not None
        result = conclude(space, specification, judge, records, study, identity, folder, has_test, progress)
    violated = _certify(folder, space.budget)
    page = write_tuning(folder)
    show(result, [record.to_json() for record in records], screen)
    screen.print(f"recipe: {folder / 'best.yaml'}\nreport: {page}", soft_wrap=True, highlight=False)
    raise typer.Exit(1 if violated else 0)


def _certify(folder: Path, budget: float) -> bool:
    """Certify the written recipe, not the objects of the search, and say whether something is violated."""
    from dataclasses import replace

    from trivium.certification import certify
    from trivium.cli.console import console
    from trivium.cli.subject import resolve
    from trivium.cli.table import show as table

    subject = resolve(str(folder / "best.yaml"))
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    specification = replace(specification, influence=budget)
    certificate = certify(subject.operator, specification, seconds=SECONDS, source=subject.source, name=subject.name)
    certificate.write(folder / "certificate.json")
    table(certificate, console(), derivation=False)
    return bool(certificate.violated)


def show(result: dict[str, Any], trials: list[dict[str, Any]], screen: Any) -> None:
    """The best trials, the three that are compared on either split, and what the intervals allow to say."""
    from rich.text import Text

    from trivium.report.console import comparison_table, difference_table, trials_table

    counts = result["counts"]
    said = ", ".join(
        f"{counts[name]} {name}" for name in ("complete", "stopped", "not proved", "failed") if counts[name]
    )
    screen.print(trials_table(trials, result["unit"], _SHOWN))
    screen.print(Text(f"{counts['trials']} trials: {said}."), soft_wrap=True)
    for sentence in result["left_out"]:
        screen.print(Text(sentence), soft_wrap=True)
    for reason, count in result["reasons"].items():
        screen.print(Text(f"{count} × {reason}"), style="dim", soft_wrap=True)
    for split in ("validation", "test"):
        if result[split] is not None:
            screen.print(Text(f"\n{split.capitalize()} rows. {result[split]['note']}"), soft_wrap=True)
            screen.print(comparison_table(result[split]), difference_table(result[split]))
    if result["warning"]:
        screen.print(Text(result["warning"]), style="bold yellow", soft_wrap=True)
