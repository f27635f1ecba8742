"""``trivium verify``: check a certificate again, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[Path, typer.Argument(help="A certificate.")],
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Time for the search; as recorded by default.")] = None,
    run: Annotated[Path | None, typer.Option(help="Where the run of a run's certificate lies now.")] = None,
) -> None:
    """Compute everything in a certificate again and compare: source, programs, constants, derivation, and of each
    finding its word, numbers, argument, search and counterexample.

    Exit code 0: it holds as written. 1: refused, with the reasons. 2: the file is no certificate, or its rule ends the
    process or gives no answer in 20 times the seconds of its search and a minute. 3: anything else.
    """
    from trivium.certification.certificate import load
    from trivium.cli import work

    certificate = load(file)
    effort = certificate.search.get("seconds", 0.0) if seconds is None else seconds
    arguments = {"file": str(file), "seconds": seconds, "run": None if run is None else str(run)}
    found = work.run("verify", arguments, work.from_a_user(certificate), effort)
    for reason in found["refusals"]:
        typer.echo(f"refused: {reason}")
    if found["refusals"]:
        raise typer.Exit(1)
    words = {result.axiom: result.verdict for result in certificate.results}
    typer.echo(
        f"{file} holds: the digest fits, the {certificate.source.kind} is as it was certified, and asking again gives "
        "the same: " + ", ".join(f"{axiom} {words[axiom]}" for axiom in found["confirmed"]) + "."
    )
    for reason in found["left"]:
        typer.echo(f"not compared: {reason}")
