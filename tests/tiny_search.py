"""A search whose objective is a formula, so that a trial costs milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivium.training.recipe import SchemeSection
from trivium.tuning.records import TrialRecord
from trivium.tuning.search import Limits, search
from trivium.tuning.space import Space
from trivium.tuning.storage import SearchIdentity


class Formula:
    """An objective without models: a smooth function of the scheme. It remembers what it was asked."""

    def __init__(self, stop_after: int | None = None, fails: Callable[[int], None] | None = None) -> None:
        self.asked: list[SchemeSection] = []
        self.kept: list[SchemeSection] = []
        self.stop_after, self.fails = stop_after, fails

    def value(self, section: SchemeSection, watch: Any = None) -> float:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(section)
        if self.fails is not None:
            self.fails(len(self.asked))
        return formula(section)

    def keep(self, sections: list[SchemeSection]) -> None:
        self.kept = sections


def formula(section: SchemeSection) -> float:
    """Least at budget 2 for the context scale, none for the others."""
    budgets = section.budget if isinstance(section.budget, dict) else {}
    wanted = {"token": 0.0, "task": 0.0, "context": 2.0}
    return 1.0 + sum((budgets.get(scale, 0.0) - value) ** 2 for scale, value in wanted.items())


def identity(seed: int = 0, **settings: Any) -> SearchIdentity:
    return SearchIdentity("digest", {"sums": "a", "tales": "b"}, "rows", {"mine.py": "c"}, seed, settings)


def run_search(
    space: Space, folder: Path, trials: int, objective: Any = None, seed: int = 0, **options: Any
) -> list[TrialRecord]:
    limits = options.pop("limits", Limits(trials))
    made = options.pop("identity", identity(seed))
    records, _ = search(space, space.specification, objective or Formula(), made, folder, limits, **options)
    return records


def essence(records: list[TrialRecord]) -> list[dict[str, Any]]:
    """A trial without the clock."""
    return [{key: value for key, value in json.loads(json.dumps(r.to_json())).items() if key != "seconds"}
            for r in records]  # fmt: skip
