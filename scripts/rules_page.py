"""Ask every axiom of every rule in the catalogue; write ``assets/catalogue.json``, ``docs/rules.md`` and quoted tables.

``python scripts/rules_page.py`` asks and writes both; ``--row NAME`` asks one row and keeps what is recorded of the
others; ``--page`` writes the page alone, from the record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.aggregation.claims import claims
from trivium.catalogue import table
from trivium.cli.rules import explained, sign_of
from trivium.errors import TriviumError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"
INTRO = """\
# The catalogue of rules

Written by `scripts/rules_page.py` from what the certifier finds; `trivium rules` prints the same rows, and
`trivium rules --check` asks everything again. A rule stands here *as published*, flaws included, and *conforming*:
under an influence budget or a projection. *proved* and *verified* hold at every point of the feature box, *searched*
means that a stated search found nothing, and every *broken* has an input that replays.
"""
POOLS = """\
## Aggregators and softening operators

*holds* is proved on paper (the reason stands in the line) and attacked by tests; every *broken* is numbers that the
axiom's residual judges. The axioms are stated in `trivium.axioms.aggregation` and `trivium.axioms.softening`.
"""


def page(rows: list[dict[str, Any]]) -> str:
    """The whole page."""
    lines = [INTRO, table.markdown(rows, ("formula", "cost", "source")), "", explained(), ""]
    for row in rows:
        lines += [f"## {row['key']}", "", f"`{row['formula']}`", ""]
        lines += [f"- {row['form']}, {row['scale']} scale. Source: {row['source']}. Cost: {row['cost']}."]
        for axiom, cell in row["cells"].items():
            note = f": {escape(cell['note'])}" if cell["note"] else ""
            lines.append(f"- {axiom} {cell['verdict']}{note}")
        lines.append("")
    lines += [POOLS]
    for title, claimed in zip(("aggregator", "softening"), claims(), strict=True):
        lines += [*pooled(title, claimed.to_json()), ""]
    return "\n".join(lines).rstrip() + "\n"


def pooled(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of aggregators or of softening operators, then each with its reasons."""
    axioms = list(rows[0]["cells"])
    lines = [f"| {title} | {' | '.join(axioms)} |", "|---|" + "---|" * len(axioms)]
    for row in rows:
        signs = [sign_of(row["cells"][axiom]["verdict"]) for axiom in axioms]
        lines.append(f"| `{row['name']}` | " + " | ".join(f"**{s}**" if s == "broken" else s for s in signs) + " |")
    for row in rows:
        lines += ["", f"### {title}: {row['name']}", "", f"`{row['formula']}`. Source: {escape(row['source'])}.", ""]
        for axiom, cell in row["cells"].items():
            domain = f" ({escape(cell['domain'])})" if cell["domain"] else ""
            lines.append(f"- {axiom} {sign_of(cell['verdict'])}{domain}: {escape(cell['note'])}")
    return lines


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
    import quoted_tables  # beside this script

    quoted_tables.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
