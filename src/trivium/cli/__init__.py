"""The command line. Commands load what they need when they run, so that ``trivium --help`` is quick.

Exit codes: 0 done and nothing violated; 1 something is violated, or does not hold as recorded; 2 bad input; 3 anything
else that went wrong. 2 and 3 come with one line on stderr; :mod:`trivium.cli.ending` has the whole table.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from trivium.cli import certify, demo, distill, fit, recipe, replay, rules, theory, verify
from trivium.cli.console import print_in_any_encoding
from trivium.cli.ending import INPUT, UsageError, ended
from trivium.cli.process import in_own_process


class OneLine(TyperGroup):
    """Ends every command, whatever it raises, with an exit code that means something and one line on stderr."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse and run; what fails while parsing ends here."""
        run = super().main
        sys.exit(ended(lambda: _parsed(lambda: run(*args, **{**kwargs, "standalone_mode": False}))))

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for; before typer makes something of an interruption."""
        run = super().invoke
        raise typer.Exit(ended(lambda: run(ctx)))


def _parsed(command: Any) -> None:
    """Typer returns an exit code where it is told to leave the process alone; a page of help is shown as it is."""
    try:
        code = command()
    except UsageError as error:
        if "\n" not in error.format_message().strip():
            raise
        error.show()
        code = INPUT
    raise typer.Exit(code or 0)


app = typer.Typer(
    name="trivium",
    cls=OneLine,
    help="Weight several teachers at three scales, with a certificate of what the weights guarantee.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(recipe.recipe)
app.command()(distill.distill)
app.command()(fit.fit)
app.command()(fit.headroom)
app.command()(certify.certify)
app.command()(replay.replay)
app.command()(verify.verify)
app.command()(theory.theory)
app.command()(rules.rules)


def main() -> None:
    """Entry point of the ``trivium`` command."""
    # Threads that spin while they wait slow a training step severalfold when another program wants the core; asleep
    # they cost a few microseconds. OpenMP reads this once, so it must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    print_in_any_encoding()
    in_own_process(app)
