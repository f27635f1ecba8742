"""``trivium demo``: three specialists, one student, five ways to weigh them, on real text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: What is shared by the top of the demo's folder and the run of the fitted scheme.
_OF_THE_MAIN_RUN = ("recipe.yaml", "metrics.jsonl", "data.json", "student")
_LABELS = {
    "single": "best single teacher",
    "uniform": "uniform weights",
    "full": "scheme set by hand",
    "fitted": "fitted scheme",
    "oracle": "oracle (knows the domain)",
}
_PAIRS = [("fitted", "uniform"), ("fitted", "single"), ("fitted", "full"), ("fitted", "oracle")]
#: Five students in the time of four at the recipe's 400 steps.
_STEPS = 320
_NOTE = (
    "Same text, steps, distillation mass and initial weights for every run; intervals are 95 % paired bootstraps over "
    "held-out documents. One seed; benchmarks/first_light.py runs several."
)


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/demo"),
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps a student; default 320.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default those of this machine.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted demo stopped.")] = False,
) -> None:
    """Distil five students from three specialist teachers (Python, prose, C++) and compare them.

    Takes about five minutes on two cores. Leaves report.html, certificate.json, metrics.jsonl, the recipe as run and
    student/ in the folder. Exit code 0: done, nothing violated. 1: an axiom is violated. 2: bad input.
    3: anything else, with the traceback in the folder.
    """
    import shutil
    from importlib.resources import files

    from trivium.cli.console import console as wide
    from trivium.cli.data import show_data
    from trivium.cli.ending import work_in
    from trivium.cli.finish import finish, show_finished
    from trivium.cli.progress import shown
    from trivium.cli.subject import resolve
    from trivium.errors import require
    from trivium.jsontext import write_json
    from trivium.report.console import comparison_table, difference_table
    from trivium.training import run
    from trivium.training.arms import baselines, with_scheme
    from trivium.training.build import build_scheme
    from trivium.training.checkpoints import require_place
    from trivium.training.compare import comparison
    from trivium.training.recipe import load_recipe

    finished = out / "comparison.json"
    require(
        not finished.exists(),
        "a demo must not overwrite another",
        f"{out}, which is finished",
        f"Open {out}/report.html, or name another --out.",
    )
    require_place(out)
    work_in(out)
    assets = Path(str(files("trivium"))) / "assets" / "first_light"
    recipe = load_recipe(assets / "recipe.yaml")
    changed = {"steps": steps or _STEPS, "threads": threads}
    full = recipe.model_copy(update={"train": recipe.train.model_copy(update=changed)})
    fitted = with_scheme(full, "fitted", load_recipe(assets / "fitted.yaml").scheme)
    console = wide()
    console.print(str(build_scheme(fitted)), highlight=False, soft_wrap=True)
    cache = out / "cache"
    nll = {}
    with shown() as progress:
        prepared_run = run.prepare(fitted, Path(), cache, progress)
        show_data(prepared_run.data, console)
        arms = baselines(full, prepared_run.validation_loss) | {"full": full, "fitted": fitted}
        for name in _LABELS:
            begun = (out / name / "identity.json").exists()
            nll[name] = run.distill(arms[name], prepared_run, out / name, resume=resume and begun, progress=progress)
    rows, _ = prepared_run.held_out
    measured = {what: {name: found[what] for name, found in nll.items()} for what in ("mixture", "student")}
    content = comparison(measured, rows, _LABELS, _PAIRS, _NOTE)
    copy_main_run(out)
    write_json(out / "comparison.json", content)
    certificate = finish(fitted, prepared_run, out, resolve(str(out / "recipe.yaml")), assets)
    show_finished(certificate, out)
    console.print(comparison_table(content), difference_table(content))
    shutil.rmtree(cache)
    for name in _LABELS:
        for checkpoint in (out / name).glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    raise typer.Exit(1 if certificate.violated else 0)


def copy_main_run(out: Path) -> None:
    """Put the fitted scheme's run on top of the demo's folder, over what a stopped demo left there."""
    import shutil

    for name in _OF_THE_MAIN_RUN:
        source = out / "fitted" / name
        if source.is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
            shutil.copytree(source, out / name)
        else:
            shutil.copyfile(source, out / name)
