"""A search on one page: what was gained on which data, how it got there, what mattered, and every trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from trivium.errors import InputError
from trivium.report.certificate import axioms, formula, results
from trivium.report.comparison import comparison
from trivium.report.curves import SCALES
from trivium.report.data import data
from trivium.report.folder import RunFolder, read_folder
from trivium.report.numbers import NOTHING, counted, decimal, finite, interval, reading
from trivium.report.section import Chart, PageSection, line
from trivium.report.write import built, write_page

_TONES: Final = {"lower": "good", "higher": "bad"}
_TITLES: Final = {"validation": "On validation data", "test": "On test data"}
_SHOWN: Final = 60


def write_tuning(run: Path) -> Path:
    """Write ``tune.html`` into the folder of a search and return its path.

    It is read from ``tune.json``, ``trials.jsonl``, ``best.yaml`` and ``certificate.json`` alone.

    Raises:
        InputError: no search was finished in the folder.
    """
    folder = read_folder(run)
    try:
        found = json.loads((run / "tune.json").read_text(encoding="utf-8"))
        lines = (run / "trials.jsonl").read_text(encoding="utf-8").splitlines()
        trials = [json.loads(text) for text in lines]
        recipe = (run / "best.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError("a search's page needs its files", f"{run}: {error}", "Run `trivium tune` again.") from None
    parts: tuple[tuple[Callable[[RunFolder], PageSection | None], str, str], ...] = (
        (partial(verdict, found=found), "verdict", "tune.json"),
        (formula, "formula", "certificate.json"),
        (axioms, "axioms", "certificate.json"),
        *((partial(on_split, found=found, split=split), split, "tune.json") for split in _TITLES),
        (partial(scales, found=found), "scales", "tune.json"),
        (partial(mattered, found=found), "mattered", "tune.json"),
        (partial(history, found=found, trials=trials), "history", "trials.jsonl"),
        (partial(table, found=found, trials=trials), "trials", "trials.jsonl"),
        (data, "data", "data.json"),
        (partial(_recipe, text=recipe), "recipe", "best.yaml"),
    )
    return write_page(folder, [built(build, id_, source, folder) for build, id_, source in parts], "tune.html")


def verdict(folder: RunFolder, found: Mapping[str, Any]) -> PageSection:
    """The gain over uniform weights on either split, what was proved, and how many trials it took."""
    facts = [_gain(found, split) for split in ("test", "validation")]
    answers = results(folder.certificate)
    if answers:
        proved = sum(entry.get("verdict") == "PROVED" for entry in answers)
        facts.append({
            "tone": "good" if proved == len(answers) else "bad",
            "number": f"{proved} of {len(answers)}",
            "below": f"influence ≤ {decimal(found['settings']['budget'])} nats asked",
            "caption": "axioms proved of the best",
            "words": f"{proved} of {len(answers)} axioms asked of the best scheme are proved.",
        })  # fmt: skip
    counts = found["counts"]
    said = [f"{counts[name]} {name}" for name in ("complete", "stopped", "not proved", "failed") if counts[name]]
    facts.append({
        "tone": "even",
        "number": str(counts["trials"]),
        "below": ", ".join(said),
        "caption": "trials",
        "words": f"{counted(counts['trials'], 'trial')}: {', '.join(said)}. "
        "Each was proved to keep the budget before it was judged, or dismissed.",
    })  # fmt: skip
    data = {
        "facts": [fact for fact in facts if fact],
        "warning": found["warning"],
        "left_out": found["left_out"],
        "reasons": found["reasons"],
    }
    return PageSection("verdict", "Verdict", "_tune_verdict.html", data)


def _gain(found: Mapping[str, Any], split: str) -> dict[str, str] | None:
    if found[split] is None:
        return None
    entry = next(e for e in found[split]["differences"] if (e["a"], e["b"]) == ("best", "uniform"))
    shown, size = reading(entry["interval"]), decimal(abs(finite(entry["difference"]) or 0.0))
    unit = found[split]["unit"]
    words = {
        "lower": f"needs {size} {unit} less than under uniform weights",
        "higher": f"needs {size} {unit} more than under uniform weights",
    }.get(shown, "is not shown to differ from that under uniform weights: the interval includes zero")
    flattered = " These data chose the best, so the number flatters it." if split == "validation" else ""
    return {
        "tone": _TONES.get(shown, "even"),
        "number": decimal(entry["difference"], sign=True),
        "below": interval(entry["interval"], sign=True),
        "caption": f"{split}: best − uniform, {unit}",
        "words": f"On {split} data the {found['objective']} of the best scheme {words}.{flattered}",
    }


def _unit(found: Mapping[str, Any]) -> str:
    return str(found["validation"]["unit"])


def on_split(folder: RunFolder, found: Mapping[str, Any], split: str) -> PageSection:
    """Best, recipe and uniform on one split."""
    if found[split] is None:
        return PageSection(split, _TITLES[split], "", missing=found["warning"])
    section = comparison(replace(folder, comparison=found[split]))
    return replace(section, id=split, title=_TITLES[split])


def history(folder: RunFolder, found: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> PageSection:
    """Each trial's value and the best so far."""
    judged = [trial for trial in trials if trial["outcome"] == "complete"]
    best, so_far = [], float("inf")
    for trial in judged:
        so_far = min(so_far, trial["value"])
        best.append(so_far)
    numbers = [trial["number"] for trial in judged]
    points = line(numbers, [trial["value"] for trial in judged], "trial", "")
    points = {**points, "mode": "markers", "marker": {"size": 6, "color": "var(--run1)"}}
    del points["line"]
    lines = [points, {**line(numbers, best, "best so far", "var(--ink)", 2.2), "line": _STEPS}]
    late = [trial for trial in trials if trial["outcome"] == "stopped"]
    if late:
        marker = {"size": 7, "symbol": "x-thin", "line": {"width": 1.6, "color": "var(--bad)"}}
        x, y = [trial["number"] for trial in late], [trial["value"] for trial in late]
        lines.append({"type": "scatter", "mode": "markers", "x": x, "y": y, "name": "stopped", "marker": marker})
    layout = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": _unit(found)}}, "height": 280}
    chart = Chart("history", f"Validation {found['unit']}", lines, layout)
    return PageSection("history", "History", "_tune_history.html", {"stopped": len(late)}, (chart,))


_STEPS: Final = {"color": "var(--ink)", "width": 2.2, "dash": "solid", "shape": "hv"}


def scales(folder: RunFolder, found: Mapping[str, Any]) -> PageSection:
    """What the best scheme loses without each of its scales, and what was reached with each choice at a scale."""
    effects = found["scales"]
    charts: tuple[Chart, ...] = ()
    if effects:
        values = [finite(entry["difference"]) or 0.0 for entry in effects]
        ends = [entry["interval"] for entry in effects]
        bars = {
            "type": "bar", "orientation": "h", "x": values, "y": [f"without {e['scale']}" for e in effects],
            "name": f"more {_unit(found)}", "marker": {"color": "var(--t0)"},
            "error_x": {
                "type": "data", "symmetric": False, "color": "var(--ink)", "thickness": 1.3,
                "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
                "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
            },
        }  # fmt: skip
        layout = {"xaxis": {"title": {"text": f"{_unit(found)} more"}}, "yaxis": {"autorange": "reversed"}}
        charts = (Chart("scales", "The best scheme without one scale", [bars], layout, "95 % intervals"),)
    rows = [
        {**row, "best": decimal(row["best"]), "median": decimal(row["median"]),
         "chosen": found["chosen"][row["scale"]] == row["option"]}
        for row in found["options"]
    ]  # fmt: skip
    return PageSection(
        "scales", "Effect of each scale", "_tune_scales.html", {"rows": rows, "unit": _unit(found)}, charts
    )


def mattered(folder: RunFolder, found: Mapping[str, Any]) -> PageSection:
    """Importances, with what they do and do not say."""
    known = found["importances"]
    if not known["shares"]:
        sentence = (
            f"{counted(known['trials'], 'complete trial')}: importances of fewer than {known['needed']}, or of trials "
            "that are all equal, would be noise, so none are shown."
        )
        return PageSection("mattered", "What mattered", "_tune_mattered.html", missing=sentence)
    shares = sorted(known["shares"].items(), key=lambda item: -item[1])
    bars = {
        "type": "bar", "orientation": "h", "x": [share for _, share in shares], "y": [name for name, _ in shares],
        "name": "share", "marker": {"color": "var(--t2)"},
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "share of importance"}},
        "yaxis": {"autorange": "reversed"},
        "height": 90 + 24 * len(shares),
    }
    chart = Chart("importances", "PED-ANOVA importance", [bars], layout)
    return PageSection("mattered", "What mattered", "_tune_mattered.html", {**known, "unit": _unit(found)}, (chart,))


def table(folder: RunFolder, found: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> PageSection:
    """Every trial, the best first; what was dismissed comes last, with the reason."""
    ordered = sorted(trials, key=lambda t: (t["outcome"] != "complete", t["value"] is None, t["value"], t["number"]))
    rows = [
        {
            "number": trial["number"],
            "name": "best" if trial["number"] == found["best"]["number"] else trial["name"],
            "rules": [_rules(trial["scheme"], scale) for scale in SCALES[:3]],
            "influence": decimal(trial["influence"]),
            "value": decimal(trial["value"]),
            "said": "" if trial["outcome"] == "complete" else f"{trial['outcome']}: {trial['reason']}",
        }
        for trial in ordered[:_SHOWN]
    ]
    data = {"rows": rows, "count": len(trials), "unit": found["unit"]}
    return PageSection("trials", "Trials", "_tune_trials.html", data)


def _rules(scheme: Mapping[str, Any] | None, scale: str) -> str:
    """The rules of a scale, their options and the budget they share."""
    entries = (scheme or {}).get(scale) or []
    if not entries:
        return NOTHING
    texts = []
    for entry in entries:
        options = [f"{name} {_plain(value)}" for name, value in entry["options"].items() if name != "budget"]
        exponent = f"^{entry['strength']:g}" if entry["strength"] != 1 else ""
        texts.append(f"{entry['rule']}{exponent}" + (f" ({', '.join(options)})" if options else ""))
    budgets = (scheme or {}).get("budget")
    share = budgets.get(scale) if isinstance(budgets, Mapping) else None
    return " × ".join(texts) + ("" if share is None else f" | β ≤ {decimal(share)}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _recipe(folder: RunFolder, text: str) -> PageSection:
    return PageSection("recipe", "The best scheme as a recipe", "_recipe.html", {"text": text})
