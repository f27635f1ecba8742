"""Write the tables of the README and of ``docs/results.md`` from the benchmarks' JSON files (``make index``).

Every number between two markers comes from ``benchmarks/results/`` or from the catalogue's record; a test fails when a
page and its JSON differ.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.catalogue import table as catalogue
from trivium.catalogue.entry import INFLUENCE

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
#: The pages that quote, from the root of the tree.
PAGES = ("README.md", "docs/results.md")
#: A copy: the docs are built from their own folder alone.
PICTURE = ROOT / "docs" / "img" / "study_damage.svg"
BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"
#: What a weighting rule is for: a row's weights are its own function, sum to one, stay positive, within bounds.
ESSENTIAL = ("W-F", "W-N", "W-P", "W-B")

LABELS = {
    "single": "best single teacher",
    "uniform": "uniform",
    "oracle": "oracle that knows the domain",
    "token": "token alone (entropy)",
    "task": "task alone (validation skill)",
    "context": "context alone (prefix posterior)",
    "token+task": "token and task",
    "token+context": "token and context",
    "task+context": "task and context",
    "unbounded": "all three, no influence budget",
    "full": "**all three, with budgets (full)**",
}


def first_light(result: dict[str, Any]) -> str:
    """Each way to weigh, as mixture and as student, and how the full scheme's student differs from it."""
    differences = {row["b"]: row for row in result["student_differences"] if row["a"] == "full"}
    lines = [
        "| weights | mixture | student | full − this, student | shows |",
        "|---|---|---|---|---|",
    ]
    for name, label in LABELS.items():
        mixture, student = result["mixture"][name], result["student"][name]
        row = differences.get(name)
        change = shows = ""
        if row is not None:
            low, high = row["interval"]
            change = _interval(row["difference"], row["interval"])
            shows = "full is better" if high < 0 else "full is worse" if low > 0 else "no difference"
        lines.append(f"| {label} | {mixture['mean']:.3f} | {student['mean']:.3f} | {change} | {shows} |")
    return "\n".join(lines)


def scales(result: dict[str, Any]) -> str:
    """What adding a scale or a budget changes, for mixture and student."""
    rows = [
        ("token scale over uniform", "token", "uniform"),
        ("task scale over uniform", "task", "uniform"),
        ("context scale over uniform", "context", "uniform"),
        ("token scale on top of context", "token+context", "context"),
        ("task scale on top of context", "task+context", "context"),
        ("token and task on top of context", "full", "context"),
        ("influence budgets on top of all three", "full", "unbounded"),
    ]
    lines = ["| what is added | mixture | student |", "|---|---|---|"]
    for label, a, b in rows:
        cells = [_cell(result[f"{what}_differences"], a, b) for what in ("mixture", "student")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(differences: list[dict[str, Any]], a: str, b: str) -> str:
    row = next(row for row in differences if (row["a"], row["b"]) == (a, b))
    low, high = row["interval"]
    nothing = " (no difference)" if low <= 0 <= high else ""
    return f"{_interval(row['difference'], row['interval'])}{nothing}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def monitor(result: dict[str, Any]) -> str:
    """What watching the axioms and recording shares takes of a training step, in CPU time."""
    setting, cases, limit = result["setting"], result["cases"], result["limit"]
    lines = [
        "| step, positions | watching | and recording | repairing every batch too | monitored / unmonitored |",
        "|---|---|---|---|---|",
    ]
    for case in cases:
        watched, repaired = case["inside"]["monitored"], case["inside"]["repairing"]
        shares = [_percent(part["cpu"]["share"]) for part in (watched["watch"], watched["both"], repaired["both"])]
        found = case["ratio_to_unmonitored"]["monitored"]["cpu"]
        low, high = found["interval"]
        whole = f"{found['ratio']:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {case['steps']}, {case['positions']} | {' | '.join(shares)} | {whole} |")
    worst = max(case["inside"]["monitored"]["both"]["cpu"]["share"]["high"] for case in cases)
    verdict = "cost less than" if worst < limit else "can cost more than"
    where = f"V = {setting['vocabulary']:,}, {setting['teachers']} teachers and {setting['threads']} thread"
    lines += [
        "",
        f"With {where}, watching and recording {verdict} {100 * limit:g} % of a step: "
        f"{100 * worst:.2f} % at the 95 % quantile of the dearest case.",
    ]
    return "\n".join(lines)


def _percent(share: dict[str, float]) -> str:
    low, middle, high = (100 * share[name] for name in ("low", "median", "high"))
    return f"{middle:.2f} % [{low:.2f}, {high:.2f}]"


def worth(
    light: Mapping[str, Any], study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], watched: Mapping[str, Any]
) -> str:
    """Four questions that a stranger asks, each answered in a line, whatever the answer."""
    differences = {row["b"]: row for row in light["student_differences"] if row["a"] == "full"}
    setting, scheme = light["setting"], "three scales, conforming"
    text, run = study["settings"]["text"], study["run"]
    short = text["arms"][scheme]["clean"]["loss"]["minus_uniform"]
    gains = [
        _interval(row["difference"], row["interval"]) for row in (differences["uniform"], differences["single"], short)
    ]
    lines = [
        "| question | measured |",
        "|---|---|",
        f"| Is the student better? Bits per byte of held-out text, demo's teachers, {setting['steps']} steps, "
        f"{setting['seeds']} seeds | {gains[0]} against uniform weights, {gains[1]} against the best teacher; but "
        f"{gains[2]} against uniform in the study's {run['steps']['text']} smaller steps, {text['seeds']} seeds |",
    ]
    verdicts = {
        f"{row['setting']} ({row['metric']})": row["schemes"][scheme]["third"]["verdict"] for row in study["claims"]
    }
    counted = [f"{word} {list(verdicts.values()).count(word)}" for word in ("holds", "open", "fails")]
    fails = ", ".join(place for place, verdict in verdicts.items() if verdict == "fails")
    lines.append(
        "| One teacher is corrupted: does the student lose at most a third of what uniform weights lose? "
        f"{len(study['settings'])} settings, by loss and error | {', '.join(counted)}{f': {fails}' if fails else ''} |"
    )
    kept = {form: [_keeps(row) for row in rows if row["form"] == form] for form in ("published", "conforming")}
    answers = [f"{sum(found)} of {len(found)} {form}" for form, found in kept.items()]
    lines.append(
        "| Which rules of the catalogue are functions of their row, sum to one, stay positive and within "
        f"{INFLUENCE:g} nats ({', '.join(ESSENTIAL)}), as published and as conforming? | {', '.join(answers)} |"
    )
    worst = max(case["inside"]["monitored"]["both"]["cpu"]["share"]["high"] for case in watched["cases"])
    lines.append(
        "| What does watching every batch cost? One CPU thread, 95 % quantile of the dearest case "
        f"| {100 * worst:.2f} % of a step |"
    )
    return "\n".join(lines)


def _keeps(row: Mapping[str, Any]) -> bool:
    return all(row["cells"][axiom]["verdict"] in ("PROVED", "VERIFIED") for axiom in ESSENTIAL)


def _interval(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{_signed(value)} [{_signed(low)}, {_signed(high)}]"


def tables() -> dict[str, str]:
    """Every generated table by its marker's name."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # the study is a package of its own, beside this folder
    from benchmarks.study.tables import claims, free, kept, worse

    light, watched, study = (_read(name) for name in ("first_light", "monitor", "study"))
    return {
        "worth": worth(light, study, catalogue.read(), watched),
        "first_light": first_light(light),
        "scales": scales(light),
        "monitor": monitor(watched),
        "study_claims": claims(study),
        "study_worse": worse(study),
        "study_kept": kept(study, ("conforming",), places=False),
        "study_free": free(study),
    }


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def filled(text: str) -> str:
    """A page's text with every marked part replaced."""
    known = tables()
    for name in re.findall(re.escape(BEGIN).replace(r"\{\}", r"(\w+)"), text):
        begin, end = BEGIN.format(name), END.format(name)
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{known[name]}\n{end}{tail}"
    return text


def write() -> None:
    """Bring every page that quotes up to date, and the picture that the docs show."""
    PICTURE.write_bytes((RESULTS / PICTURE.name).read_bytes())
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
