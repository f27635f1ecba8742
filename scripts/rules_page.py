"""Ask every axiom of every rule in the catalogue; write ``assets/catalogue.json`` and ``docs/rules.md``.

``python scripts/rules_page.py`` asks and writes both; ``--row NAME`` asks one row and keeps what is recorded of the
others; ``--page`` writes the page alone, from the record.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trivium.catalogue import table
from trivium.cli.rules import explained

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rules.md"
INTRO = """\
# The catalogue of rules

Written by `scripts/rules_page.py` from what the certifier finds; `trivium rules` prints the same rows, and
`trivium rules --check` asks everything again. A rule stands here *as published*, flaws included, and *conforming*:
under an influence budget or a projection. *proved* and *verified* hold at every point of the feature box, *searched*
means that a stated search found nothing, and every *broken* has an input that replays.
"""


def page(rows: list[dict[str, Any]]) -> str:
    """The whole page."""
    lines = [INTRO, table.markdown(rows), "", explained(), ""]
    for row in rows:
        lines += [f"## {row['key']}", "", f"`{row['formula']}`", ""]
        lines += [f"- {row['form']}, {row['scale']} scale. Source: {row['source']}. Cost: {row['cost']}."]
        for axiom, cell in row["cells"].items():
            note = f": {escape(cell['note'])}" if cell["note"] else ""
            lines.append(f"- {axiom} {cell['verdict']}{note}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


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
        table.write(list(table.compute(only=given.row, progress=lambda row: print(told(row), file=sys.stderr))))
    PAGE.write_text(page(table.read()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
