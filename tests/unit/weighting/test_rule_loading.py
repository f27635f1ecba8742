from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trivium.errors import InputError
from trivium.scheme import Scheme
from trivium.weighting.loading import load_object, load_operator, load_rule

RULE = """
import torch, trivium as tv
from helper_beside_it import STRENGTH

@tv.rule(scale="token", features=["entropy"])
def by_entropy(entropy):
    return torch.softmax(-STRENGTH * entropy, dim=-1)

def plain(entropy):
    return entropy

ready = tv.weighting.Entropy(2.0)
whole = tv.compose(["a", "b"], token=[ready])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.py").write_text(RULE, encoding="utf-8")
    (tmp_path / "helper_beside_it.py").write_text("STRENGTH = 2.0\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def _forget():
    modules, path = set(sys.modules), list(sys.path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def written(folder: Path, text: str) -> str:
    (folder / "broken.py").write_text(text, encoding="utf-8")
    return "broken.py:by_entropy"


def test_a_rule_is_found_by_file_and_name_from_the_base_or_absolutely(folder):
    assert load_rule("rules.py:by_entropy", folder).name == "by_entropy"
    assert load_rule(f"{folder}/rules.py:ready").name == "entropy"
    assert load_rule(f"{folder}/rules.py:ready", Path("/elsewhere")).name == "entropy"
    assert load_rule("rules.py:by_entropy", folder).source == str(folder / "rules.py")


def test_a_scheme_is_an_operator_but_no_rule(folder):
    assert isinstance(load_operator("rules.py:whole", folder), Scheme)
    with pytest.raises(
        InputError, match=r"'rules.py:whole' must be a rule; received Scheme. A scheme weights at sever"
    ):
        load_rule("rules.py:whole", folder)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("gone.py:x", "a rule's file must exist; received 'gone.py'. Write it as FILE.py:NAME."),
        ("rules", "a rule's file must exist; received 'rules'. Write it as FILE.py:NAME."),
        (":x", "a rule's file must exist; received ':x'."),
        ("rules.py:by_entropi", "must define the rule asked for; received 'by_entropi'. Did you mean 'by_entropy'?"),
        ("rules.py:plain", "'plain' in"),
        ("rules.py:plain", "must be a rule; received a function. Decorate it with @trivium.rule(...)."),
    ],
)
def test_what_is_not_there_is_named(folder, reference, said):
    with pytest.raises(InputError) as caught:
        load_rule(reference, folder)
    assert said in str(caught.value)


def test_a_class_is_to_be_called(folder):
    written(folder, "from trivium.weighting import Entropy as by_entropy")
    with pytest.raises(InputError, match=r"received a ABCMeta. Call it to make one"):
        load_rule("broken.py:by_entropy", folder)


def test_a_file_without_rules_says_so(folder):
    with pytest.raises(InputError, match=r"received 'by_entropy'. It defines no rule; decorate one with @trivium.rule"):
        load_rule(written(folder, "x = 1"), folder)


def test_only_python_files_run(folder):
    (folder / "rules.txt").write_text(RULE, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a rule's file must be a Python file; received .*rules.txt. Write it as FILE"
    ):
        load_rule("rules.txt:by_entropy", folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ny = 1 / 0\n", "line 2; received ZeroDivisionError: division by zero. Run it with python to see."),
        ("x = 1\n\ndef f(:\n", "line 3; received SyntaxError: invalid syntax"),
        ("raise SystemExit('bye')", "line 1; received SystemExit: bye"),
        ("import nowhere_to_be_found", "line 1; received ModuleNotFoundError: No module named"),
        ("raise ValueError('two\\n  lines')", "line 1; received ValueError: two lines."),
        ("def f():\n    raise KeyError(3)\n\n\nf()", "line 2; received KeyError: 3"),
    ],
)
def test_a_file_that_does_not_run_is_named_with_the_line(folder, text, said):
    with pytest.raises(InputError) as caught:
        load_rule(written(folder, text), folder)
    assert str(caught.value).startswith(f"a rule's file must run: {folder / 'broken.py'}, ")
    assert said in str(caught.value)


def test_an_edited_helper_is_read_again(tmp_path: Path) -> None:
    """Python keeps imported modules: the file beside a rule was the old one, and its hash in every identity the new."""
    (tmp_path / "edited_helper.py").write_text("VALUE = 1\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text("import edited_helper\n\nfound = [edited_helper.VALUE]\n", encoding="utf-8")
    assert load_object("mine.py:found", tmp_path) == [1]
    (tmp_path / "edited_helper.py").write_text("VALUE = 20\n", encoding="utf-8")
    assert load_object("mine.py:found", tmp_path) == [20]


def test_helpers_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_helper.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
        (tmp_path / folder / "mine.py").write_text("from same_helper import VALUE\n", encoding="utf-8")
    assert [load_object("mine.py:VALUE", tmp_path / folder) for folder in ("a", "b", "a")] == [1, 2, 1]
