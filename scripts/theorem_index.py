"""Write the table of ``docs/framework.md``: which module cites which statement of the framework.

``python scripts/theorem_index.py`` rewrites the part of the page between its two markers; ``--check`` only says whether
it is what the sources give (exit code 1 if not). A citation counts where a reader meets it, in a docstring, comment or
message, so code is tokenized and names that merely look like a number are not taken for one.
"""

from __future__ import annotations

import argparse
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
PAGE = ROOT / "docs" / "framework.md"
BEGIN, END = "<!-- theorem index: begin -->", "<!-- theorem index: end -->"

GROUPS: dict[str, dict[str, str]] = {
    "Axioms of a weighting operator": {
        "W-F": "A row's weights are a function of that row's features.",
        "W-N": "The weights of a row sum to one.",
        "W-P": "Every weight is positive.",
        "W-B": "Every weight lies between a floor and a cap.",
        "W-R": "Weights move at most L times as far, in Hilbert's metric, as the features.",
        "W-S": "On safety-critical input a safer teacher weighs no less, with a margin.",
        "W-C": "No task's loss rises to first order (task scale).",
    },
    "Axioms of an aggregator": {
        "A-D": "A distribution comes out.",
        "A-P": "Where all teachers are positive, so is the pool.",
        "A-M": "The pool moves toward a teacher whose weight rises.",
        "A-C": "The pool is continuous in distributions and weights.",
        "A-T": "Pooling commutes with a common temperature, and flattens as it grows.",
    },
    "Theorems": {
        "T0": "Which axioms imply which, and which are independent.",
        "T1": "When a conforming set is empty, and the least relaxation.",
        "T2": "The normalized product is a commutative group, scaled by strengths.",
        "T3": "Influence budgets add under the product.",
        "T4": "Regularity constants add under the product.",
        "T5": "When a product keeps the safety order.",
        "T6": "The conforming projection: closed form, non-expansive, keeps order.",
        "T7": "Weighted sums of divergences against the divergence to a pool.",
        "T8": "How far the linear pool moves when weights or teachers do.",
        "T9": "The gradient of the loss in the student's logits.",
        "T10": "Weights that depend on the vocabulary entry.",
        "T11": "SGD: what the steps and the noise bound.",
        "T12": "The rate under the Polyak–Łojasiewicz condition.",
        "T13": "The rate under strong convexity.",
        "T14": "Counterexamples: realizable targets that are not reached.",
        "T15": "Contraction when the weights depend on the student.",
    },
    "Safety": {
        "S1": "An order-respecting linear pool is no less safe than the uniform one.",
        "S2": "The largest unsafe mass over the conforming set.",
        "S3": "From the target's unsafe mass to the student's.",
        "S4": "Distilling under a bound on unsafe mass.",
        "S5": "The chance that a completion enters the unsafe set is 1 − E[Π(1 − h_t)] over masked draws.",
        "S6": "Whatever adversaries' logits are, the target's unsafe mass is at most w_A + (1 − w_A)·max honest u_k.",
    },
}
STATEMENTS = {number: text for group in GROUPS.values() for number, text in group.items()}
_CITATION = re.compile(r"(?<![\w.-])(?:W-[A-Z]|A-[A-Z]|T\d{1,2}|S\d)(?![\w-])")
_RANGE = re.compile(r"(?<![\w.-])([TS])(\d{1,2})[–-]\1?(\d{1,2})(?![\w-])")  # "T2–T6" cites T2, T3, … T6
# Before Python 3.12 an f-string is one token, and the names in its fields are code.
_F_STRING, _FIELD = re.compile(r"[rR]?[fF][rR]?['\"]"), re.compile(r"\{[^{}]*\}")
_PROSE = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def numbers(text: str) -> set[str]:
    """The statements that a text cites.

    >>> sorted(numbers("by T2–T4 and W-B"))
    ['T2', 'T3', 'T4', 'W-B']
    """
    cited = set(_CITATION.findall(text))
    for letter, first, last in _RANGE.findall(text):
        cited |= {f"{letter}{n}" for n in range(int(first), int(last) + 1)}
    return cited


def citations(path: Path) -> set[str]:
    """The statements cited in the strings and comments of a Python file."""
    with path.open("rb") as file:
        prose = [token.string for token in tokenize.tokenize(file.readline) if token.type in _PROSE]
    return set().union(*(numbers(_FIELD.sub("", text) if _F_STRING.match(text) else text) for text in prose))


def module_name(path: Path, sources: Path) -> str:
    parts = path.relative_to(sources).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def index(sources: Path = SOURCES) -> dict[str, list[str]]:
    """Module names by statement. Raises ``SystemExit`` where a module cites a number that the framework lacks."""
    found: dict[str, list[str]] = {}
    for path in sorted(sources.rglob("*.py")):
        for number in citations(path):
            found.setdefault(number, []).append(module_name(path, sources))
    unknown = {number: modules for number, modules in found.items() if number not in STATEMENTS}
    if unknown:
        raise SystemExit(f"cited but not in the framework: {unknown}. Correct the number, or add the statement here.")
    return found


def _rows(group: Iterable[str], found: dict[str, list[str]]) -> Iterator[str]:
    for number in group:
        where = ", ".join(f"`{name.removeprefix('trivium.')}`" for name in sorted(found.get(number, [])))
        yield f"| {number} | {STATEMENTS[number]} | {where or '–'} |"


def table(found: dict[str, list[str]]) -> str:
    """The tables, one a group, as Markdown."""
    parts = []
    for title, group in GROUPS.items():
        parts += [f"## {title}\n", "| | statement | cited in |", "|---|---|---|", *_rows(group, found), ""]
    return "\n".join(parts)


def page(current: str, found: dict[str, list[str]]) -> str:
    """The page with what stands between its markers replaced."""
    head, _, rest = current.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.name} has lost its markers {BEGIN} and {END}.")
    return f"{head}{BEGIN}\n\n{table(found)}\n{END}{tail}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the page is stale")
    check = parser.parse_args(arguments).check
    current = PAGE.read_text(encoding="utf-8")
    fresh = page(current, index())
    if check and fresh != current:
        print("docs/framework.md is stale: run `make index`.", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
