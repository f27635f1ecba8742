"""Checks that every model must pass when it is loaded, be it a teacher or the student, of text or of examples.

A model is admitted if its answers are a function of the row that it is asked about: the same twice, the same alone and
beside others, the same in any order, and, of text, by what stands before a token alone. Whatever it answers must be
what its recipe says: logits, or probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trivium.errors import ForeignError, InputError, TriviumError, calling, said_by
from trivium.teachers.vocabulary import vocabulary_size

#: Called with a line to show; each is said once, when a model is loaded.
Say = Callable[[str], None]

#: Rows that a model of examples is asked about.
PROBED = 32
#: Of these, asked about alone too.
_ALONE = 4
#: How often a model is asked the same again before another reason is given for two answers.
_AGAIN = 8
_TWICE = "answer the same when it is asked twice"
_RESTLESS = "Take dropout, sampling and augmentation out of it: what it says would be noise, and a cache one draw."
#: Tokens of the short row that a language model is asked about.
_SHORT = 12


def unsaid(line: str) -> None:
    """Say nothing: a callback for whoever loads a model and wants to hear nothing."""


@contextmanager
def asked(model: object) -> Iterator[None]:
    """Return evaluation mode, no gradients, and a random state that the questions leave as it was."""
    module = model if isinstance(model, torch.nn.Module) else None
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"} if module is not None else set()
    training = [part for part in module.modules() if part.training] if module is not None else []
    if module is not None:
        module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for part in training:
            part.training = True


def apart(found: Tensor, expected: Tensor) -> float:
    """Return how far two answers [..., C] are apart: max |a − b| / max |b|; +inf where one alone is infinite or NaN.

    Cost: a copy of 64 rows of numbers at a time, since V may be large.
    """
    furthest, largest = 0.0, 1e-3  # an answer of zeros has no size
    for one, two in zip(found.flatten(0, -2).split(64), expected.flatten(0, -2).split(64), strict=True):
        a, b = one.double(), two.double()
        finite = b.isfinite()
        if not torch.equal(a.isfinite(), finite) or not torch.equal(a.isposinf(), b.isposinf()):
            return float("inf")
        furthest = max(furthest, float(torch.where(finite, a - b, 0.0).abs().max()))
        largest = max(largest, float(torch.where(finite, b, 0.0).abs().max()))
    return furthest / largest


def tolerance(model: object, *answers: Tensor) -> float:
    """4·√ε of the coarsest type among parameters and answers, never below float32's: what kernels may round.

    A batch of another size takes other kernels, whose sums are added up in another order; each layer may lose a few ε.
    """
    of_model = [p.dtype for p in model.parameters()] if isinstance(model, torch.nn.Module) else []
    types = {torch.float32, *(t for t in [*of_model, *(a.dtype for a in answers)] if t.is_floating_point)}
    return 4 * math.sqrt(max(torch.finfo(t).eps for t in types))


def require_own_answers(
    ask: Callable[[Any], Tensor], rows: Any, model: object, who: str, fault: type[TriviumError] = InputError
) -> Tensor:
    """Return the answers to ``rows``, [N, ...], after it is known that each is a function of its row.

    Args:
        ask: from some of the rows to their answers; called six times or so.
        rows: N rows, indexed by a tensor of numbers. Their order should be that of nothing: a model that returns its
            answers sorted is found by turning it round.
        model: what is asked, for its mode and its precision.

    Raises:
        TriviumError: of class ``fault``, with what the answers depend on besides.
    """
    numbers = torch.arange(len(rows))
    with asked(model):
        answers = ask(rows)
        bound = tolerance(model, answers)

        def specification(invariant: str, difference: float, when: str, fix: str) -> None:
            if difference <= bound:
                return
            restless = max(apart(ask(rows), answers) for _ in range(_AGAIN))
            if restless > bound:  # then nothing else can be concluded
                invariant, difference, when, fix = _TWICE, restless, "", _RESTLESS
            raise fault(f"{who} must {invariant}", f"answers {_size(difference)} apart{when}", fix)

        specification(_TWICE, apart(ask(rows), answers), "", _RESTLESS)
        specification(
            "answer rows in the order in which they stand",
            apart(ask(rows[numbers.flip(0)]).flip(0), answers),
            " when the rows are turned round",
            "Return one answer a row, in the rows' order, each from its row alone.",
        )
        for number in numbers[:_ALONE]:
            specification(
                "give the same answer to a row alone and beside others",
                apart(ask(rows[number : number + 1]), answers[number : number + 1]),
                "",
                "Padding, or statistics over the batch, change it: mend the model, or its padding token.",
            )
    return answers


def require_meaning(
    parts: Sequence[Tensor],
    probabilities: bool,
    who: str,
    say: Say,
    fault: type[TriviumError] = InputError,
    fix: str = "",
) -> None:
    """Refuse answers that are plainly not what they are taken for, and tell of those that look odd.

    Args:
        parts: the answers to N rows, [N, C_t] for each task.
        fix: what to do about a model that no recipe names.

    Raises:
        TriviumError: of class ``fault``, where logits are said and every row is a distribution already.
    """
    for p in parts:
        if len(p) < 2 or p.shape[-1] < 2 or not bool(p.isfinite().all()):
            continue
        total, within = p.double().sum(-1), bool((p >= 0).all()) and bool((p <= 1 + 1e-3).all())
        sums_to_one = bool(((total - 1).abs() <= 1e-3).all())
        if not probabilities and within and sums_to_one:
            raise fault(
                f"{who} must give logits{'' if fix else ', as its recipe says'}",
                "rows of numbers from 0 to 1 that sum to one, which are probabilities: their softmax is nearly uniform",
                fix or "Say `gives: probabilities` of a teacher; end a student before its softmax.",
            )
        if not probabilities and within and len(p) >= 8:
            say(
                f"warning: all numbers of {who} lie between 0 and 1, like those of a sigmoid; as logits they make "
                "nearly uniform distributions"
            )
        if probabilities and bool((total < 0.99).sum() * 2 > len(p)):
            say(
                f"warning: the probabilities of {who} sum to {float(total.median()):.2f} on half of the rows; they are "
                "divided by that"
            )
    whole = torch.cat([p.double() for p in parts], -1)
    if len(whole) >= 8 and bool(whole.isfinite().all()) and apart(whole, whole[:1].expand_as(whole)) < 1e-6:
        say(f"warning: {who} gives one answer to all of {len(whole)} rows, whatever it reads")


def admit_language_model(model: Any, tokenizer: Any, window: int, who: str, say: Say = unsaid) -> None:
    """Ask a causal language model about two rows of other lengths, alone and together, as the data pads them.

    Cost: 3·T + 12 tokens for windows of T.

    Raises:
        InputError: it cannot read T tokens, has fewer logits than the tokenizer has tokens, gives probabilities, or
            answers by what stands after a token, by other rows, or otherwise the second time.
        ForeignError: it reads no row, however short.
    """
    ids = _rows(tokenizer, window, model.config.get_text_config(decoder=True).pad_token_id)
    short = ids[:1, : max(1, min(_SHORT, window // 2))]
    both = torch.cat([ids, ids])
    both[1, : short.shape[1]], both[1, short.shape[1] :] = short[0], ids[0, 0]
    with asked(model):
        whole = _read(model, ids, window, who)
        if whole.shape[-1] < vocabulary_size(tokenizer):
            raise InputError(
                f"{who} must give a logit for each of {vocabulary_size(tokenizer)} tokens",
                whole.shape[-1],
                "Its weights belong to another tokenizer.",
            )
        bound = tolerance(model, whole)
        with calling(f"{who} must read a batch", "Run its forward by itself."):
            alone, together = _logits(model, short), _logits(model, both)
        beside = together[1:, : short.shape[1]]
        if max(apart(together[:1], whole), apart(beside, alone)) > bound:
            again = apart(_logits(model, ids), whole)
            ahead = apart(_logits(model, both[1:])[:, : short.shape[1]], alone)
            raise InputError(*_reason(who, again, ahead, max(apart(together[:1], whole), apart(beside, alone)), bound))
    if bool(whole.isfinite().all()):  # what is not is named, with its batch, when it is read
        require_meaning([whole.flatten(0, 1)], False, who, unsaid)
    limit = positions(model.config)
    if limit is not None and window > limit:
        say(f"note: rows of {window} tokens are longer than the max_position_embeddings of {who}, {limit}")


def _reason(who: str, again: float, ahead: float, beside: float, bound: float) -> tuple[str, str, str]:
    if again > bound:
        return (
            f"{who} must {_TWICE}",
            f"logits {_size(again)} apart",
            _RESTLESS,
        )
    if ahead > bound:
        return (
            f"{who} must predict a token from what stands before it alone",
            f"logits {_size(ahead)} apart when the text after it is another",
            "It sees what it predicts: an encoder needs is_decoder = true in its config.",
        )
    return (
        f"{who} must give the same answer to a row alone and beside others",
        f"logits {_size(beside)} apart",
        "Something in it is computed over the batch: mend the model.",
    )


def positions(config: Any) -> int | None:
    """Return the number of positions that a config foresees; None where it does not say."""
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _rows(tokenizer: Any, window: int, pad: int | None) -> Tensor:
    """Return one row [1, T] as the data has them: the token that begins a text, then ordinary ones, the same every
    time.

    None is the model's padding, which has no position of its own in some models.
    """
    special = {*tokenizer.all_special_ids, pad}
    every = sorted(set(tokenizer.get_vocab().values()))
    ordinary = torch.tensor([number for number in every if number not in special] or every)
    ids = ordinary[torch.randint(len(ordinary), (1, window), generator=torch.Generator().manual_seed(0))]
    begin = next((t for t in (tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None), pad)
    if begin is not None and begin != pad:
        ids[0, 0] = int(begin)
    return ids


def _logits(model: Any, ids: Tensor) -> Tensor:
    found: Tensor = model(input_ids=ids.to(model.device)).logits
    return found


def _read(model: Any, ids: Tensor, window: int, who: str) -> Tensor:
    """Return the logits of a row as long as the window. Tables of positions hide under many names, and some hold fewer
    than ``max_position_embeddings`` says (RoBERTa's begin after the padding), so the model is asked."""
    try:
        return _logits(model, ids)
    except Exception as error:  # a model may raise anything
        if not _reads(model, ids[:, :2]):
            raise ForeignError(f"{who} must read a row", said_by(error), "Run its forward by itself.") from error
        limit = positions(model.config)
        most = "" if limit is None else f", at most its max_position_embeddings = {limit}"
        raise InputError(
            f"{who} must take rows of data.window tokens",
            f"{window}, of which it says: {said_by(error, 120)}",
            f"Lower data.window{most}, or give it more positions.",
        ) from error


def _reads(model: Any, ids: Tensor) -> bool:
    """Return whether a row of a few tokens goes through, so that a longer one failed by its length."""
    try:
        _logits(model, ids)
    except Exception:
        return False
    return True


def trim_vocabulary(student: Any, tokenizer: Any, say: Say = unsaid) -> None:
    """Cut the student to the tokenizer's V tokens: embeddings, logits, biases and config, in place.

    Vocabularies are often padded to a multiple of 64. The loss knows the first V logits alone, so what is beyond would
    keep whatever mass it began with, in the student's own answers and in what it generates. Cut off, it has none
    anywhere, and the student trains, is evaluated, saved and loaded as one that was never padded. Ids in its configs
    that no token has are replaced by the tokenizer's own.

    Raises:
        InputError: fewer logits than tokens.
    """
    size = vocabulary_size(tokenizer)
    outputs = student.get_output_embeddings()
    width = student.config.get_text_config(decoder=True).vocab_size if outputs is None else outputs.weight.shape[0]
    if width < size:
        raise InputError(
            "the student must have a logit for every token",
            f"{width} logits for {size} tokens",
            "Use its own tokenizer.",
        )
    if width == size:
        return
    with torch.random.fork_rng(devices=[]):  # layers that are made to be filled draw numbers
        student.resize_token_embeddings(size)
    known = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for settings in (student.config, student.config.get_text_config(decoder=True), student.generation_config):
        given = settings.to_dict()
        for name, own in known.items():
            value = given.get(name)
            listed = value if isinstance(value, list) else [value]
            if any(isinstance(number, int) and not 0 <= number < size for number in listed):
                setattr(settings, name, own)
    say(f"note: the student's vocabulary is cut from {width} to the tokenizer's {size} tokens; no id beyond has one")


def _size(difference: float) -> str:
    return "infinitely far" if difference == float("inf") else f"{difference:.2g} of their size"
