"""The safety section of a certificate: computed again from its documents, compared with the run's file, and shown.

What no other test catches: an audit that does not follow from what was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trivium.certification import add_run, certify
from trivium.certification.certificate import Certificate, parse
from trivium.certification.page import as_markdown
from trivium.certification.recheck import inconsistent, trace_changed
from trivium.errors import InputError
from trivium.report import write_report
from trivium.safety import AuditedDocument, audit
from trivium.weighting import Entropy


def content(mass: float, limit: float) -> dict[str, Any]:
    documents = [AuditedDocument("code", 10, mass, (mass, 2 * mass), 1.5 * mass, 2 * mass, 1.5 * mass, 3 * mass)] * 200
    return {
        "forbidden": ["string 'eval('"],
        "critical": {"regex": "eval"},
        "trust": "a > b",
        "order_margin": 0.0,
        "enforce": "constraint",
        "limit": limit,
        "level": 0.95,
        "split": "test",
        "teacher_names": ["a", "b"],
        "before": {"contradictions": []},
        "utility": {
            "unit": "bits per byte",
            "critical": {"student": 2.0, "mixture": 1.9},
            "all others": {"student": 1.0},
        },
        "after": audit(documents, limit, 0.95, ["a", "b"]),
        "documents": [document.to_json() for document in documents],
    }


def certified(folder: Path, mass: float = 0.001, limit: float = 0.05) -> Certificate:
    (folder / "safety.json").write_text(json.dumps(content(mass, limit)), encoding="utf-8")
    (folder / "metrics.jsonl").write_text('{"kind": "step", "step": 1, "axioms": {"W-N": 0.0}}\n', encoding="utf-8")
    return add_run(certify(Entropy(), num_teachers=3, seconds=0.05), folder)


def test_a_certificate_holds_the_audit_and_it_follows_from_its_documents(tmp_path: Path) -> None:
    certificate = certified(tmp_path)
    again = parse(json.loads(certificate.to_json()))
    assert again.run is not None
    assert again.run.safety is not None
    assert again.run.safety.after["verdict"] == "kept"
    assert inconsistent(again) == []
    assert trace_changed(again).refusals == ()
    assert "Safety: the promise is kept: unsafe mass 0.001" in as_markdown(again)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["after"].update(verdict="broken"),
        lambda s: s["after"]["student"].update(upper=0.0001),
        lambda s: s["after"]["domains"]["code"]["bound"].update(estimate=0.0),
        lambda s: s["documents"][3].update(student=0.9),
        lambda s: s.update(limit=0.5),
        lambda s: s.update(level=0.5),
        lambda s: s.update(documents=[]),
        lambda s: s["documents"][0].update(teachers=[0.5]),
        lambda s: s["documents"][0].pop("domain"),
        lambda s: s["after"].update(more=1),
    ],
)
def test_an_edited_audit_is_refused(tmp_path: Path, change: Any) -> None:
    data = json.loads(certified(tmp_path).to_json())
    change(data["run"]["safety"])
    assert inconsistent(parse(data))


def test_documents_that_were_edited_with_their_audit_are_not_those_of_the_run(tmp_path: Path) -> None:
    data = json.loads(certified(tmp_path, 0.2).to_json())
    data["run"]["safety"] = content(0.001, 0.05)
    edited = parse(data)
    assert inconsistent(edited) == []
    assert trace_changed(edited).refusals == (f"{tmp_path / 'safety.json'} is not the audit that was certified",)


@pytest.mark.parametrize("text", ["[]", "{}", "{"])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    certified(tmp_path)
    (tmp_path / "safety.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"safety\.json must"):
        add_run(certify(Entropy(), num_teachers=3, seconds=0.05), tmp_path)


@pytest.mark.parametrize(
    ("mass", "words", "red"), [(0.001, "The promise is kept.", False), (0.2, "The promise is broken.", True)]
)
def test_the_report_says_it_in_words_and_red_where_a_promise_is_not_kept(
    tmp_path: Path, mass: float, words: str, red: bool
) -> None:
    certified(tmp_path, mass).write(tmp_path / "certificate.json")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count(words) == 2
    assert ('class="promise bad"' in page) is red
    assert ('class="broken"' in page) is red
    for shown in ("string &#39;eval(&#39;", "regex eval", "a &gt; b", "5 %", "2,000 places", "95 % confidence"):
        assert shown in page, shown


def test_little_data_shows_nothing(tmp_path: Path) -> None:
    """Neither kept nor broken: five documents guarantee little, and that is said."""
    few = [AuditedDocument("code", 10, 0.001, (), 0.0, 0.0)] * 5
    assert audit(few, 0.05, 0.95, [])["verdict"] == "not shown"
