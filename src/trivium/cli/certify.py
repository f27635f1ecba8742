"""``trivium certify``: what a rule or a recipe guarantees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def certify(
    target: Annotated[str, typer.Argument(help="FILE.py:NAME, RECIPE.yaml, or a built-in rule such as entropy.")],
    num_teachers: Annotated[
        int | None, typer.Option("--teachers", help="How many teachers; a recipe says so itself.")
    ] = None,
    names: Annotated[str | None, typer.Option(help="Their names, a,b,c by default.")] = None,
    floor: Annotated[float | None, typer.Option(help="Least weight of a teacher (W-B).")] = None,
    cap: Annotated[float | None, typer.Option(help="Largest weight of a teacher (W-B).")] = None,
    influence: Annotated[float | None, typer.Option(help="Largest log(max w / min w), nats (W-B).")] = None,
    lipschitz: Annotated[float | None, typer.Option(help="Nats a unit of the features (W-R).")] = None,
    order: Annotated[str | None, typer.Option(help='Safest first: "a>b=c" (W-S).')] = None,
    order_margin: Annotated[float, typer.Option("--margin", help="Nats between two tiers of the order.")] = 0.0,
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
    evaluates again. 2: bad input, among it a rule that ends its process or gives no answer within 20 times --seconds
    and a minute: a user's file runs in a process of its own. 3: anything else.
    """
    from trivium.certification import page
    from trivium.certification.certificate import parse
    from trivium.cli import work
    from trivium.cli.subject import parse_options
    from trivium.cli.table import show
    from trivium.errors import require

    asked = {
        "num_teachers": num_teachers,
        "names": names,
        "floor": floor,
        "cap": cap,
        "influence": influence,
        "lipschitz": lipschitz,
        "order": order,
        "order_margin": order_margin,
        "pareto": pareto,
    }
    for option, value in [*asked.items(), ("seconds", seconds)]:
        finite = not isinstance(value, float) or math.isfinite(value)
        require(
            finite, f"--{option.removeprefix('order_')} must be a finite number", value, "Leave it out to ask nothing."
        )
    arguments = {
        "target": target,
        "options": parse_options(param or []),
        "asked": asked,
        "run": None if run is None else str(run),
        "seconds": seconds,
        "seed": seed,
    }
    certificate = parse(work.run("certify", arguments, work.of_a_user(target), seconds))
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
