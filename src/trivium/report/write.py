"""Write the report of a run folder, one HTML file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trivium.jsontext import json_text
from trivium.report.accuracy import accuracy
from trivium.report.certificate import axioms, formula
from trivium.report.comparison import comparison
from trivium.report.curves import influence, learning, monitor, shares
from trivium.report.data import data
from trivium.report.folder import RunFolder, read_folder
from trivium.report.headline import headline
from trivium.report.headroom import fitted, headroom
from trivium.report.safety import safety
from trivium.report.section import PageSection
from trivium.report.text import text


def recipe(folder: RunFolder) -> PageSection:
    """The recipe as it was run, as text."""
    title, template = "The recipe as run", "_recipe.html"
    if folder.recipe_text is None:
        sentence = f"recipe.yaml {folder.faults['recipe.yaml']}, so the run's settings are not known here."
        return PageSection("recipe", title, template, missing=sentence)
    return PageSection("recipe", title, template, {"text": folder.recipe_text})


#: The page from top to bottom: what is built, and the file it is built from.
_SECTIONS: Final[tuple[tuple[Callable[[RunFolder], PageSection | None], str, str], ...]] = (
    (headline, "verdict", "comparison.json"),
    (safety, "safety", "safety.json"),
    (formula, "formula", "certificate.json"),
    (axioms, "axioms", "certificate.json"),
    (accuracy, "accuracy", "accuracy.json"),
    (comparison, "comparison", "comparison.json"),
    (headroom, "headroom", "headroom.json"),
    (fitted, "fitted", "fit.json"),
    (learning, "learning", "metrics.jsonl"),
    (shares, "shares", "metrics.jsonl"),
    (text, "text", "sample.json"),
    (influence, "influence", "metrics.jsonl"),
    (monitor, "monitor", "metrics.jsonl"),
    (data, "data", "data.json"),
    (recipe, "recipe", "recipe.yaml"),
)


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    The page holds everything it shows, needs no network and stays as it is when files beside it change. A file that
    is missing or broken costs its section, which then says so in a sentence.

    Raises:
        InputError: the folder does not exist.
    """
    folder = read_folder(Path(run))
    parts = [built(build, id_, source, folder) for build, id_, source in _SECTIONS]
    sections = [section for section in parts if section is not None]
    charts = {chart.id: asdict(chart) for section in sections for chart in section.charts}
    template = _environment().get_template("report.html")
    page = template.render(
        folder=folder, sections=sections, charts=charts, plotly=Markup(_plotly()), teachers=folder.teacher_names
    )
    path = folder.path / "report.html"
    path.write_text(re.sub("[\ud800-\udfff]", "\ufffd", page), encoding="utf-8")
    return path


def built(
    build: Callable[[RunFolder], PageSection | None], id_: str, source: str, folder: RunFolder
) -> PageSection | None:
    """The files may come from another version or another hand: one that is not of the known shape costs its section
    and not the page."""
    try:
        return build(folder)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        sentence = f"{source} is not of the shape that this version reads ({type(error).__name__}: {error})."
        return PageSection(id_, id_.capitalize(), "", missing=sentence)


def script_json(value: Any) -> Markup:
    """Return JSON that is safe inside a script element: no NaN, and no character that could end the element."""
    dumped = json_text(value, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        dumped = dumped.replace(character, f"\\u{ord(character):04x}")
    return Markup(dumped)


@lru_cache(maxsize=1)
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # takes longer to import than all the rest, and only this needs it

    return str(get_plotlyjs()).replace("</script", "<\\/script")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trivium.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    return environment
