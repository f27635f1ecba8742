"""The automaton against regular expressions, on texts that three kinds of tokenizers cut: no other test has strings."""

import random
import time

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from reference.safety import completes, completions
from trivium.errors import InputError
from trivium.safety import Boundaries, UnsafeTokens, build_automaton, resolve_tokens, token_bytes

STRINGS = ["eval(", "exec(", "os.system(", "gets", "strcpy(", "a b"]
PIECES = ["eval", "(", "ex", "ec(", "literal_", "model.", "os", ".", "system", "f", "gets", " ", "\n", "str", "cpy",
          "“", "é", "a", " b", "x = 1", "e", "v",
          "al(", "_", "9", "EVAL("]  # fmt: skip
RULES = [
    {"whole_words": True, "not_after": ".", "ignore_case": False},
    {"whole_words": True, "not_after": "", "ignore_case": True},
    {"whole_words": False, "not_after": "e.", "ignore_case": False},
    {"whole_words": False, "not_after": "", "ignore_case": False},
]


def text_of(draw: random.Random, pieces: int = 12) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, pieces)))


def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """Byte-level, SentencePiece with byte fallback, and WordPiece, each trained on such texts."""
    draw = random.Random(0)
    corpus = [text_of(draw) for _ in range(400)] + ["import os\nos.system(eval(x))", "while gets(s): strcpy(a, b)"]
    byte = Tokenizer(models.BPE())
    byte.pre_tokenizer, byte.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    byte.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    piece = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    piece.normalizer = normalizers.Replace(" ", "▁")
    piece.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    piece.train_from_iterator(
        [text.replace("é", "") for text in corpus],
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<unk>", "<end>"],
            initial_alphabet=[f"<0x{byte:02X}>"[0] for byte in range(1)], show_progress=False
        ),
    )  # fmt: skip
    piece.add_tokens([f"<0x{byte:02X}>" for byte in range(256)])
    word = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    word.pre_tokenizer, word.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece(cleanup=False)
    word.train_from_iterator(
        corpus, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    )
    return {
        "byte-level": PreTrainedTokenizerFast(tokenizer_object=byte, eos_token="<end>"),
        "sentencepiece": PreTrainedTokenizerFast(tokenizer_object=piece, eos_token="<end>", unk_token="<unk>"),
        "wordpiece": PreTrainedTokenizerFast(tokenizer_object=word, eos_token="[SEP]", unk_token="[UNK]"),
    }


@pytest.fixture(scope="module")
def made() -> dict[str, PreTrainedTokenizerFast]:
    return tokenizers()


def check_text(unsafe: UnsafeTokens, texts: list[bytes | None], ids: list[int], rules: dict) -> int:
    """Every token of the vocabulary at one place of the text, and the text's own tokens at all; how many complete."""
    states = unsafe.walk(np.array([ids]))[0]
    written, count = b"", 0
    for place, number in enumerate(ids[:-1]):
        piece = texts[number]
        written = b"" if piece is None else written + piece
        following = ids[place + 1]
        inside = following in unsafe.members(int(states[place])).tolist()
        assert inside == completes(written, texts[following], unsafe.strings, **rules)
        count += inside
    for number in range(len(ids) % 29, len(texts), 29):
        inside = number in unsafe.members(int(states[len(ids) - 2])).tolist()
        assert inside == completes(written, texts[number], unsafe.strings, **rules), (written, texts[number])
    return count


def check_all(made: dict[str, PreTrainedTokenizerFast], count: int) -> None:
    draw = random.Random(1)
    for kind, tokenizer in made.items():
        strings = [string for string in STRINGS if kind != "wordpiece" or string in ("gets", "a b")]
        texts = token_bytes(tokenizer)
        found = 0
        for rules in RULES:
            unsafe = UnsafeTokens(tokenizer, strings=strings, boundaries=Boundaries(**rules))
            for _ in range(count // len(RULES)):
                ids = [tokenizer.eos_token_id, *tokenizer.encode(text_of(draw), add_special_tokens=False)]
                if len(ids) > 2:
                    found += check_text(unsafe, texts, ids, rules)
        assert found > count / 50, kind  # a matcher that finds nothing would agree with one that finds nothing


def test_tokens_complete_what_a_naive_search_finds(made: dict[str, PreTrainedTokenizerFast]) -> None:
    check_all(made, 80)


@pytest.mark.deep
def test_tokens_complete_what_a_naive_search_finds_in_10000_texts(made: dict[str, PreTrainedTokenizerFast]) -> None:
    check_all(made, 10_000)


@pytest.mark.parametrize("rules", RULES)
def test_bytes_complete_what_a_regular_expression_finds(rules: dict) -> None:
    draw = random.Random(2)
    automaton = build_automaton(STRINGS, Boundaries(**rules))
    for _ in range(300):
        text = text_of(draw).encode()
        naive = any(completions(text, string, ended=True, **rules) for string in STRINGS)
        assert automaton.reads(text, ended=True) == naive, text


@pytest.mark.parametrize(
    ("text", "unsafe"),
    [
        ("eval(x", True),
        ("model.eval(", False),
        ("literal_eval(", False),
        ("fgets(", False),
        ("gets(", True),
        ("“eval(", True),
    ],
)
def test_what_the_issue_names(text: str, unsafe: bool) -> None:
    automaton = build_automaton(STRINGS, Boundaries(not_after="."))
    assert automaton.reads(text.encode()) is unsafe


def test_a_string_at_the_end_of_a_text_is_completed_by_the_end_token(made: dict[str, PreTrainedTokenizerFast]) -> None:
    tokenizer = made["byte-level"]
    unsafe = UnsafeTokens(tokenizer, strings=["gets"])
    state = unsafe.walk(np.array([tokenizer.encode("x gets")]))[0, -1]
    assert tokenizer.eos_token_id in unsafe.members(int(state)).tolist()
    ended = unsafe.walk(np.array([[*tokenizer.encode("x gets"), tokenizer.eos_token_id]]))[0, -1]
    assert unsafe.automaton is not None
    assert unsafe.members(int(ended)).tolist() == unsafe.members(unsafe.automaton.start).tolist()


def test_bytes_of_tokens_make_up_the_text(made: dict[str, PreTrainedTokenizerFast]) -> None:
    for kind in ("byte-level", "sentencepiece"):
        tokenizer, text = made[kind], "os.system(a b)\n“eval("
        pieces = [token_bytes(tokenizer)[number] for number in tokenizer.encode(text, add_special_tokens=False)]
        assert b"".join(piece or b"?" for piece in pieces) == text.encode(), kind


def test_a_string_that_the_tokenizer_cannot_produce_is_refused(made: dict[str, PreTrainedTokenizerFast]) -> None:
    with pytest.raises(InputError, match="can produce; received 'eval\\('"):
        UnsafeTokens(made["wordpiece"], strings=["eval("])


def test_variants_of_a_token_are_found_and_others_refused(made: dict[str, PreTrainedTokenizerFast]) -> None:
    tokenizer = made["byte-level"]
    found = resolve_tokens(tokenizer, ["A"])
    texts = {token_bytes(tokenizer)[number] for number in found}
    assert {b"a", b"A"} <= texts <= {b"a", b"A", b" a", b" A"}
    assert [token_bytes(tokenizer)[number] for number in resolve_tokens(tokenizer, ["A"], variants=False)] == [b"A"]
    with pytest.raises(InputError, match="several"):
        resolve_tokens(tokenizer, ["os.system(eval(x))"])
    with pytest.raises(InputError, match="id of the tokenizer"):
        resolve_tokens(tokenizer, [10**6])


def test_masses_are_those_of_a_loop_and_carry_gradients(made: dict[str, PreTrainedTokenizerFast]) -> None:
    tokenizer = made["byte-level"]
    unsafe = UnsafeTokens(tokenizer, ["x"], ["eval(", "gets"])
    ids = torch.tensor([tokenizer.encode("x = eval(gets")[:6]] * 2)
    states = unsafe.states(ids, torch.zeros(2), ids.shape[1])
    torch.manual_seed(0)
    logits = torch.randn(2 * ids.shape[1], len(token_bytes(tokenizer)), requires_grad=True)
    log_p = logits.log_softmax(-1)
    mass = unsafe.mass(log_p, states.flatten())
    plain = [
        sum(log_p[n, i].exp().item() for i in unsafe.members(s).tolist())
        for n, s in enumerate(states.flatten().tolist())
    ]
    torch.testing.assert_close(mass, torch.tensor(plain, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(mass, (log_p.exp().double() * unsafe.mask(states.flatten(), log_p.shape[1])).sum(-1))
    mass.sum().backward()
    assert logits.grad is not None
    assert bool((logits.grad != 0).any())


@pytest.mark.deep
def test_fifty_thousand_tokens_take_milliseconds_a_state(made: dict[str, PreTrainedTokenizerFast]) -> None:
    """Catches a loop over tokens in Python: 50,000 of them would take seconds a state."""
    tokenizer = made["byte-level"]
    tokenizer.add_tokens([f"word{number}" for number in range(50_000)])
    unsafe = UnsafeTokens(tokenizer, strings=STRINGS)
    begun = time.process_time()
    for state in range(20):
        unsafe.members(state)
    assert (time.process_time() - begun) / 20 < 0.1
