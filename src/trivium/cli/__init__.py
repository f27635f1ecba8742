"""The command line. Commands load what they need when they run, so that ``trivium --help`` is quick.

Exit codes: 0 done and nothing violated; 1 something is violated, or does not hold as recorded; 2 bad input, with one
line on stderr.
"""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from trivium.cli import certify, demo, distill, recipe, replay, rules, theory, tune, verify
from trivium.errors import TriviumError

#: What a mistyped command line raises; its module differs between versions of typer.
UsageError: Any = typer.BadParameter.__bases__[0]


class OneLine(TyperGroup):
    """Turns an error that the user can act on into one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            command = error.ctx.command_path if error.ctx else "trivium"
            line = f"{error.format_message().rstrip('.')}. See `{command} --help`."
        except TriviumError as error:
            line = str(error)
        except OSError as error:
            line = f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}."
        typer.echo("trivium: " + " ".join(line.split()), err=True)
        raise typer.Exit(2)


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
app.command()(tune.tune)
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
    app()
