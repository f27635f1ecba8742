"""What is refused as observations, and how documents are held out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seen import observed
from trivium.errors import InputError

F64 = torch.float64


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"label_log_prob": torch.zeros(300, 4)}, "3 teachers"),
        ({"label_log_prob": torch.full((300, 3), math.nan)}, "≤ 0"),
        ({"label_log_prob": torch.ones(300, 3)}, "≤ 0"),
        ({"label_log_prob": torch.full((300, 3), -math.inf)}, "finds possible"),
        ({"features": {"entropy": torch.zeros(300, 2)}}, "must be shaped"),
        ({"features": {"entropy": torch.full((300, 3), math.inf)}}, "must be finite"),
        ({"document": torch.zeros(299)}, "a number a token"),
        ({"domain": torch.full((300,), 2)}, "2 named"),
        ({"teacher_mask": torch.zeros(300, 3, dtype=torch.bool)}, "teacher that serves it"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        observed(**changes)


def test_an_impossible_token_is_left_out_and_counted() -> None:
    log_p = observed().label_log_prob.clone()
    log_p[5] = -math.inf
    log_p[7, 0] = -math.inf
    found = observed(label_log_prob=log_p)
    assert (len(found), found.impossible) == (299, 1)
    assert found.uniform()[6] == pytest.approx(float(log_p[7, 1:].logsumexp(0)) - math.log(3))


def test_uniform_is_over_those_that_serve() -> None:
    found = observed(absent=True)
    token = int((found.domain == 1).nonzero()[0])
    expected = found.label_log_prob[token, 1:].logsumexp(0) - math.log(2)
    assert float(found.uniform()[token]) == pytest.approx(float(expected))
    assert bool(found.label_log_prob[token, 0].isneginf())


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_held_out_documents_are_whole_and_of_every_domain(share: float) -> None:
    data = observed(0, 800, 3, documents=40)
    fitted, judged = data.held_out(share)
    assert not set(fitted.document.tolist()) & set(judged.document.tolist())
    assert len(fitted) + len(judged) == len(data)
    for part in (fitted, judged):
        assert set(part.domain.tolist()) == {0, 1}
    assert judged.documents / 40 == pytest.approx(share, abs=0.06)


def test_folds_belong_to_documents_not_to_the_order_of_tokens() -> None:
    data = observed(0, 400, 3, documents=20)
    mixed_up = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    assert torch.equal(data.folds(4)[mixed_up], data.where(mixed_up).folds(4))


def test_a_part_is_of_whole_documents_and_about_as_large_as_asked() -> None:
    data = observed(0, 4000, 3, documents=200)
    part = data.drawn(1000)
    assert 0.6 * 1000 <= len(part) <= 1000
    sizes = torch.bincount(part.document, minlength=200)
    assert set(sizes.tolist()) == {0, 20}
    assert data.drawn(4000) is data


@pytest.mark.parametrize("documents", [2, 3, 4, 5, 7])
def test_no_fold_is_empty_while_there_are_documents_enough(documents: int) -> None:
    """Documents of several domains used to fall into the same fold, and a fit of few long ones failed."""
    domain = torch.arange(300) * documents // 300 % 3
    data = observed(documents=documents, domain=domain, domains=("a", "b", "c"))
    for seed in range(5):
        assert len(data.folds(min(3, documents), seed).unique()) == min(3, documents)


def test_one_document_cannot_be_held_out() -> None:
    with pytest.raises(InputError, match="two documents"):
        observed(documents=1).held_out()
