"""What any weighting could gain, what the fit found, and what its guarantees cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivium.report.fitting import duality_gap, nats, within
from trivium.report.folder import RunFolder
from trivium.report.section import Chart, PageSection, line


def headroom(folder: RunFolder) -> PageSection | None:
    """Build the section from headroom.json; None for the folder of a run that left none."""
    found = folder.headroom
    if found is None:
        return None
    title, template = "What any weighting could gain", "_headroom.html"
    if "bounds" not in found:
        return PageSection("headroom", title, template, missing=str(found["missing"]))
    domains = list(found["by_domain"]["everything"])
    bounds = [
        [f"best, constant on {name}", nats(bound["gain"]["mean"]), within(bound["gain"])]
        + [nats(found["by_domain"][name][domain]) for domain in domains]
        for name, bound in found["bounds"].items()
    ]
    rules = [
        [name, nats(gains["all"]["mean"]), within(gains["all"])]
        + [nats(gains.get(domain, gains["all"])["mean"]) for domain in domains]
        for name, gains in found["rules"].items()
    ]
    gap = max(duality_gap(bound) for bound in found["bounds"].values())
    data = {
        "advice": found["advice"],
        "columns": ["weights", "all", "95 % interval", *domains],
        "bounds": bounds,
        "rules": rules,
        "unit": found["unit"],
        "split": found["split"],
        "gap": f"{gap:.0e}",
    }
    return PageSection("headroom", title, template, data)


def fitted(folder: RunFolder) -> PageSection | None:
    """Build the section from fit.json; None where the run's scheme was not fitted."""
    found = folder.fit
    if found is None:
        return None
    title, template = "The fitted strengths", "_fitted.html"
    if "strengths" not in found:
        return PageSection("fitted", title, template, missing=str(found["missing"]))
    strengths = [
        [f"{row['scale']}", row["what"], f"{row['value']:+.4g}", f"[{row['low']:+.3g}, {row['high']:+.3g}]"]
        for row in found["strengths"]
    ]
    data = {
        "strengths": strengths,
        "budgets": ", ".join(f"{scale} {budget:.4g}" for scale, budget in found["budgets"].items()),
        "judged": found["judged"],
        "unit": found["unit"],
        "gain": f"{nats(found['gain']['all']['mean'])} {within(found['gain']['all'])}",
        "costs": ", ".join(f"without {name} {nats(cost)} more" for name, cost in found["costs"].items()),
    }
    chart = _costs(found)
    return PageSection("fitted", title, template, data, () if chart is None else (chart,))


def _costs(found: Mapping[str, Any]) -> Chart | None:
    """Gain against budget, and against floor, in one plot: the one on the lower axis, the other on the upper."""
    curves = found["curves"]
    if not curves["budget"]:
        return None
    drawn = []
    for name, colour, dash in (("budget", "var(--ink)", "solid"), ("floor", "var(--bad)", "6px,4px")):
        points = curves[name]
        one = line([p["at"] for p in points], [p["gain"] for p in points], f"gain at this {name}", colour, 2.0, dash)
        error = {"type": "data", "array": [p["error"] for p in points], "thickness": 1, "width": 3, "color": colour}
        one |= {"mode": "lines+markers", "error_y": error, "hovertemplate": f"{name} %{{x:.3~g}}: %{{y:.4f}} nats"}
        drawn.append(one | ({"xaxis": "x2"} if name == "floor" else {}))
    layout = {
        "height": 280,
        "hovermode": "closest",
        "margin": {"l": 60, "r": 12, "t": 44, "b": 40},
        "xaxis": {"title": {"text": "budget of the whole, nats (solid)"}},
        "xaxis2": {"title": {"text": "floor (dashed)"}, "overlaying": "x", "side": "top", "showgrid": False},
        "yaxis": {"title": {"text": "gain, nats"}},
    }
    note = f"fitted at a budget of {found['budget']:g} nats; bars are one standard error over documents"
    return Chart("fitted-costs", "What guarantees cost: cross-validated gain over uniform weights", drawn, layout, note)
