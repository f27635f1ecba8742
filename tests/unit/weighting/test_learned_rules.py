from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.meta import outer_loss
from trivium.certification import Specification, certify
from trivium.errors import InputError
from trivium.scheme import ClampInfluence
from trivium.weighting import AMTSS, MMKD, TrainingState
from trivium.weighting.meta import HardSamples, bilevel_gradient, cross_entropy, joined_logits, matching_loss
from trivium.weighting.task.amtss import margin

N, D, V, K = 12, 4, 3, 2


def training_state(step: int = 5, seed: int = 0, rows: int = N) -> TrainingState:
    """A linear student on random inputs; teacher 0 knows the labels, teacher 1 is sure of others."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, D, generator=generator)
    labels = torch.randint(V, (40, 1), generator=generator)
    right = torch.nn.functional.one_hot(labels, V) * 3.0 + 0.3 * torch.randn(40, 1, V, generator=generator)
    wrong = torch.nn.functional.one_hot((labels + 1) % V, V) * 3.0
    theta = 0.1 * torch.randn(D, V, generator=generator)

    def student(parameters: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
        return (x[numbers] @ parameters["theta"]).unsqueeze(1)

    return TrainingState(
        step=step,
        rows=torch.arange(rows),
        learning_rate=0.5,
        parameters={"theta": theta},
        student_logits=student,
        teacher_logits=lambda numbers: [right[numbers], wrong[numbers]],
        labels=lambda numbers: labels[numbers],
        task=lambda numbers: numbers % 2,
    )


def test_the_bilevel_gradient_is_that_of_the_steps_written_out() -> None:
    rule, given = MMKD(num_teachers=K, classes=V, seed=3), training_state()
    hard = torch.arange(20, 30)
    rule.network.double()
    found = bilevel_gradient(rule.weigh, list(rule.network.parameters()), given, hard)
    teachers = np.stack([z.double().softmax(-1).squeeze(1).numpy() for z in given.teacher_logits(given.rows)])
    # The student is linear, z = x·θ, so its inputs are what it gives for unit parameters.
    units = [torch.eye(D)[:, [d]].expand(D, V) for d in range(D)]
    read = [given.student_logits({"theta": unit}, torch.arange(40))[:, 0, 0] for unit in units]
    inputs = torch.stack(read, dim=1).double().numpy()
    labels = given.labels(torch.arange(40)).squeeze(1).numpy()
    network = [p.detach().numpy().copy() for p in rule.network.parameters()]

    def value() -> float:
        return outer_loss(
            given.parameters["theta"].double().numpy(),
            tuple(network),
            inputs[:N],
            labels[:N],
            teachers,
            inputs[20:30],
            labels[20:30],
            given.learning_rate,
        )

    step = 1e-5
    for place, gradient in enumerate(found):
        flat, numbers = network[place].reshape(-1), gradient.double().flatten()
        for index in range(0, len(flat), max(1, len(flat) // 7)):
            kept = flat[index]
            flat[index] = kept + step
            above = value()
            flat[index] = kept - step
            below = value()
            flat[index] = kept
            assert float(numbers[index]) == pytest.approx((above - below) / (2 * step), rel=2e-2, abs=2e-6)


def test_the_network_learns_to_trust_the_teacher_that_helps() -> None:
    rule, given = MMKD(num_teachers=K, classes=V, every=1, rate=0.02), training_state()
    seen = joined_logits(given.teacher_logits(given.rows), given.student_logits(given.parameters, given.rows))
    before = rule.log_weights({"logits": seen}).exp()[..., 0].mean()
    theta = given.parameters["theta"].clone()
    for step in range(1, 31):
        rule.learn(training_state(step))
    after = rule.log_weights({"logits": seen}).exp()[..., 0].mean()
    assert after > before + 0.2
    assert torch.equal(given.parameters["theta"], theta)


def test_the_network_is_trained_every_so_many_steps() -> None:
    rule = MMKD(num_teachers=K, classes=V, every=5)
    before = rule.state()["network"]
    for step in range(1, 5):
        rule.learn(training_state(step))
    assert all(torch.equal(before[name], value) for name, value in rule.state()["network"].items())
    rule.learn(training_state(5))
    assert any(not torch.equal(before[name], value) for name, value in rule.state()["network"].items())


@pytest.mark.parametrize("make", [lambda: MMKD(K, V, every=2), lambda: AMTSS(K, tasks=2)], ids=["mmkd", "amtss"])
def test_a_restored_rule_goes_on_as_if_nothing_had_happened(make: object) -> None:
    assert callable(make)
    whole, first, second = make(), make(), make()
    for step in range(1, 9):
        whole.learn(training_state(step, seed=step))
    for step in range(1, 5):
        first.learn(training_state(step, seed=step))
    second.restore(first.state())
    for step in range(5, 9):
        second.learn(training_state(step, seed=step))
    features = {"logits": torch.randn(5, 9), "task": torch.tensor([[0.0], [1.0]]), "teachers": torch.zeros(2, K)}
    assert torch.equal(whole.log_weights(features), second.log_weights(features))


def test_the_slope_stays_below_its_bound_at_every_state() -> None:
    rule = MMKD(num_teachers=K, classes=V, every=1, rate=0.1, budget=4.0, lipschitz=3.0)
    for step in range(1, 21):
        rule.learn(training_state(step))
        u = torch.randn(200, 9, dtype=torch.float64) * 5
        v = u + torch.randn(200, 9, dtype=torch.float64) * 0.1
        moved = rule.log_weights({"logits": u}) - rule.log_weights({"logits": v})
        spread, apart = moved.amax(-1) - moved.amin(-1), (u - v).abs().amax(-1)
        assert (spread <= 3.0 * apart * (1 + 1e-6)).all()
        assert (
            float((rule.log_weights({"logits": u}).amax(-1) - rule.log_weights({"logits": u}).amin(-1)).max())
            <= 4 + 1e-9
        )


def test_what_is_declared_is_proved_after_learning_too() -> None:
    rule = MMKD(num_teachers=K, classes=V, every=1, rate=0.1, budget=4.0, lipschitz=3.0)
    for step in range(1, 6):
        rule.learn(training_state(step))
    found = certify(rule, Specification(K, influence=4.0, lipschitz=3.0), seconds=0.3).results
    assert {f.verdict for f in found} == {"PROVED"}
    assert MMKD(num_teachers=K, classes=V).constants(K) is None
    published = certify(ClampInfluence(MMKD(K, V), 4.0), Specification(K, influence=4.0), seconds=0.2).results
    assert {f.axiom: f.verdict for f in published}["W-B"] == "PROVED"


def test_importance_follows_the_margin_where_the_student_errs() -> None:
    rule, given = AMTSS(K, tasks=2, rate=0.5), training_state()
    rule.learn(given)
    labels = given.labels(given.rows)
    student = given.student_logits(given.parameters, given.rows).double().softmax(-1).gather(-1, labels.unsqueeze(-1))
    for task in (0, 1):
        expected = []
        for logits in given.teacher_logits(given.rows):
            total = weight = 0.0
            for n in range(N):
                if n % 2 != task:
                    continue
                label = int(labels[n, 0])
                rest = max(float(logits[n, 0, i]) for i in range(V) if i != label)
                lacks = 1 - float(student[n, 0, 0])
                total += lacks * math.tanh(float(logits[n, 0, label]) - rest)
                weight += lacks
            expected.append(0.5 * total / weight)
        assert rule.theta[task].tolist() == pytest.approx(expected, rel=1e-6)
    weights = rule.log_weights({"task": torch.tensor([[0.0], [1.0]])}).exp()
    assert (weights[:, 0] > weights[:, 1]).all()


def test_importance_is_bounded_by_budget_or_decay() -> None:
    free, held, forgetful = AMTSS(K, 2), AMTSS(K, 2, budget=1.0), AMTSS(K, 2, rate=0.5, decay=0.5)
    for _ in range(50):
        for rule in (free, held, forgetful):
            rule.learn(training_state())
    assert free.constants(K) is None
    for rule, bound in ((held, 1.0), (forgetful, 2.0)):
        known = rule.constants(K)
        assert known is not None
        assert known.influence == bound
        log_w = rule.log_weights({"task": torch.tensor([[0.0], [1.0]], dtype=torch.float64)})
        assert float((log_w.amax(-1) - log_w.amin(-1)).max()) <= bound + 1e-12
    assert float((held.log_weights({"task": torch.zeros(1, 1)}).diff()).abs().max()) == pytest.approx(1.0)


def test_a_margin_is_that_of_the_label() -> None:
    assert margin(torch.tensor([[2.0, 0.5, 1.0]]), torch.tensor([[2]])).item() == pytest.approx(-1.0)
    assert margin(torch.tensor([[2.0]]), torch.tensor([[0]])).item() == math.inf
    assert margin(torch.tensor([[-math.inf, 0.0]]), torch.tensor([[0]])).item() == -math.inf


def test_the_buffer_keeps_the_hardest_rows_and_draws_them_once() -> None:
    buffer, given = HardSamples(slots=6, seed=0), training_state()
    buffer.see(given)
    losses = cross_entropy(given.student_logits(given.parameters, given.rows), given.labels(given.rows))
    assert set(buffer.loss) == set(losses.topk(6).indices.tolist())
    drawn = buffer.draw(64)
    assert sorted(drawn.tolist()) == sorted(buffer.loss)
    other = HardSamples(slots=6, seed=1)
    other.restore(buffer.state())
    assert torch.equal(other.draw(4), buffer.draw(4))


def test_entries_without_mass_add_nothing_to_the_matching_loss() -> None:
    masked = torch.tensor([[[0.0, 1.0, -math.inf]]])
    student = torch.tensor([[[0.5, 0.0, -math.inf]]], requires_grad=True)
    loss = matching_loss(torch.zeros(1, 1, 1), [masked], student, torch.ones(1, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, student)
    expected = student.detach().softmax(-1) - masked.softmax(-1)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_sizes_must_fit() -> None:
    with pytest.raises(InputError, match="2 for 3 teachers"):
        AMTSS(2).constants(3)
    with pytest.raises(InputError, match="2 for 3 teachers"):
        MMKD(2, 4).constants(3)
    with pytest.raises(InputError, match="decay"):
        AMTSS(2, decay=1.0)


def test_sizes_and_rates_that_are_none_are_refused() -> None:
    for wrong in (-1.0, math.nan):
        with pytest.raises(InputError, match="rate"):
            MMKD(2, 3, rate=wrong)
    with pytest.raises(InputError, match="budget"):
        AMTSS(2, budget=math.inf)
