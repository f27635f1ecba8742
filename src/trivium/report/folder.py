"""A run folder as read from disk: what is there, and a sentence for what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trivium.errors import InputError
from trivium.report.traces import RunTrace, keys_of, read_trace


@dataclass(frozen=True)
class RunFolder:
    """Everything a report shows.

    Attributes:
        path: of the folder.
        name: of the folder, without the path to it.
        recipe_text: the recipe as run, or None.
        main: the trace at the top of the folder, named after the run below it that has the same one.
        runs: traces to overlay, the main one first.
        certificate, comparison, sample, accuracy, data: the JSON files, or None; a run on text has no accuracy.
        safety, headroom, fit: likewise; one that declared nothing has no safety, only a fitted scheme's run has a fit.
        faults: by file name, how the file is unusable (``"is missing"``).
    """

    path: Path
    name: str
    recipe_text: str | None
    recipe: Mapping[str, Any]
    main: RunTrace | None
    runs: tuple[RunTrace, ...]
    certificate: Mapping[str, Any] | None
    comparison: Mapping[str, Any] | None
    sample: Mapping[str, Any] | None
    faults: Mapping[str, str] = field(default_factory=dict)
    accuracy: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    safety: Mapping[str, Any] | None = None
    headroom: Mapping[str, Any] | None = None
    fit: Mapping[str, Any] | None = None

    @property
    def teacher_names(self) -> list[str]:
        """Names in one order for the whole page, so that a teacher keeps its colour."""
        certificate = self.certificate or {}
        asked = (
            certificate.get("specification") or certificate.get("question") or {}
        )  # a file of schema 2 has the other
        declared = (self.sample or {}).get("teachers") or asked.get("names")
        names = [str(name) for name in declared or []]
        if self.main is not None:
            for scale in keys_of(self.main.steps, "share"):
                names += [name for name in keys_of(self.main.steps, "share", scale) if name not in names]
        return names

    def label(self, run: str) -> str:
        """Return what the comparison calls a run; its own name where the comparison does not say."""
        for row in (self.comparison or {}).get("rows") or []:
            if row.get("name") == run and row.get("label"):
                return str(row["label"])
        return run


def read_folder(run: Path) -> RunFolder:
    """Read what a run folder holds; an absent or broken file becomes an entry of ``faults``.

    Raises:
        InputError: the folder does not exist.
    """
    if not run.is_dir():
        raise InputError("a report is written from a run folder", f"{run}, which is not a folder", "Name a run.")
    faults: dict[str, str] = {}
    recipe_text = _text(run / "recipe.yaml", faults)
    main = _trace(run / "metrics.jsonl", run.resolve().name, faults)
    runs = [_trace(path, path.parent.name, {}) for path in sorted(run.glob("*/metrics.jsonl"))]
    below = [trace for trace in runs if trace is not None]
    if main is not None:
        twin = next((t for t in below if (t.steps, t.evals) == (main.steps, main.evals)), None)
        main = twin or main
        below = [main, *(trace for trace in below if trace is not twin)]
    return RunFolder(
        path=run,
        name=run.resolve().name,
        recipe_text=recipe_text,
        recipe=_mapping(recipe_text),
        main=main,
        runs=tuple(below),
        certificate=_json(run / "certificate.json", faults),
        comparison=_json(run / "comparison.json", faults),
        sample=_json(run / "sample.json", faults),
        faults=faults,
        accuracy=_json(run / "accuracy.json", faults),
        data=_json(run / "data.json", faults),
        safety=_json(run / "safety.json", faults),
        headroom=_json(run / "headroom.json", faults),
        fit=_json(run / "fit.json", faults),
    )


def _text(path: Path, faults: dict[str, str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        faults[path.name] = "is missing"
    except (OSError, UnicodeDecodeError) as error:
        faults[path.name] = f"cannot be read ({type(error).__name__})"
    return None


def _json(path: Path, faults: dict[str, str]) -> Mapping[str, Any] | None:
    text = _text(path, faults)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        faults[path.name] = f"is not valid JSON ({error})"
        return None
    if isinstance(value, dict):
        return value
    faults[path.name] = "does not hold a JSON object"
    return None


def _mapping(text: str | None) -> Mapping[str, Any]:
    """Return the recipe's keys; a recipe that is not YAML is still shown as text."""
    try:
        value = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def _trace(path: Path, name: str, faults: dict[str, str]) -> RunTrace | None:
    try:
        trace = read_trace(path, name)
    except FileNotFoundError:
        faults[path.name] = "is missing"
        return None
    except OSError as error:
        faults[path.name] = f"cannot be read ({type(error).__name__})"
        return None
    if trace.steps or trace.evals:
        return trace
    faults[path.name] = "holds no steps"
    return None
