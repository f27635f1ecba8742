"""What a finished search says: the best scheme as a recipe, what it gained and on which data, and what mattered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from torch import Tensor

from trivium.certification.specification import Specification
from trivium.data.table import Table
from trivium.jsontext import json_text, write_json
from trivium.training.build import build_scheme
from trivium.training.compare import bootstrap, comparison
from trivium.training.recipe import SchemeSection
from trivium.training.run import Progress, silent
from trivium.tuning.mixture import Split
from trivium.tuning.moved import moved
from trivium.tuning.proof import prove
from trivium.tuning.records import OUTCOMES, TrialRecord, chosen
from trivium.tuning.search import SchemeObjective
from trivium.tuning.space import Space
from trivium.tuning.storage import SearchIdentity, load_optuna
from trivium.weighting.features import SCALES

SCHEMA = "trivium.tune/1"
#: Complete trials below which importances would be noise.
ENOUGH = 10
#: The share of trials that counts as good, and the least number of them that the evaluator's authors advise.
_QUANTILE, _LEAST_GOOD = 0.1, 5
LABELS = {"best": "best of the search", "recipe": "recipe as written", "uniform": "uniform weights"}
_PAIRS = [("best", "uniform"), ("best", "recipe")]


class Measurer(SchemeObjective, Protocol):
    """An objective that also measures single schemes on either split."""

    what: str

    @property
    def unit(self) -> str:
        """What values are."""
        ...

    def measurable(self, section: SchemeSection) -> str:
        """Why a scheme cannot be measured; empty where it can."""
        ...

    def nll(self, section: SchemeSection, split: Split) -> Tensor:
        """Nats a row, [N]."""
        ...

    def rows(self, split: Split) -> Table:
        """The rows of a split."""
        ...


def conclude(
    space: Space,
    specification: Specification,
    objective: Measurer,
    records: Sequence[TrialRecord],
    study: Any,
    identity: SearchIdentity,
    folder: Path,
    has_test: bool,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure the best scheme, the recipe's own and uniform weights, and write ``best.yaml`` and ``tune.json``.

    The best is chosen by validation alone; test rows are read here for the first time, for these three.

    Args:
        question: what was asked of every trial.
        has_test: whether the recipe has test rows.

    Returns:
        The content of ``tune.json``.

    Raises:
        InputError: no trial was completed.
    """
    best = chosen(records)
    assert best.section is not None
    sections = {"best": best.section, "recipe": space.recipe.scheme, "uniform": space.bare}
    if objective.measurable(space.recipe.scheme):
        del sections["recipe"]
    measured: dict[str, dict[str, Any] | None] = {"validation": None, "test": None}
    splits: list[Split] = ["validation", "test"] if has_test else ["validation"]
    for number, split in enumerate(splits, start=1):
        nll = {name: objective.nll(section, split) for name, section in sections.items()}
        measured[split] = comparison({objective.what: nll}, objective.rows(split), LABELS, _PAIRS, _NOTES[split])
        progress("measuring the best", number, len(splits))
    content = {
        "schema": SCHEMA,
        "objective": objective.what,
        "unit": objective.unit,
        "settings": {"budget": space.budget, "floor": space.bare.floor, "seed": identity.seed, **identity.settings},
        "counts": _counts(records),
        "reasons": _reasons(records),
        "best": {"number": best.number, "name": best.name, "value": best.value, "influence": best.influence},
        "chosen": {scale: str(best.params.get(scale, "off")) for scale in SCALES},
        "left_out": [*space.left_out, *_notes(space, specification, best)],
        **measured,
        "warning": _warning(measured["test"], has_test, best.name),
        "scales": scale_effects(best.section, space, objective),
        "options": option_table(records),
        "importances": importances(study, records),
        "versions": {"trivium": version("trivium"), "optuna": str(load_optuna().__version__)},
    }
    write_best(space, best.section, folder)
    write_json(folder / "tune.json", content)
    return content


_NOTES: Mapping[str, str] = {
    "validation": "The best was chosen by these rows among all trials, so its number here flatters it.",
    "test": "No trial saw these rows. Paired bootstrap, 95 % intervals.",
}


def _notes(space: Space, specification: Specification, best: TrialRecord) -> list[str]:
    """What a reader of the comparison has to know of the recipe's own scheme."""
    notes = []
    proof = prove(build_scheme(space.recipe, space.base), specification)
    if not proof.proved:
        start = "; trial 0 is that scheme held to the budget" if space.own_shares is not None else ""
        notes.append(f"The recipe as written is not proved to keep what was asked ({proof.reason}){start}.")
    if best.name:
        notes.append(f"No trial was better than {_WORDS[best.name]}.")
    return notes


_WORDS: Mapping[str, str] = {"recipe": "the recipe's own scheme", "uniform": "uniform weights"}


def write_best(space: Space, section: SchemeSection, folder: Path) -> None:
    """``best.yaml``: the whole recipe under the best scheme, with paths that count from ``folder``."""
    recipe = space.with_section(section)
    recipe = moved(recipe.model_copy(update={"name": f"{recipe.name}-tuned"}), space.base, folder)
    if recipe.cache.folder is None:
        recipe = recipe.model_copy(update={"cache": recipe.cache.model_copy(update={"folder": "cache"})})
    head = f"# Chosen by `trivium tune` under a budget of {space.budget:g} nats. Next: trivium distill best.yaml\n"
    (folder / "best.yaml").write_text(head + recipe.to_yaml(), encoding="utf-8")


def write_trials(records: Sequence[TrialRecord], folder: Path) -> None:
    """``trials.jsonl``, a line a trial, replaced as a whole."""
    partial = folder / "trials.partial"
    lines = [json_text(record.to_json()) + "\n" for record in records]
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(folder / "trials.jsonl")


def scale_effects(best: SchemeSection, space: Space, objective: Measurer) -> list[dict[str, Any]]:
    """The best scheme without each of its scales, on validation rows: what is lost, with its paired interval.

    The other scales keep their budgets. With the student objective each is one more student.
    """
    present = [scale for scale in SCALES if getattr(best, scale)]
    budgets = best.budget if isinstance(best.budget, dict) else {}
    nll = {"best": objective.nll(best, "validation")} if present else {}
    for scale in present:
        left = {other: value for other, value in budgets.items() if other != scale}
        without = best.model_copy(update={scale: [], "budget": left or None})
        nll[scale] = objective.nll(without, "validation")
    if not present:
        return []
    replicates = bootstrap(nll, objective.rows("validation"))
    return [{"scale": scale, **replicates.difference(scale, "best")} for scale in present]


def option_table(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """For every scale and what stood there: how many complete trials, the best and the median of their values."""
    table = []
    complete = [record for record in records if record.outcome == "complete" and record.value is not None]
    for scale in SCALES:
        values: dict[str, list[float]] = {}
        for record in complete:
            if scale in record.params:
                values.setdefault(str(record.params[scale]), []).append(record.value or 0.0)
        for option, reached in sorted(values.items(), key=lambda item: min(item[1])):
            row = {"trials": len(reached), "best": min(reached), "median": median(reached)}
            table.append({"scale": scale, "option": option, **row})
    return table


def importances(study: Any, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """PED-ANOVA: how far each parameter's values in the best trials differ from those in all, shares of one.

    It needs no further package and takes parameters that stand only in some trials. The best tenth counts as good, or
    five trials where that is more. A parameter that fewer than half of the good trials have is ``rare`` and not judged:
    one trial would decide its share. What the sampler never varied cannot show, and no share is an effect in bits.
    """
    complete = [record for record in records if record.outcome == "complete"]
    if len(complete) < ENOUGH or len({record.value for record in complete}) < 2:
        return {"shares": {}, "rare": [], "trials": len(complete), "good": 0, "needed": ENOUGH}
    optuna = load_optuna()
    good = max(_LEAST_GOOD, math.ceil(_QUANTILE * len(complete)))
    best = sorted(complete, key=lambda record: (record.value, record.number))[:good]
    names = list(dict.fromkeys(name for record in best for name in record.params))
    common = [name for name in names if 2 * sum(name in record.params for record in best) >= good]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that target and region coincide: then every share is zero
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=good / len(complete))
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=common)
    found = {name: float(value) for name, value in shares.items()}
    rare = [name for name in names if name not in common]
    return {"shares": found, "rare": rare, "trials": len(complete), "good": good, "needed": ENOUGH}


def _counts(records: Sequence[TrialRecord]) -> dict[str, int]:
    outcomes: list[str] = [record.outcome for record in records]
    return {"trials": len(records), **{name: outcomes.count(name) for name in OUTCOMES}}


def _reasons(records: Sequence[TrialRecord]) -> dict[str, int]:
    """Why trials were dismissed before or while they were judged, with how often."""
    reasons = [record.reason for record in records if record.outcome in ("not proved", "failed")]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def _warning(test: Mapping[str, Any] | None, has_test: bool, name: str = "") -> str:
    if not has_test or test is None:
        return (
            "The recipe has no test data. The validation numbers are of the trial that they chose, so they flatter it; "
            "add `test` to its domains."
        )
    if name == "uniform":
        return "Uniform weights are the best of the search, so there is no gain to show."
    entry = next(e for e in test["differences"] if (e["a"], e["b"]) == ("best", "uniform"))
    low, high = entry["interval"]
    if low <= 0 <= high:
        return (
            f"On test rows no gain over uniform weights is shown: the 95 % interval of best − uniform, "
            f"[{low:+.3f}, {high:+.3f}] {test['unit']}, includes zero. Use more evaluation and test rows."
        )
    if low > 0:
        return "On test rows the best of the search does worse than uniform weights: validation misled it."
    return ""
