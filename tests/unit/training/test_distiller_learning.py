"""Rules that learn, in a loop of one's own: taught on the last batch and on earlier rows, saved and restored."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch

from tiny_models import V, gpt2, inputs, llama, text
from trivium.errors import InputError
from trivium.scheme import Scheme, compose
from trivium.training import distiller as module
from trivium.training.distiller import Distiller
from trivium.weighting import AMTSS, MMKD, Entropy

NAMES = ("a", "b")
MODELS = {"a": llama(0), "b": llama(1)}


def amtss() -> Scheme:
    return compose(NAMES, task=[AMTSS(num_teachers=2, rate=0.3, budget=4.0)])


def network() -> Scheme:
    rule = MMKD(num_teachers=2, classes=V, every=2, budget=4.0, lipschitz=8.0, rate=0.05, samples=3, slots=5)
    return compose(NAMES, token=[rule])


def batch_of(step: int) -> dict[str, Any]:
    """Batches of changing length, so that rows from several of them have to be put together."""
    batch = text(step)
    return {name: value[:, : 10 - step % 3] for name, value in batch.items()} | {"task": torch.zeros(4)}


def steps(distiller: Distiller, student: Any, optimizer: Any, numbers: range) -> list[float]:
    found = []
    for step in numbers:
        torch.manual_seed(step)
        batch = batch_of(step)
        out = distiller(student(**inputs(batch)).logits, batch)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        distiller.learn(student, 0.1)
        found.append(out.loss.item())
    return found


@pytest.mark.parametrize("make", [amtss, network])
def test_what_is_learned_changes_the_weights_and_goes_on_from_a_state(make: Any) -> None:
    def begin() -> tuple[Distiller, Any, Any]:
        student = gpt2(9)
        return Distiller(make(), MODELS), student, torch.optim.SGD(student.parameters(), lr=0.1)

    whole, student, optimizer = begin()
    first = whole(student(**inputs(batch_of(0))), batch_of(0)).log_weights
    whole, student, optimizer = begin()
    losses = steps(whole, student, optimizer, range(9))
    last = whole(student(**inputs(batch_of(0))), batch_of(0)).log_weights
    assert (first - last).abs().max() > 1e-3

    cut, other, second = begin()
    assert steps(cut, other, second, range(5)) == losses[:5]
    kept = copy.deepcopy((cut.state_dict(), other.state_dict(), second.state_dict()))
    again, another, third = begin()
    for target, state in zip((again, another, third), kept, strict=True):
        target.load_state_dict(state)
    assert steps(again, another, third, range(5, 9)) == losses[5:]
    assert again.record()["share"] == whole_share(losses, make)


def whole_share(losses: list[float], make: Any) -> Any:
    student = gpt2(9)
    whole = Distiller(make(), MODELS)
    steps(whole, student, torch.optim.SGD(student.parameters(), lr=0.1), range(9))
    return whole.record()["share"]


def test_rows_are_kept_only_as_long_as_a_rule_may_ask_for_them() -> None:
    student = gpt2(9)
    distiller = Distiller(network(), MODELS)
    steps(distiller, student, torch.optim.SGD(student.parameters(), lr=0.1), range(9))
    rule = distiller.teaching.rules[0]
    held = set(distiller.teaching.recall.rows)  # type: ignore[attr-defined]
    assert set(rule.kept()) <= held
    assert len(held) <= 4 + 5 + 4
    assert max(held) == 35
    assert min(rule.kept()) < 32  # some are from earlier batches


def test_a_row_that_comes_again_under_its_number_takes_its_own_place() -> None:
    """As a table's rows do: a rule that remembers the worst rows must not hold one twice."""
    student, distiller = gpt2(9), Distiller(network(), MODELS)
    for step in range(3):
        batch = text(7) | {"row": torch.tensor([8, 3, 5, 40])}
        distiller(student(**inputs(batch)), batch)
        distiller.learn(student, 0.1)
        assert set(distiller.teaching.recall.rows) == {3, 5, 8, 40}, step  # type: ignore[attr-defined]
    assert set(distiller.teaching.rules[0].kept()) == {3, 5, 8, 40}


def test_a_lesson_leaves_the_student_and_the_random_state_alone() -> None:
    student = gpt2(9)
    distiller = Distiller(network(), MODELS)
    for step in range(2):
        batch = batch_of(step)
        distiller(student(**inputs(batch)), batch).loss.backward()
    student.zero_grad()
    before, generator = copy.deepcopy(student.state_dict()), torch.get_rng_state()
    for _ in range(2):
        distiller.learn(student, 0.1)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())


def test_rules_that_are_never_taught_are_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNTAUGHT", 3)
    student, batch = llama(9), batch_of(0)
    distiller = Distiller(amtss(), MODELS)
    for _ in range(3):
        distiller(student(**inputs(batch)), batch)
    with pytest.warns(UserWarning, match=r"amtss learns.*call distiller\.learn"):
        distiller(student(**inputs(batch)), batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            distiller(student(**inputs(batch)), batch)


def test_a_scheme_that_learns_nothing_keeps_no_rows_and_needs_no_lesson() -> None:
    student, batch = llama(9), batch_of(0)
    distiller = Distiller(compose(NAMES, token=[Entropy()]), MODELS)
    distiller(student(**inputs(batch)), batch)
    distiller.learn(student, 0.1)
    assert distiller.state_dict()["teaching"]["rows"] == {"next": 0, "rows": {}}


def test_a_rule_that_asks_for_rows_that_it_did_not_keep_is_told() -> None:
    distiller = Distiller(amtss(), MODELS)
    with pytest.raises(InputError, match="must name the rows that it looks at again; received 7"):
        distiller.teaching.recall.groups(torch.tensor([7]))


def test_a_scheme_that_learned_in_one_run_begins_another() -> None:
    """A cell of a notebook run twice: the rule asked the second distiller for rows of the first, by numbers that were
    nobody's there, or another row's."""
    scheme = network()
    for _ in range(2):
        student = gpt2(9)
        distiller = Distiller(scheme, MODELS)
        steps(distiller, student, torch.optim.SGD(student.parameters(), lr=0.1), range(4))
