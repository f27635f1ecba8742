"""``trivium certify``: what a rule or a recipe guarantees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trivium.certify.question import Question
    from trivium.cli.subject import Subject


def certify(
    target: Annotated[str, typer.Argument(help="FILE.py:NAME, RECIPE.yaml, or a built-in rule such as entropy.")],
    teachers: Annotated[int | None, typer.Option(help="How many teachers; a recipe says so itself.")] = None,
    names: Annotated[str | None, typer.Option(help="Their names, a,b,c by default.")] = None,
    floor: Annotated[float | None, typer.Option(help="Least weight of a teacher (W-B).")] = None,
    cap: Annotated[float | None, typer.Option(help="Largest weight of a teacher (W-B).")] = None,
    influence: Annotated[float | None, typer.Option(help="Largest log(max w / min w), nats (W-B).")] = None,
    lipschitz: Annotated[float | None, typer.Option(help="Nats a unit of the features (W-R).")] = None,
    order: Annotated[str | None, typer.Option(help='Safest first: "a>b=c" (W-S).')] = None,
    margin: Annotated[float, typer.Option(help="Nats between two tiers of the order.")] = 0.0,
    pareto: Annotated[bool, typer.Option("--pareto", help="No teacher's loss rises to first order (W-C).")] = False,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, an argument of a built-in rule.")] = None,
    run: Annotated[Path | None, typer.Option(help="A run folder: add what its monitor saw.")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Time for the search.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the certificate here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a section for a model card here.")] = None,
) -> None:
    """Check every axiom asked for: PROVED, VERIFIED, NOT FALSIFIED or VIOLATED.

    Normalization, positivity and dependence on the own row alone are always asked. Without bounds, what the rule
    itself declares is asked. Exit code 0: nothing violated. 1: something is, with an input that `trivium replay`
    evaluates again. 2: bad input. 3: anything else.
    """
    from trivium.certify import assemble, page
    from trivium.certify.run import add_run, read_run
    from trivium.cli.subject import parse_options, resolve
    from trivium.cli.table import show

    subject = resolve(target, parse_options(param or []))
    question = _question(subject, teachers, names, floor, cap, influence, lipschitz, order, margin, pareto)
    seen = None if run is None else read_run(run)
    certificate = assemble.certify(
        subject.operator, question, seconds=seconds, seed=seed, source=subject.source, name=subject.name
    )
    if seen is not None:
        certificate = add_run(certificate, seen)
    show(certificate)
    if json is not None:
        certificate.write(json)
    if markdown is not None:
        markdown.write_text(page.as_markdown(certificate), encoding="utf-8")
    if certificate.violated:
        if json is None:
            json = Path(f"{certificate.name}.witness.json")
            certificate.write(json)
        typer.echo(f"See it happen again: trivium replay {json}")
        raise typer.Exit(1)


def _question(
    subject: Subject,
    teachers: int | None,
    names: str | None,
    floor: float | None,
    cap: float | None,
    influence: float | None,
    lipschitz: float | None,
    order: str | None,
    margin: float,
    pareto: bool,
) -> Question:
    """What the user asks; for an axiom about which nothing is asked, what the operator claims."""
    from trivium.certify.question import Question, default_names
    from trivium.errors import InputError, require
    from trivium.simplex.order import Order

    given = tuple(name.strip() for name in names.split(",")) if names else ()
    known = subject.teachers or given
    if teachers is None and not known:
        raise InputError("the number of teachers must be given", "none", "Add --teachers 3.")
    count = len(known) if teachers is None else teachers
    require(count >= 1, "the number of teachers must be at least one", count, "Use --teachers 3.")
    for source, listed in (("the scheme has", subject.teachers), ("--names gives", given)):
        fits = not listed or len(listed) == count
        require(fits, f"--teachers must agree with what {source}", f"{count} and {len(listed)}", "Leave one out.")
    labels = given or subject.teachers or default_names(count)
    own = subject.claims(count, labels)
    bounded = not floor == cap == influence is None
    return Question(
        count,
        labels,
        floor=floor if bounded else own.floor,
        cap=cap if bounded else own.cap,
        influence=influence if bounded else own.influence,
        lipschitz=own.lipschitz if lipschitz is None else lipschitz,
        order=own.order if order is None else Order.parse(order, labels),
        margin=own.margin if order is None and own.order is not None else margin,
        pareto=pareto or own.pareto,
    )
