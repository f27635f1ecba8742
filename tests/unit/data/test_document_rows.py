"""Every token of a document is predicted once, and its end with it; nothing that was cut short ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reference.tiny import tokenizer as tiny_tokenizer
from trivium.data.corpora import documents
from trivium.data.rows import IGNORE, LEAST, DomainTexts, Rows, make_rows
from trivium.data.sources import Text, Texts, read_texts
from trivium.errors import InputError

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id


def rows_of(*texts: str | Text, window: int = 16, tokenizer: Any = TOKENIZER, **options: Any) -> Rows:
    listed = [t if isinstance(t, Text) else Text(f"t:{n}", t) for n, t in enumerate(texts)]
    return make_rows([DomainTexts("d", "t", Texts(listed))], tokenizer, window, None, 0, **options)


def predicted(rows: Rows, document: str) -> list[list[int]]:
    """What each row of a document predicts, in no order."""
    places = [place for place, name in enumerate(rows.document) if name == document]
    return [rows.labels[place][rows.labels[place] != IGNORE].tolist() for place in places]


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def test_a_document_ends_in_the_end_token_which_is_predicted() -> None:
    rows = rows_of("a short story.", window=32)
    assert predicted(rows, "t:0") == [[*ids_of("a short story."), END]]
    row = rows.labels[0]
    last = int((row != IGNORE).nonzero()[-1])
    assert row[last] == END
    assert rows.input_ids[0, last] == ids_of("a short story.")[-1], "the end is predicted from the text before it"
    assert int(rows.bytes[0]) == len("a short story."), "the end has no bytes"


def test_a_recipe_may_leave_the_end_out() -> None:
    assert predicted(rows_of("a short story.", window=32, end_of_text=False), "t:0") == [ids_of("a short story.")]


def test_windows_in_the_middle_of_a_document_do_not_end() -> None:
    rows = rows_of("abcdefghij" * 10, window=16)
    ends = [part for part in predicted(rows, "t:0") if END in part]
    assert len(ends) == 1
    assert ends[0].index(END) == len(ends[0]) - 1
    assert len(rows) == 7  # 101 tokens


@given(length=st.integers(LEAST, 120), window=st.integers(8, 24), end=st.booleans())
@example(length=16, window=16, end=True)  # the end stands alone behind full windows: it was dropped
@example(length=32, window=16, end=True)
@example(length=17, window=16, end=False)  # a rest of one token: it was dropped
@example(length=8, window=8, end=True)
def test_every_token_is_predicted_once_whatever_the_length(length: int, window: int, end: bool) -> None:
    text = "".join(chr(ord("a") + n % 7) for n in range(length))
    rows = rows_of(text, window=window, end_of_text=end)
    expected = ids_of(text) + [END] * end
    parts = predicted(rows, "t:0")
    assert sorted(token for part in parts for token in part) == sorted(expected)
    assert int(rows.bytes.sum()) == len(text)
    for row in range(len(rows)):
        known = rows.labels[row] != IGNORE
        count = int(known.sum())
        assert bool(known[:count].all()), "what is predicted stands together, from the first position on"
        assert int(rows.input_ids[row, 0]) == END, "this tokenizer has no other beginning"
        assert rows.input_ids[row, 1:count].tolist() == rows.labels[row, : count - 1].tolist()
    last = next(part for part in parts if END in part) if end else parts[0]
    assert len(last) >= min(LEAST, (window + 1) // 2), "the end is predicted after some text"


def test_a_text_that_brings_its_own_end_gets_no_second_one() -> None:
    rows = rows_of("a short story.<|end|>", window=32)
    assert predicted(rows, "t:0") == [[*ids_of("a short story."), END]]


def test_a_text_that_was_cut_short_does_not_end() -> None:
    whole, cut = Text("whole", "a short story."), Text("cut", "a short sto", whole=False)
    rows = rows_of(whole, cut, window=32)
    assert END in predicted(rows, "whole")[0]
    assert END not in predicted(rows, "cut")[0]


def test_a_built_in_text_is_whole_unless_it_was_cut() -> None:
    found = documents("python")
    assert {len(d.text) == 60_000 for d in found if not d.whole} == {True}
    assert {d.whole for d in found} == {True, False}
    read = read_texts("trivium:python/test", Path()).texts
    assert [text.whole for text in read] == [document.whole for document in documents("python", "test")]


def test_a_tokenizer_without_an_end_token_is_refused_unless_nothing_ends() -> None:
    beginning = tiny_tokenizer(end=False)
    beginning.bos_token = "<|end|>"
    with pytest.raises(InputError, match=r"must have an end token .* data.end_of_text to false"):
        rows_of("a short story.", tokenizer=beginning)
    rows = rows_of("a short story.", tokenizer=beginning, window=32, end_of_text=False)
    assert torch.equal(rows.labels[0][: len(ids_of("a short story."))], torch.tensor(ids_of("a short story.")))
