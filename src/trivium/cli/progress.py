"""Progress in the terminal: bars where a person watches, lines where a log does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown() -> Iterator[Callable[[str, int, int], None]]:
    """Return a function (stage, done, total) that shows one bar a stage."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done)  # type: ignore[arg-type]

        yield report


def _lines() -> Callable[[str, int, int], None]:
    last: dict[str, float] = {}
    start = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(stage, -_SECONDS_BETWEEN_LINES) >= _SECONDS_BETWEEN_LINES:
            last[stage] = now
            print(f"[{now - start:5.0f} s] {stage}: {done}/{total}", file=sys.stderr, flush=True)

    return report
