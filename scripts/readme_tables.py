"""Write the README's tables from the JSON files that the benchmarks left (``make index``).

Every number between two markers comes from ``benchmarks/results/``; a test fails when README and JSON differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from trivium.catalogue import table as catalogue

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"

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
            change = f"{_signed(row['difference'])} [{_signed(low)}, {_signed(high)}]"
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
    return f"{_signed(row['difference'])} [{_signed(low)}, {_signed(high)}]{nothing}"


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


def tables() -> dict[str, str]:
    """Every generated table by its marker's name."""
    result = json.loads((RESULTS / "first_light.json").read_text(encoding="utf-8"))
    watched = json.loads((RESULTS / "monitor.json").read_text(encoding="utf-8"))
    found = {"first_light": first_light(result), "scales": scales(result), "monitor": monitor(watched)}
    return found | {"catalogue": catalogue.markdown(catalogue.read())}


def study() -> dict[str, str]:
    """The tables of ``benchmarks/study``, which a README may quote: claims, ranks by loss, wins and losses."""
    path = RESULTS / "study.json"
    if not path.is_file():
        return {}
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # the study is a package of its own, beside this folder
    from benchmarks.study.tables import claims, free, kept, ranks, wins, worse

    result = json.loads(path.read_text(encoding="utf-8"))
    found = {"study_claims": claims(result), "study_ranks": ranks(result, "loss"), "study_wins": wins(result)}
    found |= {"study_free": free(result), "study_worse": worse(result)}
    return found | {"study_kept": kept(result, ("conforming",), places=False)}


def filled(text: str) -> str:
    """The README's text with every marked part replaced."""
    quoted = {name: table for name, table in study().items() if BEGIN.format(name) in text}
    for name, table in (tables() | quoted).items():
        begin, end = BEGIN.format(name), END.format(name)
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
