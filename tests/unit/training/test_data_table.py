"""Nothing of the data is dropped, cut or passed over without a count: the data table of runs, of text and examples."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from tiny_world import World, make_tokenizer
from trivium.data.census import unknown_token
from trivium.data.corpora import documents, left_out
from trivium.data.examples import Examples
from trivium.data.labelled import Columns, read_examples
from trivium.data.labels import LabelSpace
from trivium.data.rows import DomainTexts, make_rows
from trivium.data.sources import Text, Texts, read_texts
from trivium.errors import InputError, TriviumError
from trivium.jsontext import write_json
from trivium.report import data_lines, data_table, write_report
from trivium.teachers.transformers_classifier import load_classifier
from trivium.training.recipe import parse_recipe
from trivium.training.run import distill, prepare
from trivium.training.trace import read_trace

LONG = "the cat sees a dog and likes a bird. "


def lines(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path.name


def text_recipe(world: World, source: str, **changes: Any) -> Any:
    domain = {"name": "d", "train": source, "validation": "sums.validation.jsonl", "test": "sums.test.jsonl"}
    return world.recipe(
        data={"domains": [domain], "train_rows": None},
        scheme={"token": [], "task": [], "context": [], "budget": None},
        **changes,
    )


def source_of(content: Any, split: str = "train") -> Any:
    (found,) = [source for source in content["sources"] if source["split"] == split]
    return found


def test_two_hundred_of_220_documents_that_are_too_short_are_told(world: World, tmp_path: Path) -> None:
    records = [{"text": "too few"}] * 200 + [{"text": LONG * 3}] * 20
    lines(world.folder / "short.jsonl", records)
    recipe = text_recipe(world, "short.jsonl", train={"steps": 2})
    told: list[str] = []
    prepared_run = prepare(recipe, world.folder, tmp_path / "cache", lambda stage, done, total: told.append(stage))
    source = source_of(prepared_run.data)
    assert (source["documents"], source["examined"]) == (220, 220)
    assert source["dropped"] == {"under 8 tokens": 200}
    assert source["rows"] == source["available"] == len(prepared_run.tables.train)
    assert source["tokens"] == int(prepared_run.tables.train.mask.sum())
    warning = "train data: 200 of 220 documents of 'd' are dropped: 200 under 8 tokens"
    assert prepared_run.data["warnings"] == [warning]
    assert f"warning: {warning}" in told
    distill(recipe, prepared_run, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert stored == prepared_run.data
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "200 under 8 tokens" in page
    assert f"Warning: {warning.replace(chr(39), '&#39;')}." in page


def test_a_drop_of_one_in_a_hundred_is_counted_and_no_warning(world: World, tmp_path: Path) -> None:
    for blank, warned in ((1, False), (2, True)):
        lines(world.folder / "blank.jsonl", [{"text": " \n"}] * blank + [{"text": LONG * 3}] * (100 - blank))
        prepared_run = prepare(text_recipe(world, "blank.jsonl"), world.folder, tmp_path / "cache")
        assert source_of(prepared_run.data)["dropped"] == {"blank": blank}
        assert bool(prepared_run.data["warnings"]) == warned


def test_columns_that_nothing_reads_are_listed(world: World, tmp_path: Path) -> None:
    (world.folder / "trusting.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='context', features={'trust': (0.0, 1.0)})\n"
        "def by_trust(trust):\n"
        "    return torch.softmax(trust, dim=-1)\n",
        encoding="utf-8",
    )
    record = {"text": LONG * 3, "trust": [0.5, 1.0], "id": "a1", "summary": "a cat and a dog", "year": 1999}
    for name in ("a.jsonl", "b.jsonl"):
        lines(world.folder / name, [record] * 6)
    domain = {"name": "d", "train": "a.jsonl", "validation": "b.jsonl"}
    scheme = {"token": [], "task": [], "context": [{"rule": "trusting.py:by_trust"}], "budget": None}
    prepared_run = prepare(world.recipe(data={"domains": [domain]}, scheme=scheme), world.folder, tmp_path / "cache")
    source = source_of(prepared_run.data)
    assert source["read"] == ["text", "trust"]
    assert source["unread"] == {"id": "words", "summary": "texts", "year": "numbers"}
    assert "train data: column 'summary' of 'd' holds texts that nothing reads" in prepared_run.data["warnings"]


def test_how_much_of_the_rows_the_steps_read_is_told(world: World, tmp_path: Path) -> None:
    recipe = text_recipe(world, "sums.train.jsonl", train={"steps": 1, "batch_size": 4})
    prepared_run = prepare(recipe, world.folder, tmp_path / "cache")
    rows = len(prepared_run.tables.train)
    assert rows > 4
    assert prepared_run.data["sentence"] == f"All steps together read 4 of {rows} training rows."


def test_hidden_files_of_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "texts" / ".git").mkdir(parents=True)
    (tmp_path / "texts" / "a.txt").write_text("a text", encoding="utf-8")
    (tmp_path / "texts" / ".git" / "config").write_text("no text", encoding="utf-8")
    found = read_texts("texts", tmp_path)
    assert [text.name for text in found.texts] == ["a.txta.txt"]
    assert found.notes == ("1 hidden file left out, for example .git/config",)


def test_what_a_built_in_corpus_leaves_out_is_told() -> None:
    notes = " ".join(read_texts("trivium:cpp/train", Path()).notes)
    counts = left_out("cpp", "train")
    assert counts
    assert all(f"{count} file{'s' * (count != 1)} left out: {reason}" in notes for reason, count in counts.items())
    assert min(len(document.text) for document in documents("cpp")) >= 400


# ---- examples


SPACE = LabelSpace.of({"stars": ["1", "2", "3", "4", "5"], "topic": ["sports", "science"]})


def test_numbers_are_the_names_of_classes_that_are_numbers() -> None:
    """1 of "1" … "5" was read as place 1, which is "2": every rating moved up by one, and no one was told."""
    for text in ("1", "2", "3", "4", "5"):
        assert SPACE.index("stars", int(text), "x") == SPACE.index("stars", text, "x") == int(text) - 1
    with pytest.raises(InputError, match="the label of x must be a class of task 'stars'; received '0'"):
        SPACE.index("stars", 0, "x")
    assert SPACE.index("topic", 1, "x") == 5 + 1, "other classes are numbered from 0"
    with pytest.raises(InputError, match="received '1'"):
        SPACE.index("topic", "1", "x")
    backwards = LabelSpace.of({"digit": ["2", "1", "0"]})
    assert [backwards.index("digit", number, "x") for number in (0, 1, 2)] == [2, 1, 0]


def test_a_second_text_is_an_input_where_the_recipe_names_it(tmp_path: Path) -> None:
    records = [{"text": "a b", "second": "c d", "label": 0}, {"text": "e", "second": "f", "label": 1}]
    name = lines(tmp_path / "p.jsonl", records)
    found = read_examples(name, tmp_path, Columns(pair="second"), lambda _: None)
    assert found.inputs == {"text": ("a b", "e"), "text_pair": ("c d", "f")}
    assert found.read == ("text", "second", "label")
    assert not found.columns
    with pytest.raises(InputError, match=r"p.jsonl:1 must have 'third'"):
        read_examples(name, tmp_path, Columns(pair="third"), lambda _: None)


def test_the_table_is_shown_and_printed(tmp_path: Path) -> None:
    content = {
        "sources": [
            {
                "split": "train", "domain": "d", "source": "d.jsonl", "documents": 3000, "examined": 220, "rows": 20,
                "available": 60, "tokens": None, "dropped": {"blank": 1, "under 8 tokens": 0}, "short": 2,
                "read": ["text"], "unread": {"year": "numbers"}, "notes": ["one thing"],
            }
        ],
        "sentence": "All.",
        "warnings": ["train data: x"],
    }  # fmt: skip
    screen = Console(width=160, record=True, file=None, quiet=False)
    with screen.capture() as shown:
        screen.print(data_table(content))
    words = " ".join(shown.get().replace("│", " ").split())
    assert "train d 220 of 3,000 1 blank; 2 cut short 20 of 60 – text year (numbers)" in words
    assert data_lines(content) == [("All.", False), ("train, d: one thing.", False), ("warning: train data: x", True)]
    write_json(tmp_path / "data.json", content)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "220 of 3,000" in page
    assert "Warning: train data: x." in page


WORDS = ("cat", "dog", "bird", "fox")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentence pairs whose label is in the second text alone, and an encoder that reads types of tokens."""
    from transformers import AutoModelForSequenceClassification, BertConfig

    folder = tmp_path_factory.mktemp("pairs")
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<end>"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        initializer_range=0.5, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}, pad_token_id=0,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    records = [
        {"text": "the cat sees a dog", "second": f"a {WORDS[n % 4]} sees it", "label": ("no", "yes")[n % 2]}
        for n in range(40)
    ]
    lines(folder / "p.jsonl", records)
    (folder / "mine.py").write_text(
        "import json, pathlib\n"
        "R = [json.loads(x) for x in pathlib.Path(__file__).with_name('p.jsonl').read_text().splitlines()]\n"
        "A, B, L = ([r[k] for r in R] for k in ('text', 'second', 'label'))\n"
        "def named(): return {'text': A, 'text_pair': B}, L\n"
        "def other(): return {'text': A, 'hypothesis': B}, L\n"
        "def beside(): return A, L, {'second': B}\n",
        encoding="utf-8",
    )
    return folder


def pair_recipe(source: str, **data: Any) -> Any:
    return parse_recipe(
        {
            "student": {"model": "teacher"},
            "teachers": [{"name": "one", "model": "teacher"}],
            "data": {
                "kind": "examples",
                "tasks": {"entails": ["no", "yes"]},
                "domains": [{"name": "p", "task": "entails", "train": source, "validation": source}],
                **data,
            },
            "train": {"steps": 2, "batch_size": 4, "tracker": "none", "threads": 1},
        }
    )


def test_a_second_text_that_nothing_reads_is_a_warning(pairs: Path, tmp_path: Path) -> None:
    for source in ("p.jsonl", "mine.py:beside"):
        prepared_run = prepare(pair_recipe(source), pairs, tmp_path / "cache")
        assert source_of(prepared_run.data)["unread"] == {"second": "texts"}
        assert "train data: column 'second' of 'p' holds texts that nothing reads" in prepared_run.data["warnings"]


def test_pairs_are_read_as_pairs_from_a_file_and_from_a_function(pairs: Path, tmp_path: Path) -> None:
    """The label is in the second text: a reader of the first alone gives every example the same answer."""
    alone = prepare(pair_recipe("p.jsonl"), pairs, tmp_path / "cache")
    logits = alone.sources["train"].logits(torch.arange(40))[0]
    assert len(logits.unique(dim=0)) == 1
    found = []
    for source, data in (("p.jsonl", {"pair_column": "second"}), ("mine.py:named", {})):
        prepared_run = prepare(pair_recipe(source, **data), pairs, tmp_path / "cache")
        assert not [line for line in prepared_run.data["warnings"] if "reads" in line]
        rows = prepared_run.tables.train
        assert isinstance(rows, Examples)
        by_text: dict[str, torch.Tensor] = {}
        for number, text in enumerate(rows.inputs.values["text_pair"]):
            by_text[str(text)] = prepared_run.sources["train"].logits(torch.tensor([number]))[0][0]
        assert len(by_text) == 4
        assert len(torch.stack(list(by_text.values())).unique(dim=0)) == 4
        found.append(torch.stack([by_text[text] for text in sorted(by_text)]))
        assert source_of(prepared_run.data)["tokens"] == sum(
            len(ids) for ids in make_tokenizer()(list(rows.inputs.values["text"]))["input_ids"]
        ) + sum(len(ids) for ids in make_tokenizer()(list(rows.inputs.values["text_pair"]))["input_ids"])
    torch.testing.assert_close(found[0], found[1])


def test_types_of_tokens_reach_a_model_that_takes_them(pairs: Path) -> None:
    loaded = load_classifier(pairs / "teacher", ["no", "yes"], "it")
    loaded.tokenizer._tokenizer.post_processor = TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    typed = loaded.tokenizer("a cat", "a dog", return_tensors="pt", return_token_type_ids=True)
    assert set(typed["token_type_ids"].unique().tolist()) == {0, 1}
    loaded.tokenizer.model_input_names = [*loaded.tokenizer.model_input_names, "token_type_ids"]
    torch.testing.assert_close(loaded(text=["a cat"], text_pair=["a dog"]), loaded.model(**typed).logits)


def test_an_input_that_a_model_would_pass_over_is_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(TriviumError, match=r"must be `text`, `text_pair` or a tensor that .* 'hypothesis'"):
        prepare(pair_recipe("mine.py:other"), pairs, tmp_path / "cache")


def test_texts_that_are_cut_to_the_window_are_told_of_every_reader(pairs: Path, tmp_path: Path) -> None:
    long = [{"text": LONG * 2, "label": "no"}] * 10 + [{"text": "a cat", "label": "yes"}] * 10
    lines(pairs / "long.jsonl", long)
    prepared_run = prepare(pair_recipe("long.jsonl", window=8), pairs, tmp_path / "cache")
    told = "reads the first 8 tokens alone of 10 of 20 texts"
    for who in ("the student", "teacher 'one'"):
        assert f"train data: {who} {told}" in prepared_run.data["warnings"]
    short = len(make_tokenizer()("a cat")["input_ids"])
    assert source_of(prepared_run.data)["tokens"] == 10 * 8 + 10 * short


def test_labels_that_are_numbers_or_missing_and_blank_texts_are_told(pairs: Path, tmp_path: Path) -> None:
    records = [{"text": "a cat", "label": 1}] * 19 + [{"text": " ", "label": 0}]
    lines(pairs / "n.jsonl", records)
    lines(pairs / "v.jsonl", [{"text": "a cat", "label": "yes"}, *[{"text": "a dog", "label": None}] * 3])
    recipe = pair_recipe(
        "n.jsonl", domains=[{"name": "p", "task": "entails", "train": "v.jsonl", "validation": "n.jsonl"}]
    )
    content = prepare(recipe, pairs, tmp_path / "cache").data
    notes = source_of(content, "validation")["notes"]
    assert "20 labels are numbers, read as places of classes, the first is 0" in notes
    assert "validation data: 1 texts of 'p' are blank" in content["warnings"]
    assert source_of(content)["notes"] == ["3 have no label"]


def test_text_that_a_tokenizer_does_not_know_is_told(world: World, pairs: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<end>", "<unk>", *LONG.split()])}
    inner = Tokenizer(WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", unk_token="<unk>", pad_token="<end>")
    known, unknown = Text("a", LONG * 2), Text("b", "der hund sieht eine katze und mag sie sehr")
    rows = make_rows([DomainTexts("d", "t", Texts([known, unknown]))], tokenizer, 32, None, 0)
    assert rows.census[0].warnings() == ["'d': 9 of 29 tokens stand for text that the tokenizer does not know"]
    rows = make_rows([DomainTexts("d", "t", Texts([known]))], tokenizer, 32, None, 0)
    assert rows.census[0].warnings() == []
    reader = load_classifier(pairs / "teacher", ["no", "yes"], "it")
    reader.tokenizer = tokenizer
    assert reader.counted([known.text, unknown.text]) == [(18, 0), (9, 9)]


def test_a_trace_that_is_broken_in_the_middle_is_not_cut_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines_ = ['{"kind": "step", "step": 1}', '{"kind": "st', '{"kind": "step", "step": 3}']
    path.write_text("\n".join(lines_[:2]), encoding="utf-8")
    assert [row["step"] for row in read_trace(path)] == [1], "the last line of a killed run"
    path.write_text("\n".join(lines_), encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 must be JSON"):
        read_trace(path)


def test_a_tokenizer_of_bytes_knows_every_text() -> None:
    """One without an unknown token stopped the demo."""
    whole = SimpleNamespace(unk_token_id=None, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    assert unknown_token(whole) is None
    assert unknown_token(SimpleNamespace(unk_token_id=0, bos_token_id=0, eos_token_id=0, pad_token_id=1)) is None
    assert unknown_token(SimpleNamespace(unk_token_id=3, bos_token_id=0, eos_token_id=0, pad_token_id=1)) == 3
