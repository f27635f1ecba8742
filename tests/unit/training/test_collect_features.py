"""Each feature of a batch against a plain computation in Python floats."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.losses import entropy, hellinger, total_variation
from reference.pools import softmax
from reference.published import sequence_loss
from trivium.errors import TeacherError
from trivium.scheme import Scheme, compose
from trivium.training.collect import Batch, collect_features
from trivium.weighting import AvgCE, Disagreement, DomainMap, Entropy, Gap, Margin, MinCE, PrefixPosterior, Skill, rule

B, T, V, K = 2, 5, 7, 3
NAMES = ("a", "b", "c")
VALIDATION = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def make_batch(**changes: Any) -> Batch:
    labels = torch.randint(V, (B, T))
    labels[0, 3:] = -100
    labels[1, 1] = -100
    parts: dict[str, Any] = {
        "labels": labels,
        "teacher_logits": [3 * torch.randn(B, T, V) for _ in range(K)],
        "domain": torch.tensor([2, 0]),
        "task": torch.tensor([1, 0]),
        "columns": {"trust": torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])},
    }
    return Batch(**parts | changes)


def probabilities(logits: Tensor, b: int, t: int) -> list[float]:
    return softmax(logits[b, t].double().tolist())


def check(found: Tensor, plain: Any) -> None:
    """``found`` [B, T, K] against a function of (b, t, k)."""
    for b in range(B):
        for t in range(T):
            for k in range(K):
                assert float(found[b, t, k]) == pytest.approx(plain(b, t, k), abs=2e-5), (b, t, k)


def only(scheme_rule: Any) -> Scheme:
    return compose(NAMES, **{scheme_rule.scale: [scheme_rule]})


def test_entropy() -> None:
    batch = make_batch()
    found = collect_features(only(Entropy()), batch, None, VALIDATION)
    assert set(found) == {"entropy"}
    check(found["entropy"], lambda b, t, k: entropy(probabilities(batch.teacher_logits[k], b, t)))


def test_margin() -> None:
    batch = make_batch()

    def plain(b: int, t: int, k: int) -> float:
        first, second = sorted(probabilities(batch.teacher_logits[k], b, t))[-1:-3:-1]
        return first - second

    check(collect_features(only(Margin()), batch, None, VALIDATION)["margin"], plain)


def test_disagreement() -> None:
    batch = make_batch()

    def plain(b: int, t: int, k: int) -> float:
        p = [probabilities(logits, b, t) for logits in batch.teacher_logits]
        others = [row for number, row in enumerate(p) if number != k]
        return total_variation(p[k], [math.fsum(column) / len(others) for column in zip(*others, strict=True)])

    check(collect_features(only(Disagreement()), batch, None, VALIDATION)["disagreement"], plain)


def test_gap_to_the_student_without_a_gradient() -> None:
    batch = make_batch()
    student = torch.randn(B, T, V, requires_grad=True)
    found = collect_features(only(Gap()), batch, student, VALIDATION)["gap"]
    assert not found.requires_grad
    check(found, lambda b, t, k: hellinger(probabilities(batch.teacher_logits[k], b, t), probabilities(student, b, t)))


def log_label(batch: Batch, b: int, t: int, k: int) -> float:
    label = int(batch.labels[b, t])
    return math.log(probabilities(batch.teacher_logits[k], b, t)[label])


def test_prefix_log_prob_sums_what_came_before_and_skips_what_is_not_predicted() -> None:
    batch = make_batch()

    def plain(b: int, t: int, k: int) -> float:
        return math.fsum(log_label(batch, b, s, k) for s in range(t) if batch.labels[b, s] >= 0)

    check(collect_features(only(PrefixPosterior()), batch, None, VALIDATION)["prefix_log_prob"], plain)


def test_label_log_prob_where_there_is_a_label() -> None:
    @rule(scale="token", features=["label_log_prob"])
    def by_label(label_log_prob: Tensor) -> Tensor:
        return torch.softmax(label_log_prob, dim=-1)

    batch = make_batch()
    found = collect_features(only(by_label), batch, None, VALIDATION)["label_log_prob"]
    for b, t in torch.nonzero(batch.mask).tolist():
        for k in range(K):
            assert float(found[b, t, k]) == pytest.approx(log_label(batch, b, t, k), abs=2e-5)


def test_sequence_loss_is_the_rows_mean_over_what_is_predicted() -> None:
    batch = make_batch()
    batch.labels[0, :] = -100  # a row that predicts nothing
    batch.labels[0, 2] = 4
    batch.teacher_logits[1][1, 2, batch.labels[1, 2]] = -torch.inf  # a token that teacher b rules out

    def plain(b: int, t: int, k: int) -> float:
        known = [batch.labels[b, s] >= 0 for s in range(T)]
        out = [1e9 if (b, s, k) == (1, 2, 1) else None for s in range(T)]
        return sequence_loss(
            [None if not known[s] else -out[s] if out[s] is not None else log_label(batch, b, s, k) for s in range(T)]
        )

    found = collect_features(only(MinCE()), batch, None, VALIDATION)["sequence_loss"]
    assert found.shape == (B, 1, K)
    check(found.expand(B, T, K), plain)
    assert float(found[1, 0, 1]) == 30.0
    batch.labels[0, 2] = -100
    assert collect_features(only(AvgCE()), batch, None, VALIDATION)["sequence_loss"][0].tolist() == [[0.0] * K]


def test_sequence_loss_of_one_token_is_the_loss_of_the_example() -> None:
    batch = make_batch(labels=torch.tensor([[3], [5]]), teacher_logits=[torch.randn(B, 1, V) for _ in range(K)])
    found = collect_features(only(AvgCE()), batch, None, VALIDATION)["sequence_loss"]
    for b in range(B):
        for k in range(K):
            assert float(found[b, 0, k]) == pytest.approx(-log_label(batch, b, 0, k), abs=2e-5)


def test_validation_loss_is_that_of_the_rows_task() -> None:
    found = collect_features(only(Skill()), make_batch(), None, VALIDATION)["validation_loss"]
    check(found.expand(B, T, K), lambda b, t, k: [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]][b][k])


def test_domain_is_shared_by_the_teachers() -> None:
    found = collect_features(only(DomainMap((0, 1, 2))), make_batch(), None, VALIDATION)["domain"]
    assert found.shape == (B, 1, 1)
    assert found.flatten().tolist() == [2.0, 0.0]


def test_a_users_feature_is_the_rows_column() -> None:
    @rule(scale="context", features={"trust": (0.0, 1.0)})
    def by_trust(trust: Tensor) -> Tensor:
        return torch.softmax(trust, dim=-1)

    batch = make_batch()
    found = collect_features(only(by_trust), batch, None, VALIDATION)["trust"]
    check(found.expand(B, T, K), lambda b, t, k: float(batch.columns["trust"][b, k]))


def test_several_rules_get_the_union_and_one_weighting_of_every_position() -> None:
    batch = make_batch()
    scheme = compose(NAMES, token=[Entropy(), Margin()], task=[Skill()], context=[PrefixPosterior()])
    found = collect_features(scheme, batch, None, VALIDATION)
    assert set(scheme.ranges) <= set(found)
    assert scheme.log_weights(found).shape == (B, T, K)


def test_a_scheme_without_rules_still_weighs_every_teacher() -> None:
    scheme = compose(NAMES)
    found = collect_features(scheme, make_batch(), None, VALIDATION)
    torch.testing.assert_close(scheme.log_weights(found).exp(), torch.full((K,), 1 / 3))


def test_features_are_float32_from_float16_logits() -> None:
    batch = make_batch()
    half = make_batch(labels=batch.labels, teacher_logits=[z.half() for z in batch.teacher_logits])
    found = collect_features(only(Entropy()), half, None, VALIDATION)["entropy"]
    assert found.dtype == torch.float32
    check(found, lambda b, t, k: entropy(probabilities(half.teacher_logits[k], b, t)))


def test_a_teacher_without_a_distribution_is_named() -> None:
    batch = make_batch()
    batch.teacher_logits[1][1, 2, 3] = torch.nan
    with pytest.raises(TeacherError, match="teacher b must give a distribution"):
        collect_features(only(Entropy()), batch, None, VALIDATION)
