"""Two plots as SVG, written by hand: they open anywhere and need no browser to be made."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_COLOURS = {
    "conforming": "#1b7837",
    "ours": "#5aae61",
    "published": "#762a83",
    "baseline": "#555555",
    "reference": "#999999",
}


def rank_plot(result: Mapping[str, Any], metric: str = "loss") -> str:
    """Average ranks, best first; the bar is what two ranks must differ by, seeds of one setting counted as one."""
    found = result["ranks"][metric]["all"]
    average, critical = found["settings_as_blocks"]["average"], found["settings_as_blocks"]["critical"]
    order = sorted(range(len(average)), key=average.__getitem__)
    left, right, row, top = 250, 40, 20, 70
    width, height = 860, top + row * len(order) + 30
    k = len(order)

    def x(rank: float) -> float:
        return left + (rank - 1) / max(k - 1, 1) * (width - left - right)

    kinds = {name: arm["kind"] for s in result["settings"].values() for name, arm in s["arms"].items()}
    parts = [
        _text(10, 20, f"Average rank of the student's {metric}, all settings, clean and corrupted (1 is best)", 14)
    ]
    parts.append(_line(x(1), 44, x(1 + critical), 44, "#000000", 3))
    parts.append(_text(x(1), 38, f"critical difference {critical:.1f} at 5 %", 11))
    for place, index in enumerate(order):
        y = top + place * row
        name = found["arms"][index]
        colour = _COLOURS.get(kinds.get(name, ""), "#000000")
        parts.append(_line(x(1), y, x(average[index]), y, "#dddddd", 1))
        parts.append(f'<circle cx="{x(average[index]):.1f}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(_text(left - 12, y + 4, name, 12, "end"))
        parts.append(_text(x(average[index]) + 9, y + 4, f"{average[index]:.1f}", 11))
    parts += _legend({kinds.get(name, "") for name in found["arms"]}, height - 12)
    return _svg(width, height, parts)


def damage_plot(result: Mapping[str, Any], metric: str = "loss") -> str:
    """What corruption costs the student of each arm, as a share of what it costs uniform's; a line at one third."""
    rows = []
    for name, setting in result["settings"].items():
        arms = {a: arm for a, arm in setting["arms"].items() if metric in arm["damage"]}
        if not arms:
            continue
        base = arms["uniform"]["damage"][metric]["mean"]
        if base <= 0:
            continue
        rows.append((name, None, None))
        for arm_name, arm in sorted(arms.items(), key=lambda item: item[1]["damage"][metric]["mean"]):
            low, high = arm["damage"][metric]["interval"]
            rows.append((arm_name, arm["kind"], (arm["damage"][metric]["mean"] / base, low / base, high / base)))
    left, right, step, top, width = 250, 40, 18, 50, 860
    height = top + step * len(rows) + 30
    low, high = -1.0, 2.5

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - right)

    parts = [_text(10, 20, f"What the corrupted teacher costs the student ({metric}), uniform = 1", 14)]
    for mark, label in ((0, "0"), (1 / 3, "⅓"), (1, "1"), (2, "2")):
        parts += [
            _line(x(mark), top - 8, x(mark), height - 28, "#cccccc", 1),
            _text(x(mark), top - 12, label, 11, "middle"),
        ]
    for place, (name, kind, values) in enumerate(rows):
        y = top + 8 + place * step
        if values is None:
            parts.append(_text(10, y + 4, name, 13))
            continue
        colour = _COLOURS.get(kind, "#000000")
        parts.append(_line(x(values[1]), y, x(values[2]), y, colour, 2))
        parts.append(f'<circle cx="{x(values[0]):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(_text(left - 12, y + 4, name, 11, "end"))
    parts += _legend({kind for _, kind, _ in rows if kind}, height - 10)
    return _svg(width, height, parts)


def _legend(kinds: set[str], y: float) -> list[str]:
    parts, x = [], 20.0
    for kind, colour in _COLOURS.items():
        if kind in kinds:
            parts += [f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/>', _text(x + 9, y, kind, 11)]
            x += 24 + 7 * len(kind)
    return parts


def _svg(width: int, height: int, parts: list[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="#ffffff"/>\n{inside}\n</svg>\n'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, thick: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{thick}"/>'


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
