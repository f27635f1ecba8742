"""Charts over training steps: learning curves, teachers' shares, influence, monitored residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trivium.report.certificate import results
from trivium.report.folder import RunFolder
from trivium.report.numbers import decimal, finite
from trivium.report.section import Chart, PageSection, line, teacher_colour
from trivium.report.traces import RunTrace, keys_of, series, value_at

SCALES: Final = ("token", "task", "context", "all")
_SCALE_TITLES: Final = {"token": "Token", "task": "Task", "context": "Context", "all": "All scales together"}
_DASHES: Final = ("solid", "8px,4px", "2px,3px", "9px,3px,2px,3px", "15px,4px")


def learning(folder: RunFolder) -> PageSection:
    """Return validation curves of every run: the mean and each domain, of every measure, and the training loss."""
    evals = [record for run in folder.runs for record in run.evals]
    measures = dict.fromkeys(name for record in evals for name, value in record.items() if isinstance(value, Mapping))
    names = [name for name in measures if keys_of(evals, name)]
    charts = [_runs_chart(folder, "mean", "Mean of the domains", "evals", ("mean",), _unit((names or ["nats"])[0]))]
    for place, name in enumerate(names):
        for index, domain in enumerate(keys_of(evals, name)):
            id_, title = (f"{name}-{index}", f"{domain}, {name}") if place else (f"domain-{index}", domain)
            charts.append(_runs_chart(folder, id_, title, "evals", (name, domain), _unit(name)))
    title = "Distillation loss on the training batches"
    charts.append(_runs_chart(folder, "loss", title, "steps", ("distillation",), "nats"))
    drawn = tuple(chart for chart in charts if chart.data)
    data = {
        "legend": [
            {"name": folder.label(run.name), "dash": "" if i % 5 == 0 else _DASHES[i % 5]}
            for i, run in enumerate(folder.runs)
        ],
        "skipped": sum(run.skipped for run in folder.runs),
    }
    return PageSection("learning", "Learning curves", "_learning.html", data, drawn, _no_metrics(folder, bool(drawn)))


def _unit(measure: str) -> str:
    return {"bits_per_byte": "bits per byte", "nats": "nats an example"}.get(measure, measure)


def _runs_chart(folder: RunFolder, id_: str, title: str, kind: str, keys: tuple[str, ...], unit: str) -> Chart:
    lines = []
    for index, run in enumerate(folder.runs):
        x, y = series(getattr(run, kind), *keys)
        if x:
            colour, width = ("var(--ink)", 2.6) if index == 0 else (f"var(--run{(index - 1) % 4})", 1.8)
            lines.append(line(x, y, folder.label(run.name), colour, width, _DASHES[index % 5]))
            if len(x) == 1:
                lines[-1]["mode"] = "markers"  # one point draws no line
    return Chart(f"learning-{id_}", title, lines[::-1], {"yaxis": {"title": {"text": unit}}})


def shares(folder: RunFolder) -> PageSection:
    """Return mean weight of each teacher over the tokens of a batch, stacked to one, a chart a scale."""
    steps = folder.main.steps if folder.main else ()
    charts = []
    for scale in SCALES:
        areas = []
        for index, teacher in enumerate(folder.teacher_names):
            x, y = series(steps, "share", scale, teacher)
            if x:
                area = line(x, y, teacher, teacher_colour(index), 0)
                areas.append({**area, "stackgroup": "one", "fillcolor": f"{teacher_colour(index)}/0.82"})
        if areas:
            axis = {"range": [0, 1], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
            charts.append(Chart(f"share-{scale}", _SCALE_TITLES[scale], areas, {"yaxis": axis}))
    absent = [scale for scale in SCALES[:3] if charts and not any(c.id == f"share-{scale}" for c in charts)]
    data = {"teachers": folder.teacher_names, "absent": absent}
    missing = _no_metrics(folder, bool(charts))
    return PageSection("shares", "Each teacher's share", "_shares.html", data, tuple(charts), missing)


def influence(folder: RunFolder) -> PageSection:
    """Return largest log(max w / min w) of a batch by scale, beside the budget that the recipe sets (T3)."""
    steps = folder.main.steps if folder.main else ()
    allowed, charts = bounds(folder), []
    for scale in SCALES:
        x, y = series(steps, "influence", scale, pick="max")
        if not x:
            continue
        seen, bound = max(value for value in y if value is not None), allowed.get(scale)
        lines = [line(x, y, "largest in the batch", "var(--ink)")]
        note = f"largest {decimal(seen)}, no bound stated"
        if bound is not None:
            lines.append(line([x[0], x[-1]], [bound, bound], "bound", "var(--bad)", 1.6, "6px,4px"))
            note = f"largest {decimal(seen)}, bound {decimal(bound)}"
        top = 1.12 * max(seen, bound or 0.0) or 1.0
        layout = {"yaxis": {"range": [0, round(top, 3)], "title": {"text": "nats"}}}
        charts.append(Chart(f"influence-{scale}", _SCALE_TITLES[scale], lines, layout, note))
    missing = _no_metrics(folder, bool(charts))
    return PageSection("influence", "Influence and its budget", "_influence.html", {}, tuple(charts), missing)


def bounds(folder: RunFolder) -> dict[str, float]:
    """The influence each scale may have, in nats: the scheme's budget, which as one number is spent in equal parts on
    the scales that have rules, else the budgets of the scale's rules times their strengths. All together: what the
    certificate derives, else the sum of the scales (T3). What nothing bounds is left out."""
    scheme = folder.recipe.get("scheme")
    scheme = scheme if isinstance(scheme, Mapping) else {}
    present = [scale for scale in SCALES[:3] if scheme.get(scale)]
    declared = scheme.get("budget")
    found = {}
    for scale in present:
        whole = declared.get(scale) if isinstance(declared, Mapping) else declared
        share = finite(whole) if isinstance(declared, Mapping) else _over(finite(whole), len(present))
        found[scale] = _of_rules(scheme[scale]) if share is None else share
    known = {scale: value for scale, value in found.items() if value is not None}
    whole = finite(((folder.certificate or {}).get("constants") or {}).get("influence"))
    if whole is None and present and len(known) == len(present):
        whole = sum(known.values())
    return known if whole is None else {**known, "all": whole}


def _over(budget: float | None, parts: int) -> float | None:
    return None if budget is None else budget / parts


def _of_rules(rules: Any) -> float | None:
    """Σ strength · budget over the rules of a scale; None where one of them states no budget."""
    total = 0.0
    for rule in rules:
        budget, strength = finite((rule.get("options") or {}).get("budget")), finite(rule.get("strength", 1.0))
        if budget is None or strength is None:
            return None
        total += strength * budget
    return total


def monitor(folder: RunFolder) -> PageSection:
    """Return worst signed residual of each batch by axiom; at or below zero the axiom holds."""
    steps = folder.main.steps if folder.main else ()
    slack = {str(found.get("axiom")): finite(found.get("tolerance")) or 0.0 for found in results(folder.certificate)}
    charts = []
    for axiom in keys_of(steps, "axioms"):
        x, y = series(steps, "axioms", axiom, pick="max")
        if not x or folder.main is None:
            continue
        lines = [line([x[0], x[-1]], [0, 0], "holds at or below", "var(--bad)", 1.4, "6px,4px")]
        lines.append(line(x, y, "worst in the batch", "var(--ink)"))
        breaches = _breaches(folder.main, axiom)
        lines += [breaches] if breaches else []
        worst = max(value for value in y if value is not None)
        note = f"worst {decimal(worst, sign=True)}"
        if 0 < worst <= slack.get(axiom, 0.0):
            note += f", within the floating-point tolerance {decimal(slack[axiom])}"
        charts.append(Chart(f"monitor-{axiom}", axiom, lines, {"yaxis": {"exponentformat": "power"}}, note))
    seen = folder.main.violations if folder.main else ()
    data = {"violations": [{**record, "residual": decimal(record.get("residual"), sign=True)} for record in seen[:20]],
            "count": len(seen)}  # fmt: skip
    missing = _no_metrics(folder, bool(charts or seen))
    return PageSection("monitor", "The monitor", "_monitor.html", data, tuple(charts), missing)


def _breaches(trace: RunTrace, axiom: str) -> dict[str, Any] | None:
    seen = [record for record in trace.violations if record.get("axiom") == axiom]
    if not seen:
        return None
    points = line([record["step"] for record in seen], [value_at(r, ("residual",)) for r in seen], "violation", "")
    marker = {"symbol": "x", "size": 9, "color": "var(--bad)"}
    return {**{k: v for k, v in points.items() if k != "line"}, "mode": "markers", "marker": marker}


def _no_metrics(folder: RunFolder, drawn: bool) -> str:
    if drawn:
        return ""
    fault = folder.faults.get("metrics.jsonl", "holds no such records")
    return f"metrics.jsonl {fault}, so there is nothing to draw here."
