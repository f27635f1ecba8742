"""The page as a whole: complete in itself, safe against any text, and never failing for want of a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trivium.certification.assemble import certify, claims
from trivium.certification.certificate import digest_of
from trivium.errors import InputError
from trivium.report import write_report
from trivium.scheme.scheme import compose
from trivium.weighting.token.entropy import Entropy

SECTIONS = ["verdict", "formula", "axioms", "comparison", "learning", "shares", "text", "influence", "monitor"]
SECTIONS += ["recipe"]


class Page(HTMLParser):
    """The elements of a page, the text inside elements of a class, and the content of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") or "code" if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text.append(data)
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def words(self) -> str:
        return " ".join("".join(self.text).split())

    def data(self, script: str) -> Any:
        return json.loads(self.scripts[script], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def change(run: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((run / name).read_text(encoding="utf-8"))
    edit(content)
    (run / name).write_text(json.dumps(content), encoding="utf-8")


def test_all_sections_are_there_in_order_with_unique_ids(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path)
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == SECTIONS
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for tag, attrs in page.elements if tag == "a"}
    assert links == {f"#{name}" for name in SECTIONS[1:]}
    assert "missing" not in {attrs.get("class") for _, attrs in page.elements}


@pytest.mark.usefixtures("real_plotly")
def test_nothing_is_loaded_from_anywhere(run: Path) -> None:
    page = Page(write_report(run))
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
    own = re.sub(
        r"<script>/\*\*\s+\* plotly\.js.*?</script>",
        "",
        (run / "report.html").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert len(own) < 1_000_000
    assert "http://" not in own
    assert "https://" not in own
    assert "@import" not in own
    assert "url(" not in own
    policies = [attrs["content"] or "" for _, attrs in page.elements if "http-equiv" in attrs]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; script-src 'unsafe-inline';")


def test_plotly_is_inlined_once(run: Path, real_plotly: str) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    assert html.count(real_plotly[:500]) == 1
    assert html.count("* plotly.js v") == 1
    assert len(html) < 6_500_000


def test_every_chart_has_its_specification(run: Path) -> None:
    page = Page(write_report(run))
    drawn = [attrs["data-chart"] for _, attrs in page.elements if "data-chart" in attrs]
    assert sorted(map(str, drawn)) == sorted(page.data("charts-data"))
    assert {"learning-mean", "share-token", "share-all", "influence-context", "monitor-W-B"} <= set(map(str, drawn))


def test_the_folders_path_is_not_in_the_page(run: Path) -> None:
    assert str(run.parent) not in write_report(run).read_text(encoding="utf-8")


def test_the_page_is_the_same_when_written_again(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


HOSTILE = "</script><script>alert(1)</script><b onload='x'>&amp; \"quoted\""


def test_text_of_any_kind_is_escaped_everywhere(run: Path) -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return value + HOSTILE if isinstance(value, str) else value

    for name in ("comparison.json", "certificate.json", "sample.json"):
        (run / name).write_text(
            json.dumps(poison(json.loads((run / name).read_text(encoding="utf-8")))), encoding="utf-8"
        )
    (run / "recipe.yaml").write_text(HOSTILE, encoding="utf-8")
    page = Page(write_report(run))
    assert sum(tag == "script" for tag, _ in page.elements) == 4
    assert not any("onload" in attrs for _, attrs in page.elements)
    assert HOSTILE in "".join(page.text)
    assert page.data("text-data")["teachers"][0].endswith(HOSTILE)


def test_a_teacher_of_any_name_is_escaped_everywhere(run: Path) -> None:
    """Names are keys of the trace, labels of charts, and parts of identifiers."""
    files = [path for path in run.iterdir() if path.suffix in (".json", ".jsonl", ".yaml")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        hostile = json.dumps(HOSTILE)[1:-1] if path.suffix != ".yaml" else HOSTILE
        for name in ("python", "uniform", "W-B"):
            text = text.replace(name, name + hostile)
        path.write_text(text, encoding="utf-8")
    assert len(files) > 4
    page = Page(write_report(run))
    assert sum(tag == "script" for tag, _ in page.elements) == 4
    assert not any("onload" in attrs for _, attrs in page.elements)
    assert f"python{HOSTILE}" in "".join(page.text)
    assert HOSTILE in json.dumps(page.data("charts-data"), ensure_ascii=False).replace('\\"', '"')


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("comparison.json", ["comparison"]),
        ("certificate.json", ["formula", "axioms"]),
        ("sample.json", ["text"]),
        ("metrics.jsonl", ["shares", "influence", "monitor"]),
        ("recipe.yaml", ["recipe"]),
    ],
)
def test_a_missing_file_costs_its_sections_and_is_named(run: Path, name: str, sections: list[str]) -> None:
    (run / name).unlink()
    html = write_report(run).read_text(encoding="utf-8")
    for section in SECTIONS:
        part = re.search(rf'<section id="{section}".*?</section>', html, re.DOTALL)
        assert part is not None
        assert (f'<p class="missing">{name} is missing, so' in part[0]) == (section in sections)


def test_an_empty_folder_gives_a_page_of_sentences(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert sum(attrs.get("class") == "missing" for _, attrs in page.elements) == len(SECTIONS)
    assert "there is no verdict yet" in page.words()


@pytest.mark.parametrize("content", ["{", "[1, 2]", '"text"', ""])
@pytest.mark.parametrize("name", ["comparison.json", "certificate.json", "sample.json"])
def test_a_broken_file_is_named_and_the_rest_stands(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content, encoding="utf-8")
    words = Page(write_report(run)).words()
    assert f"{name} is not valid JSON" in words or f"{name} does not hold a JSON object" in words


def test_files_that_are_no_text_or_hold_nothing_are_named(run: Path) -> None:
    (run / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    (run / "metrics.jsonl").write_text("", encoding="utf-8")
    (run / "oracle" / "metrics.jsonl").unlink()
    (run / "oracle" / "metrics.jsonl").mkdir()
    words = Page(write_report(run)).words()
    assert "recipe.yaml cannot be read (UnicodeDecodeError)" in words
    assert "metrics.jsonl holds no steps, so there is nothing to draw here." in words
    assert "Runs compared: full scheme, best single teacher, uniform weights." in words
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    (run / "recipe.yaml").write_text("a: [b", encoding="utf-8")
    words = Page(write_report(run)).words()
    assert "metrics.jsonl cannot be read (IsADirectoryError)" in words
    assert "a: [b" in words


def test_a_file_of_another_shape_costs_its_section_alone(run: Path) -> None:
    change(run, "sample.json", lambda sample: sample.update(documents=[17]))
    words = Page(write_report(run)).words()
    assert "sample.json is not of the shape that this version reads" in words
    assert "Differences in the mean" in words


def test_no_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run folder"):
        write_report(tmp_path / "absent")


def test_nan_and_infinity_become_dashes_and_gaps(run: Path) -> None:
    def spoil(comparison: dict[str, Any]) -> None:
        comparison["rows"][0].update(mean=math.nan, interval=[math.nan, 1.0])
        comparison["differences"][0].update(difference=math.nan, interval=[-math.inf, 0.1])

    change(run, "comparison.json", spoil)
    change(run, "certificate.json", lambda c: c["results"][0].update(residual="inf", tolerance=math.nan))
    change(run, "sample.json", lambda s: s["documents"][0]["weights"]["all"].__setitem__(0, [math.nan, None, "nan"]))
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '{"kind":"step","step":405,"loss":NaN,"share":{"token":{"python":null}},"axioms":{"W-B":Infinity}}\n'
        )
        file.write('{"kind":"step","step":41')
    page = Page(write_report(run))
    charts = page.data("charts-data")
    assert charts["share-token"]["data"][0]["y"][-1] is None
    assert page.data("text-data")["weights"][0]["all"][:3] == [None, None, None]
    words = page.words()
    assert "NaN" not in words
    assert "nan" not in words.split()
    assert "∞" in words
    assert "could not be read and were left out: 1" in words


def test_a_certificate_as_certify_writes_it(run: Path) -> None:
    scheme = compose(["python", "prose", "cpp"], token=[Entropy(budget=1.0)], floor=0.1)
    certify(scheme, claims(scheme, 3, scheme.teacher_names), seconds=0.2).write(run / "certificate.json")
    page = Page(write_report(run))
    words = page.words()
    assert scheme.formula() in words
    assert "PROVED" in words
    assert "Derived bounds: influence at most 1.000 nats, every weight at least 0.155" in words
    assert "does not match its content" not in words
    assert "not of the shape" not in words
    assert sum(tag == "li" for tag, _ in page.elements) > len(scheme.teacher_names)


def test_an_edited_certificate_is_marked(run: Path) -> None:
    change(run, "certificate.json", lambda c: c.update(digest=digest_of(c)))
    assert "does not match its content" not in Page(write_report(run)).words()
    change(run, "certificate.json", lambda c: c["results"][5].update(verdict="PROVED"))
    assert "does not match its content" in Page(write_report(run)).words()


def test_verdict_says_what_the_intervals_and_the_certificate_say(run: Path) -> None:
    words = Page(write_report(run)).words()
    assert "The student does better with “full scheme” than with “uniform weights”: 0.139 bits per byte less." in words
    assert "W-S is violated" in words
    assert "5 of 6" in words
    assert "the monitor saw 2 violations of W-B" in words


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([-0.2, 0.1], "No difference between “full scheme” and “uniform weights” is shown for the student"),
        ([0.05, 0.2], "The student does worse with “full scheme”"),
        (None, "with no interval to judge that by"),
    ],
)
def test_verdict_is_honest_where_the_scheme_does_not_win(run: Path, ends: list[float] | None, expected: str) -> None:
    def edit(comparison: dict[str, Any]) -> None:
        for entry in comparison["differences"]:
            if (entry["what"], entry["b"]) == ("student", "uniform"):
                entry["interval"] = ends

    change(run, "comparison.json", edit)
    assert expected in Page(write_report(run)).words()


def test_quiet_run_and_clean_certificate(make_run: Callable[..., Path]) -> None:
    run = make_run(broken=False, steps=100)
    change(run, "certificate.json", lambda c: c["results"].pop())
    words = Page(write_report(run)).words()
    assert "No axiom is violated; those not falsified were searched and not proved." in words
    assert "Over 100 steps of training the monitor saw no violation." in words
    assert "No violation was recorded." in words
