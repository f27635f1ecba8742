"""Sources that are not what they seem: each is read whole, counted, or refused by name, and none is waited for.

What this catches that no other test does: files that Python's own readers take and quietly make less of, or that end in
an exception of a library which says nothing of the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trivium.data.examples import DomainExamples, make_examples
from trivium.data.labelled import Columns, Labelled, read_examples
from trivium.data.labels import LabelSpace
from trivium.data.sources import Texts, read_texts
from trivium.errors import InputError

DEEP = b"[" * 100_000 + b"]" * 100_000


READ: dict[bool, Any] = {
    False: read_texts,
    True: lambda name, folder: read_examples(name, folder, Columns(), lambda reference: None),
}


def texts(content: bytes, folder: Path, name: str = "a.jsonl") -> Texts:
    (folder / name).write_bytes(content)
    return read_texts(name, folder)


def examples(folder: Path, made: Any = None, **arrays: Any) -> Labelled:
    """Of a function, or of an archive of ``arrays``."""
    if made is not None:
        return read_examples("f.py:g", folder, Columns(), lambda reference: lambda: made)
    np.savez(folder / "a.npz", **arrays)
    return read_examples("a.npz", folder, Columns(), lambda reference: None)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b'{"text": "first", "text": "second"}', "line 2 must be JSON; received 'text' is there twice"),
        (b'{"text": "a", "more": {"x": 1, "x": 2}}', "'x' is there twice"),
        (b'{"text": ' + DEEP + b"}", "line 2 must be JSON; received brackets are nested too deep"),
        (b'{"text": "half \\ud800 a sign"}', "line 2 must be JSON; received .*surrogates not allowed"),
        (b'{"text": "half \\uDC80 a sign"}', "line 2 must be JSON; received .*surrogates not allowed"),
        (b'{"text": "half \xed\xa0\x80 a sign"}', "line 2 must be JSON; received 'utf-8' codec can't decode"),
        (b'{"text": 1' + b"0" * 5000 + b"}", "line 2 must be JSON; received Exceeds the limit"),
        (b'{"text": null}', "the 'text' of a.jsonl:2 must be text; received null"),
        (b'{"text": 3}', "the 'text' of a.jsonl:2 must be text; received a int"),
    ],
    ids=["twice", "twice inside", "deep", "high half", "low half", "raw half", "long number", "null", "number"],
)
@pytest.mark.parametrize("labelled", [False, True], ids=["texts", "examples"])
def test_a_line_that_python_would_make_less_of_is_named(line: bytes, part: str, labelled: bool, tmp_path: Path) -> None:
    if labelled and "must be text" in part:
        pytest.skip("numbers are an input of examples")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "whole", "label": 0}\n' + line.replace(b'{"', b'{"label": 1, "', 1))
    with pytest.raises(InputError, match=part):
        READ[labelled]("a.jsonl", tmp_path)


def test_two_halves_of_a_sign_are_one(tmp_path: Path) -> None:
    assert texts(b'{"text": "a \\ud83d\\ude00 smile"}', tmp_path).texts[0].text == "a \U0001f600 smile"


def test_a_mark_of_the_byte_order_is_no_text(tmp_path: Path) -> None:
    assert texts(b"\xef\xbb\xbfplain", tmp_path, "a.txt").texts[0].text == "plain"
    assert texts(b'\xef\xbb\xbf{"text": "plain"}\r\n{"text": "too"}\r\n', tmp_path).texts[0].text == "plain"


@pytest.mark.parametrize("labelled", [False, True], ids=["texts", "examples"])
def test_a_pipe_is_not_waited_for(labelled: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match=r"must be a file or a folder; received .*pipe.jsonl, a pipe or device"):
        READ[labelled]("pipe.jsonl", tmp_path)


def test_what_is_not_read_in_a_folder_is_counted(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "texts", tmp_path / "elsewhere"
    for place in (folder / "below", elsewhere):
        place.mkdir(parents=True)
        (place / "a.txt").write_text("some text", encoding="utf-8")
    (folder / "linked.txt").symlink_to(elsewhere / "a.txt")
    (folder / "gone.txt").symlink_to(elsewhere / "none.txt")
    (folder / "more").symlink_to(elsewhere)
    os.mkfifo(folder / "pipe.txt")
    found = read_texts("texts", tmp_path)
    assert [text.name for text in found.texts] == ["below/a.txta.txt", "linked.txtlinked.txt"]
    assert found.dropped == {"links to nothing, pipes or devices": 2, "folders behind links": 1}


X, Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), [0, 1, 0, 1, 0, 1]


def spoiled(value: float) -> torch.Tensor:
    x = X.double()
    x[3, 1], x[5, 0] = value, value
    return x


@pytest.mark.parametrize(
    ("made", "part"),
    [
        ((spoiled(float("nan")), Y), "input 'x' of f.py:g must be finite .* in 2 examples, the first number 3"),
        ((spoiled(float("inf")), Y), "must be finite numbers"),
        ((spoiled(1e300), Y), "must be finite numbers, in float32 too"),
        ((torch.tensor([1.0, torch.inf]), [0, 1]), "the first number 1"),
        ((torch.tensor(3.0), Y), "must have an entry an example; received one number"),
        (({1: X}, Y), r"inputs of f.py:g must be a mapping of names; received keys \[1\]"),
        ((X, Y, [1, 2]), "columns of f.py:g must be a mapping of names; received list"),
        ((X, Y, {"note": ["a"] * 5}), "must have one length; received .*'note': 5"),
        ((X, Y, {"note": torch.tensor(3.0)}), "must have one length; received .*'note': 0"),
        ((X, Y, {"note": 3}), "column 'note' of f.py:g must be a list; received int"),
        ((X, 5), "the labels of f.py:g must be a list.*; received int"),
        ((X, "010101"), "the labels of f.py:g must be a list.*; received str"),
        ((X, torch.tensor(1)), "the labels of f.py:g must be a list.*; received int"),
        ((["a"] * 5 + ["b \udc80"], Y), "text 5 of input 'text' of f.py:g must be what UTF-8 can hold"),
        (([[10**40, 1.0]] * 6, Y), "must be"),
    ],
)
def test_what_a_function_returns_is_refused_for_what_it_is(made: Any, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=part):
        examples(tmp_path, made)


def test_so_is_an_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'extra' of a\.npz must have an entry an example; received one number"):
        examples(tmp_path, x=X.numpy(), label=np.array(Y), extra=np.array(3))
    with pytest.raises(InputError, match="must be finite numbers"):
        examples(tmp_path, x=spoiled(float("nan")).numpy(), label=np.array(Y))


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("raised", [SystemExit(1), KeyError("x"), Wordless()], ids=["exit", "key", "wordless"])
def test_whatever_a_function_raises_is_bad_input(raised: BaseException) -> None:
    def function() -> None:
        raise raised

    with pytest.raises(InputError, match="f.py:g must run; received " + type(raised).__name__):
        read_examples("f.py:g", Path(), Columns(), lambda reference: function)


@pytest.mark.parametrize(
    "labels", [[np.int64(n) for n in Y], [torch.tensor(n) for n in Y], np.array(Y, np.uint8), tuple(Y)]
)
def test_a_label_of_numpy_or_torch_is_a_number(labels: Any, tmp_path: Path) -> None:
    assert examples(tmp_path, (X, labels)).labels == tuple(Y)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int64, torch.bool], ids=str)
def test_inputs_of_every_type_have_a_digest(kind: torch.dtype, tmp_path: Path) -> None:
    space = LabelSpace.of({"task": ["a", "b"]})
    one, other = (
        make_examples(
            [DomainExamples("d", "task", examples(tmp_path, (x, Y)))],
            space,
            torch.ones(1, 1, dtype=torch.bool),
            None,
            0,
        )
        for x in ((X > 0).to(kind), (X < 0).to(kind))
    )
    assert one.inputs.digest() != other.inputs.digest()


def test_a_sparse_input_is_read_as_what_it_stands_for(tmp_path: Path) -> None:
    assert torch.equal(torch.as_tensor(examples(tmp_path, (X.to_sparse(), Y)).inputs["x"]), X)
