"""Examples from files and functions: what is found, how it is drawn, and one line for whatever does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium.data.examples import DomainExamples, Examples, Inputs, make_examples
from trivium.data.labelled import Columns, Labelled, read_examples
from trivium.data.labels import LabelSpace
from trivium.errors import InputError

SPACE = LabelSpace.of({"animal": ["cat", "dog", "hen"], "spam": ["no", "yes"]})
ALL = torch.ones(2, 2, dtype=torch.bool)


def unused(reference: str) -> Any:
    raise AssertionError(reference)


def jsonl(path: Path, records: list[Any]) -> str:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path.name


def test_a_space_puts_tasks_side_by_side() -> None:
    assert SPACE.size == 5
    assert SPACE.task_of_class.tolist() == [0, 0, 0, 1, 1]
    assert [SPACE.offset(task) for task in (0, 1)] == [0, 3]
    assert [SPACE.index("animal", label, "x") for label in ("cat", "hen", 1)] == [0, 2, 1]
    assert [SPACE.index("spam", label, "x") for label in ("yes", 0)] == [4, 3]


@pytest.mark.parametrize(
    ("task", "label", "part"),
    [
        ("animals", "cat", r"task of x must be one of data.tasks; received 'animals'. Did you mean 'animal'"),
        ("animal", "dgo", r"label of x must be a class of task 'animal'; received 'dgo'. Did you mean 'dog'"),
        ("animal", 3, "its number, 0 to 2; received 3"),
        ("animal", -1, "its number, 0 to 2; received -1"),
        ("animal", True, "received True"),
        ("animal", 1.0, r"received 1\.0"),
        ("animal", None, "x must have a label"),
    ],
)
def test_a_label_or_task_that_does_not_exist_is_named(task: str, label: object, part: str) -> None:
    with pytest.raises(InputError, match=part):
        SPACE.index(task, label, "x")


@pytest.mark.parametrize("tasks", [{}, {"a": ["x"]}, {"a": ["x", "x"]}])
def test_a_space_needs_tasks_of_two_different_classes(tasks: dict[str, list[str]]) -> None:
    with pytest.raises(InputError, match="must have"):
        LabelSpace.of(tasks)


def test_jsonl_holds_texts_or_numbers(tmp_path: Path) -> None:
    texts = jsonl(tmp_path / "t.jsonl", [{"text": "a", "label": "cat", "trust": [1, 2]}, {"text": "b", "label": 1}])
    found = read_examples(texts, tmp_path, Columns(), unused)
    assert found.inputs == {"text": ("a", "b")}
    assert found.labels == ("cat", 1)
    assert found.names == ("t.jsonl:1", "t.jsonl:2")
    assert found.columns == {"trust": [[1, 2], None]}
    rows = [{"in": [[1, 2], [3, 4]], "out": 0, "kind": "spam"}, {"in": [[5, 6], [7, 8.5]], "out": 1, "kind": "animal"}]
    numbers = read_examples(jsonl(tmp_path / "n.jsonl", rows), tmp_path, Columns("in", "out", "kind"), unused)
    x = numbers.inputs["x"]
    assert isinstance(x, Tensor)
    assert x.dtype == torch.float32
    assert x.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8.5]]]
    assert numbers.tasks == ("spam", "animal")


def test_an_archive_holds_inputs_labels_and_own_features(tmp_path: Path) -> None:
    arrays = {"image": np.zeros((3, 2, 2)), "label": np.array([0, 1, 2]), "trust": np.ones((3, 2))}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    found = read_examples("a.npz", tmp_path, Columns(features=("trust",)), unused)
    assert {name: tuple(value.shape) for name, value in found.inputs.items() if isinstance(value, Tensor)} == {
        "image": (3, 2, 2)
    }
    assert found.labels == (0, 1, 2)
    assert list(found.columns) == ["trust"]


@pytest.mark.parametrize(
    ("made", "names"),
    [
        ((torch.zeros(2, 3), [0, 1]), ["x"]),
        ((["a", "b"], ("cat", "dog")), ["text"]),
        (({"left": np.zeros((2, 1)), "right": [["u"], ["v"]]}, [0, 1]), None),
        (({"left": np.zeros((2, 1)), "right": ["u", "v"]}, torch.tensor([0, 1]), {"c": [1, 2]}), ["left", "right"]),
        ((np.array(["a", "b"]), None), ["text"]),
    ],
)
def test_a_function_returns_inputs_and_labels(made: Any, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(InputError, match=r"input 'right' of f\.py:g must be texts or numbers of one shape"):
            read_examples("f.py:g", Path(), Columns(), lambda name: lambda: made)
        return
    found = read_examples("f.py:g", Path(), Columns(), lambda name: lambda: made)
    assert list(found.inputs) == names
    assert len(found) == 2
    assert found.names == ("f.py:g:0", "f.py:g:1")


def test_parts_by_name_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    whole = jsonl(tmp_path / "w.jsonl", [{"text": str(n), "label": 0, "n": n} for n in range(200)])
    parts = {s: read_examples(f"{whole}#{s}", tmp_path, Columns(), unused) for s in ("train", "validation", "test")}
    seen = [name for part in parts.values() for name in part.names]
    assert len(seen) == len(set(seen)) == 200
    assert 110 < len(parts["train"]) < 170
    above = read_examples(f"../{tmp_path.name}/{whole}#test", tmp_path, Columns(), unused)
    assert above.names == parts["test"].names  # however the file is reached
    for part in parts.values():  # everything of an example stays together
        assert [int(text) for text in part.inputs["text"]] == list(part.columns["n"])
        assert [f"w.jsonl:{n + 1}" for n in part.columns["n"]] == list(part.names)


@pytest.mark.parametrize(
    ("write", "reference", "part"),
    [
        (None, "gone.jsonl", "must exist"),
        (None, "gone.npz", "must exist"),
        ("[1]", "a.jsonl", r"a.jsonl:1 must have 'text'; received keys \['list'\]"),
        ('{"text": "a", "labl": 1}', "a.jsonl", "must have 'label'"),
        ('{"text": "a"', "a.jsonl", "line 1 must be JSON"),
        ('{"text": "a", "label": 1}\n{"text": 3, "label": 1}', "a.jsonl", "all texts or all numbers"),
        ('{"text": [1], "label": 1}\n{"text": [1, 2], "label": 1}', "a.jsonl", "numbers of one shape"),
        ("", "a.jsonl", "must not be empty"),
        ("no archive", "a.npz", "must be a NumPy archive"),
        ('{"text": "a", "label": 1}', "a.jsonl#trian", "Did you mean 'train'"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(tmp_path: Path, write: str | None, reference: str, part: str) -> None:
    if write is not None:
        (tmp_path / reference.partition("#")[0]).write_text(write, encoding="utf-8")
    with pytest.raises(InputError, match=part):
        read_examples(reference, tmp_path, Columns(), unused)


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (3, "must be a function"),
        (lambda: [1, 2], "must return inputs and labels"),
        (lambda: (torch.zeros(2, 1), [1]), "must have one length"),
        (lambda: ({}, [1]), "must hold an input"),
    ],
)
def test_a_function_that_gives_something_else_is_named(function: Any, part: str) -> None:
    with pytest.raises(InputError, match=part):
        read_examples("f.py:g", Path(), Columns(), lambda name: function)


def domain(name: str, task: str, n: int, labels: Any = None, **columns: Any) -> DomainExamples:
    names = tuple(f"{name}:{number}" for number in range(n))
    x = torch.arange(float(n)).unsqueeze(-1) + 1000 * len(name)
    return DomainExamples(name, task, Labelled(names, {"x": x}, tuple(labels or [0] * n), (), columns))


def table(limit: int | None = None, seed: int = 0) -> Examples:
    parts = [domain("en", "animal", 9, [n % 3 for n in range(9)]), domain("de-ch", "spam", 5, ["yes"] * 5)]
    return make_examples(parts, SPACE, ALL, limit, seed)


def test_a_table_keeps_each_example_together() -> None:
    found = table()
    assert len(found) == 14
    assert found.domains == ("en", "de-ch")
    assert found.tasks == ("animal", "spam")
    assert found.labels.shape == (14, 1)
    for row in range(14):
        number = int(found.document[row].partition(":")[2])
        first = found.domains[int(found.domain[row])] == "en"
        x = found.inputs.values["x"]
        assert isinstance(x, Tensor)
        assert float(x[row]) == number + 1000 * (2 if first else 5)
        assert int(found.labels[row]) == (number % 3 if first else 4)
        assert int(found.task[row]) == (0 if first else 1)
    assert found.size.tolist() == [1] * 14
    assert bool(found.mask.all())


def test_a_limit_draws_by_seed_in_each_domain() -> None:
    first, again, other = table(4), table(4), table(4, seed=1)
    assert [int((first.domain == d).sum()) for d in (0, 1)] == [4, 4]
    assert first.document == again.document != other.document


def test_a_row_may_say_its_own_task() -> None:
    mixed = Labelled(("a", "b"), {"text": ("u", "v")}, ("yes", "cat"), ("spam", "animal"))
    found = make_examples([DomainExamples("d", "unused", mixed)], SPACE, ALL, None, 0)
    order = [found.document.index(name) for name in ("a", "b")]
    assert found.task[order].tolist() == [1, 0]
    assert found.labels[order].flatten().tolist() == [4, 0]


def test_who_serves_a_row_follows_its_task() -> None:
    parts = [domain("en", "animal", 2), domain("de", "spam", 1)]
    serves = torch.tensor([[True, False], [True, True]])
    found = make_examples(parts, SPACE, serves, None, 0)
    assert found.teacher_mask is not None
    assert found.teacher_mask.tolist() == [[True, False], [True, False], [True, True]]
    assert table().teacher_mask is None


def test_labels_may_be_absent_where_nothing_reads_them() -> None:
    parts = [domain("de", "spam", 2, [None, "yes"])]
    found = make_examples(parts, SPACE, ALL, None, 0, labels_read=False)
    assert sorted(found.labels.flatten().tolist()) == [3, 4]
    with pytest.raises(InputError, match="must have a label"):
        make_examples(parts, SPACE, ALL, None, 0)


def test_domains_must_have_the_same_inputs() -> None:
    texts = DomainExamples("t", "spam", Labelled(("a",), {"text": ("u",)}, (0,)))
    with pytest.raises(InputError, match="all domains must have the same inputs"):
        make_examples([domain("en", "spam", 1), texts], SPACE, ALL, None, 0)


def test_own_features_are_one_number_a_teacher() -> None:
    trust = [[0.1, 0.2], [0.3, 0.4]]
    found = make_examples([domain("en", "spam", 2, trust=trust)], SPACE, ALL, None, 0, {"trust": 2})
    order = [int(name.partition(":")[2]) for name in found.document]
    torch.testing.assert_close(found.columns["trust"], torch.tensor(trust)[order])
    for bad in ({}, {"trust": [[1.0], [2.0]]}, {"trust": [["a", "b"], ["c", "d"]]}, {"trust": [[1, 2]]}):
        with pytest.raises(InputError, match="must hold the feature 'trust'"):
            make_examples([domain("en", "spam", 2, **bad)], SPACE, ALL, None, 0, {"trust": 2})


def test_a_digest_follows_content_and_order() -> None:
    inputs = Inputs({"x": torch.arange(6.0).view(3, 2), "text": ("a", "b", "c")}, torch.tensor([0, 1, 0]))
    same = Inputs({"text": ("a", "b", "c"), "x": torch.arange(6.0).view(3, 2)}, torch.tensor([0, 1, 0]))
    others = [
        inputs[torch.tensor([1, 0, 2])],
        inputs[:2],
        Inputs(inputs.values, torch.tensor([0, 1, 1])),
        Inputs({**inputs.values, "text": ("ab", "", "c")}, inputs.task),
        Inputs({**inputs.values, "x": torch.arange(6.0).view(3, 2).double()}, inputs.task),
    ]
    assert same.digest() == inputs.digest()
    assert len({inputs.digest(), *(other.digest() for other in others)}) == len(others) + 1
    assert inputs[1:].values["text"] == ("b", "c")
    assert inputs.shape == (3, 1)
