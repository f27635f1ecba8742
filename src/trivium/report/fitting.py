"""Tables of a fit and of headroom for the terminal, from the same JSON as the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

_BARS = "▁▂▃▄▅▆▇█"


def fit_tables(data: Mapping[str, Any], unit: str) -> Iterator[Table]:
    """Strengths with intervals, gains by domain, and the curves of what guarantees cost.

    Args:
        data: the content of a fit.json.
    """
    yield strengths_table(data)
    yield _gains(data, unit)
    yield _curves(data)


def strengths_table(data: Mapping[str, Any]) -> Table:
    """Return every fitted number with its interval, from the content of a fit.json."""
    table = Table(title="fitted strengths, nats a unit", title_justify="left")
    for heading in ("scale", "of"):
        table.add_column(heading, no_wrap=True)
    for heading in ("strength", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in data["strengths"]:
        budget = data["budgets"][row["scale"]]
        scale = f"{row['scale']} (β < {budget:.3g})"
        table.add_row(scale, Text(row["what"]), f"{row['value']:+.4g}", f"[{row['low']:+.3g}, {row['high']:+.3g}]")
    return table


def _gains(data: Mapping[str, Any], unit: str) -> Table:
    domains = list(data["gain"])
    title = f"gain over uniform weights, {unit}, on {data['judged']} documents that were not fitted"
    table = Table(title=title, title_justify="left")
    table.add_column("weights", no_wrap=True)
    for domain in domains:
        table.add_column(Text(domain), justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    rows = {"fitted": data["gain"], "told the domain": data["told_the_domain"], **data["others"]}
    rows |= {f"fitted − {name}": table for name, table in data["ahead_of"].items() if not name.startswith("its ")}
    for name, found in rows.items():
        table.add_row(Text(name), *(nats(found[d]["mean"]) for d in domains), within(found["all"]))
    for scale, found in data["scales"].items():
        alone, share = nats(found["alone"]), nats(found["share"])
        table.add_row(f"fitted {scale}", share, *[""] * (len(domains) - 1), f"its share; alone {alone}")
    return table


def _curves(data: Mapping[str, Any]) -> Table:
    table = Table(title="what guarantees cost: cross-validated gain where it was fitted", title_justify="left")
    table.add_column("of", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("gain at each value")
    for name in ("budget", "floor"):
        points = data["curves"][name]
        if points:
            gains = [point["gain"] for point in points]
            told = ", ".join(f"{point['at']:g}: {nats(point['gain'])}" for point in points)
            table.add_row(name, sparkline(gains), told)
    for name, cost in data["costs"].items():
        table.add_row(f"without {name}", "", f"{nats(cost)} more")
    return table


def headroom_table(data: Mapping[str, Any], unit: str) -> Table:
    """Return bounds of every scale, and the rules beside them.

    Args:
        data: the content of a headroom.json.
    """
    domains = list(data["by_domain"]["everything"])
    title = f"the most that constant weights gain over uniform, {unit}, in hindsight of these labels (linear pool)"
    table = Table(title=title, title_justify="left")
    table.add_column("constant on", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    for domain in domains:
        table.add_column(Text(domain), justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("gap", justify="right", no_wrap=True)
    for name, bound in data["bounds"].items():
        row = [nats(data["by_domain"][name][domain]) for domain in domains]
        table.add_row(name, nats(bound["gain"]["mean"]), *row, within(bound["gain"]), f"{duality_gap(bound):.0e}")
    table.add_section()
    for name, found in data["rules"].items():
        row = [nats(found.get(domain, found["all"])["mean"]) for domain in domains]
        table.add_row(Text(name), nats(found["all"]["mean"]), *row, within(found["all"]), "")
    return table


def differing_table(data: Mapping[str, Any]) -> Table:
    """Return how much the teachers differ, by domain, without labels."""
    table = Table(title="how the teachers differ, without labels", title_justify="left")
    table.add_column("domain", no_wrap=True)
    table.add_column("information, nats", justify="right", no_wrap=True)
    table.add_column("total variation of pairs")
    for domain, information in data["information"].items():
        pairs = ", ".join(f"{pair}: {value:.3f}" for pair, value in data["variation"][domain].items())
        table.add_row(Text(domain), nats(information), Text(pairs))
    return table


def sparkline(values: Sequence[float]) -> str:
    """Return a bar a value, the largest as high as can be.

    >>> sparkline([0.0, 1.0, 2.0])
    '▁▅█'
    """
    low, high = min(values), max(values)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] for value in values)


def duality_gap(bound: Mapping[str, Any]) -> float:
    """Return how far a bound's weights may be from the best, nats; files of an earlier release call it ``gap``."""
    return float(bound["duality_gap"] if "duality_gap" in bound else bound["gap"])


def nats(value: float) -> str:
    """Four decimals, without a −0."""
    return f"{round(value, 4) + 0.0:.4f}"


def within(found: Mapping[str, Any]) -> str:
    """Return an interval as text."""
    return f"[{nats(found['low'])}, {nats(found['high'])}]"
