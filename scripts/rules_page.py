"""Ask every axiom of every rule in the catalogue; write ``assets/catalogue.json``, ``docs/rules.md`` and quoted tables.

``python scripts/rules_page.py`` asks and writes both; ``--row NAME`` asks one row and keeps what is recorded of the
others; ``--page`` writes the page alone, from the record.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium import rules
from trivium.aggregation.claims import claims
from trivium.axioms import AXIOMS
from trivium.catalogue import table
from trivium.cli.rules import explained, sign_of
from trivium.errors import TriviumError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"
NAMES = ROOT / "docs" / "api" / "rules.md"
#: A row of the grid: what it is called there, the key that its anchors are made from, its cells by axiom.
Row = tuple[str, str, Mapping[str, Mapping[str, Any]]]
INTRO = """\
---
hide: [navigation, toc]
---

# The catalogue of rules

Each rule as published, flaws included, and *conforming*: under an influence budget or a projection. A mark leads to its
reason.

"""
#: The report's signs, told apart without colour.
SIGNS = {"proved": "■", "holds": "■", "verified": "●", "searched": "○", "broken": "✕"}
LEGEND = {
    "proved": "proved",
    "verified": "verified over the whole box",
    "searched": "searched: nothing found",
    "broken": "broken by an input that replays",
}
RECORD = """\
Written by `scripts/rules_page.py` from what the certifier finds; `trivium rules` prints the same rows, and
`trivium rules --check` asks everything again. What was asked of W-F, W-N and W-P is in [the framework](framework.md).
"""
POOLS = """\
## Aggregators and softening operators

*holds* is proved on paper (the reason stands in the line) and attacked by tests; every *broken* is numbers that the
axiom's residual judges. The axioms are stated in `trivium.axioms.aggregation` and `trivium.axioms.softening`.
"""


def page(rows: list[dict[str, Any]]) -> str:
    """The whole page: the grid, then each rule with its reasons, then pools and softening."""
    scales = {scale: [row for row in rows if row["scale"] == scale] for scale in ("token", "task", "context")}
    whole = {f"{scale} scale": named(found) for scale, found in scales.items()}
    lines = [INTRO + legend(), grid(whole, names()), ""]
    lines += [explained(), "", RECORD]
    for row in rows:
        lines += [f"## {row['key']}", "", f"`{row['formula']}`", ""]
        lines += [f"- {row['form']}, {row['scale']} scale. Source: {row['source']}. Cost: {row['cost']}."]
        lines += [*reasons(row["key"], row["cells"]), ""]
    tables = {title: claimed.to_json() for title, claimed in zip(("aggregator", "softening"), claims(), strict=True)}
    pools = {
        title: [(row["name"], heading(title, row["name"]), row["cells"]) for row in found]
        for title, found in tables.items()
    }
    lines += [POOLS, grid(pools), ""]
    for title, found in tables.items():
        for row in found:
            lines += [
                f"### {heading(title, row['name'])}",
                "",
                f"`{row['formula']}`. Source: {escape(row['source'])}.",
                "",
            ]
            lines += [*reasons(heading(title, row["name"]), row["cells"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def named(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What the grid calls each row: its rule, or an indented "conforming" below the rule as published."""
    published = {row["name"] for row in rows if row["form"] == "published"}
    return [
        (
            "conforming" if row["form"] == "conforming" and row["name"] in published else row["name"],
            row["key"],
            row["cells"],
        )
        for row in rows
    ]


def grid(panels: Mapping[str, Sequence[Row]], beside: str = "") -> str:
    """Tables of operator × axiom side by side, in HTML: a mark a cell, which leads to the reason below.

    ``beside`` stands below the last table, where there is room.
    """
    lines = ['<div class="catalogue">']
    for title, rows in panels.items():
        heads = "".join(f"<th>{axiom}</th>" for axiom in rows[0][2])
        lines += [f'<div><table class="asked"><thead><tr><th>{title}</th>{heads}</tr></thead><tbody>']
        for name, key, cells in rows:
            marks = "".join(mark(key, axiom, sign_of(cell["verdict"])) for axiom, cell in cells.items())
            indented = ' class="form"' if name == "conforming" else ""
            lines += [f'<tr><th{indented}><a href="#{slug(key)}">{html.escape(name)}</a></th>{marks}</tr>']
        lines += ["</tbody></table></div>"]
    return "\n".join([*lines[:-1], f"</tbody></table>{beside}</div>", "</div>"])


def names() -> str:
    """What each axiom is called."""
    told = "".join(f"<dt>{axiom}</dt><dd>{html.escape(found.name)}</dd>" for axiom, found in AXIOMS.items())
    return f'<dl class="axioms">{told}</dl>'


def mark(key: str, axiom: str, word: str) -> str:
    """One cell: a sign, its word for who hovers or listens, and the way to the reason."""
    said = f'title="{axiom} {word}" aria-label="{axiom} {word}"'
    return f'<td><a class="{word}" href="#{place(key, axiom)}" {said}>{SIGNS[word]}</a></td>'


def legend() -> str:
    """What the signs mean, in a line."""
    return (
        '<p class="legend">'
        + " ".join(f'<span class="{word}">{SIGNS[word]}</span> {meaning}' for word, meaning in LEGEND.items())
        + "</p>\n"
    )


def heading(title: str, name: str) -> str:
    """What an operator's section is called; without signs that anchors drop, so that no two have one anchor."""
    return f"{title}: {name.replace('>', 'above').replace('<', 'below')}"


def reasons(key: str, cells: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each axiom: the word, where it holds, and why or what breaks it."""
    for axiom, cell in cells.items():
        word, anchor = cell["verdict"], f'<span class="reason" id="{place(key, axiom)}">{axiom}</span>'
        domain = f" ({escape(cell['domain'])})" if cell.get("domain") else ""
        note = f": {escape(cell['note'])}" if cell["note"] else ""
        yield f"- {anchor} {SIGNS[sign_of(word)]} {word}{domain}{note}"


def place(key: str, axiom: str) -> str:
    """The anchor of a reason."""
    return f"{slug(key)}-{slug(axiom)}"


def slug(text: str) -> str:
    """The anchor that a heading gets, in the docs and where the page is shown as Markdown.

    >>> slug("three scales, conforming")
    'three-scales-conforming'
    """
    kept = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", kept).strip().lower())


def api() -> str:
    """The page of ``tv.rules``: each name leads to where it is explained."""
    rooms: dict[str, list[str]] = {}
    for name in rules.__all__:
        found = getattr(rules, name)
        room = found.__module__.split(".")[1:3]
        title = {"scheme": "wrappers", "aggregation": "pools"}.get(room[0], f"{room[-1]} scale")
        rooms.setdefault(title, []).append(f"[`{name}`][{found.__module__}.{name}]")
    order = ("token scale", "task scale", "context scale", "wrappers", "pools")
    lines = [f"| {title} | {', '.join(rooms[title])} |" for title in order]
    head = "::: trivium.rules\n    options:\n      members: false\n\n## Names\n\n| | |\n|---|---|\n"
    return head + "\n".join(lines) + "\n"


def told(row: dict[str, Any]) -> str:
    """One line for who waits."""
    return f"{row['key']}: " + ", ".join(f"{axiom} {cell['verdict']}" for axiom, cell in row["cells"].items())


def escape(text: str) -> str:
    r"""Text in which Markdown sees no markup.

    >>> print(escape("w_k < [1]"))
    w\_k &lt; \[1\]
    """
    for sign in "*_|[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the page from the record, without asking again")
    parser.add_argument(
        "--row", action="append", help="ask this row alone (its key; may be given again), keep the rest"
    )
    given = parser.parse_args(arguments)
    if not given.page:
        try:
            table.write(list(table.compute(only=given.row, progress=lambda row: print(told(row), file=sys.stderr))))
        except TriviumError as error:
            print(error, file=sys.stderr)
            return 2
    PAGE.write_text(page(table.read()), encoding="utf-8")
    NAMES.write_text(api(), encoding="utf-8")
    import quoted_tables  # beside this script

    quoted_tables.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
