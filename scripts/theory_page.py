"""Write ``docs/theory.md``: every examined theorem with its rows, what was proved on paper, and the recorded curves.

``python scripts/theory_page.py`` writes the page; ``--check`` only says whether it is what this machine finds (exit
code 1 if not), where a number may be off by 5 %: a run of SGD is not the same to the last bit everywhere.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from trivium.theory import MEANING, Curve, Report, examine

PAGE = Path(__file__).resolve().parent.parent / "docs" / "theory.md"
INTRO = """\
# The theorems, examined

Written by `scripts/theory_page.py` from what `trivium theory` computes; a test fails when it is stale. Numbers are
those of the [framework](framework.md). "SMT" is the solver Z3 on statements over all real weights: it shows that the
premises can be met and that premises and negated conclusion cannot. What it is not asked (logarithms, limits,
compactness) stands under *On paper*.

These are words about theorems. The verdicts of a [certificate](certificate.md) are about one operator.
"""
OUTRO = """\
## Stated, and used by no run

Weights that depend on the vocabulary entry (T10). `trivium.scheme.PerEntry` certifies such a rule, entry by entry, and
`trivium.aggregation.EntrywiseLinearPool` pools with its weights; the table of aggregators says what the pool loses. No
recipe has a key for them: every feature that training computes is one of a position, so there is nothing by which two
entries of a position could get different weights.
"""
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+−]?\d+)?")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640.0, 200.0, 60.0, 30.0
_STROKES = ("#3f51b5", "#e65100", "#00897b", "#8e24aa", "#6d4c41")


def page(reports: Sequence[Report]) -> str:
    """The whole page."""
    words = [row.word for report in reports for row in report.rows]
    meanings = [f"- **{word}** ({words.count(word)}): {meaning}." for word, meaning in MEANING.items() if word in words]
    return "\n".join([INTRO, *meanings, "", *(section(report) for report in reports), OUTRO]).rstrip() + "\n"


def section(report: Report) -> str:
    """One theorem."""
    lines = [f"## {report.theorem}: {cell(report.title)}", "", "| claim | | by | seen |", "|---|---|---|---|"]
    for row in report.rows:
        word = f"**{row.word}**" if row.holds else "**NOT AS STATED**"
        lines.append(f"| {cell(row.claim)} | {word} | {cell(row.how)} | {cell(row.seen)} |")
    if report.argument:
        lines += ["", "On paper:", "", *(f"- {cell(step)}" for step in report.argument)]
    if report.curves:
        lines += ["", figure(report.curves)]
    return "\n".join([*lines, ""])


def cell(text: str) -> str:
    r"""Text in which Markdown sees no markup.

    >>> print(cell("F*, q_1 < |x|"))
    F\*, q\_1 &lt; \|x\|
    """
    return re.sub(r"([*_|\[\]])", r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")


def figure(curves: Sequence[Curve]) -> str:
    """All curves of a theorem in one picture: steps on a logarithmic axis, values on a linear one from 0."""
    last, top = max(curve.x[-1] for curve in curves), max(max(curve.y) for curve in curves)
    height = _HEIGHT + _BOTTOM + 10 + 18 * len(curves)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" font-size="12" fill="currentColor" '
        f'style="max-width: {_WIDTH:.0f}px" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{curves[0].y_label} against {curves[0].x_label}</title>",
        f'<path d="M {_LEFT:.0f} 4 V {_HEIGHT:.0f} H {_WIDTH - 10:.0f}" fill="none" stroke="currentColor"/>',
    ]
    for value in (0.0, top / 2, top):
        y = _HEIGHT - value / top * (_HEIGHT - 24)
        parts.append(f'<text x="{_LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    tick = 1.0
    while tick <= last:
        parts.append(f'<text x="{_x(tick, last):.1f}" y="{_HEIGHT + 15:.0f}" text-anchor="middle">{tick:.0f}</text>')
        tick *= 10
    middle = (_LEFT + _WIDTH) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT + 28:.0f}" text-anchor="middle">{curves[0].x_label}</text>')
    parts.append(f'<text x="{_LEFT + 6:.0f}" y="12">{curves[0].y_label}</text>')
    for place, curve in enumerate(curves):
        points = (
            f"{_x(x, last):.1f},{_HEIGHT - y / top * (_HEIGHT - 24):.1f}" for x, y in zip(curve.x, curve.y, strict=True)
        )
        stroke = _STROKES[place % len(_STROKES)]
        line, text = _HEIGHT + 44 + 18 * place, _HEIGHT + 48 + 18 * place
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        parts.append(f'<path d="M {_LEFT:.0f} {line:.0f} h 24" stroke="{stroke}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT + 32:.0f}" y="{text:.0f}">{curve.name}</text>')
    return "\n".join([*parts, "</svg>"])


def _x(step: float, last: float) -> float:
    """Step 0 at the axis, step 1 a little to its right, the last at the right end."""
    share = 0.0 if step < 1 else 0.05 + 0.95 * math.log(step) / math.log(last)
    return _LEFT + share * (_WIDTH - _LEFT - 20)


def same(one: str, other: str) -> bool:
    """Whether two pages differ in numbers only, and in these by at most 5 % or, in drawings, by half a unit.

    >>> same("KL 0.131 at 3", "KL 0.132 at 3"), same("KL 0.131", "KL 0.2"), same("all 32", "some 32")
    (True, False, False)
    """
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(_close(a, b) for a, b in pairs)


def _close(one: str, other: str) -> bool:
    a, b = (float(text.replace("−", "-")) for text in (one, other))
    # Coordinates have one decimal and are above 1; a residual is not.
    drawn = min(a, b) > 1 and all(re.fullmatch(r"\d+\.\d", text) for text in (one, other))
    return math.isclose(a, b, rel_tol=0.05, abs_tol=0.5 if drawn else 0.0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the page is stale")
    check = parser.parse_args(arguments).check
    fresh = page(examine())
    if check and not (PAGE.is_file() and same(PAGE.read_text(encoding="utf-8"), fresh)):
        print("docs/theory.md is stale: run `python scripts/theory_page.py`.", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
