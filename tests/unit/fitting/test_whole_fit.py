"""A fit from end to end on arrays: it finds what is there, is held out, deterministic and proved."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from seen import CONTEXT, TOKEN, observed
from trivium.certification import certify
from trivium.certification.specification import Specification
from trivium.errors import InputError
from trivium.fitting import Family, Fitted, Observations, fit, weighed
from trivium.fitting.choosing import Folds, Point, _strongest, freer, with_budget
from trivium.fitting.intervals import one_step
from trivium.fitting.judging import gain, gains
from trivium.fitting.likelihood import Likelihood
from trivium.fitting.optimize import maximize
from trivium.jsontext import json_text

F64 = torch.float64


@pytest.fixture(scope="module")
def data() -> Observations:
    return observed(1, 600, 3, documents=24)


@pytest.fixture(scope="module")
def judged() -> Observations:
    return observed(2, 300, 3, documents=12)


@pytest.fixture(scope="module")
def fitted(data: Observations, judged: Observations) -> Fitted:
    uniform = torch.full((3,), -math.log(3), dtype=F64)
    return fit(Family(TOKEN, CONTEXT, True, 3.0, floor=0.01), data, judged, limit=6.0, others={"uniform": uniform})


def test_it_gains_what_the_evidence_tells(fitted: Fitted) -> None:
    """Documents of a domain have different best teachers, which the evidence knows and the domain does not."""
    assert fitted.gains["all"].low > fitted.told["all"].high + 0.1
    assert fitted.shares["context"] > 0.7 * fitted.gains["all"].mean
    assert sum(fitted.shares.values()) == pytest.approx(fitted.gains["all"].mean, abs=1e-9)
    assert set(fitted.gains) == {"all", "first", "second"}
    assert fitted.others["uniform"]["all"].mean == pytest.approx(0.0, abs=1e-12)
    assert fitted.ahead["uniform"]["all"].mean == pytest.approx(fitted.gains["all"].mean, abs=1e-12)
    strengths = {strength.what: strength for strength in fitted.strengths}
    evidence = strengths["recent_log_prob_90"]
    assert 0 < evidence.low < evidence.value < evidence.high


def test_every_strength_stands_in_the_rules(fitted: Fitted) -> None:
    named = {s.what: s.value for s in fitted.strengths}
    for rule, _ in fitted.rules.values():
        assert all(named[name] == value for name, value in rule.strengths.items())
    assert named["two, t1"] == fitted.rules["task"].rule.bias[1][1]
    assert all(math.isfinite(s.low) and s.low <= s.high for s in fitted.strengths)


def test_the_certificate_is_proved(fitted: Fitted) -> None:
    whole = sum(rule.budget for rule in fitted.rules.values())
    assert whole <= fitted.choice.budget
    specification = Specification(3, ("t0", "t1", "t2"), floor=0.01, influence=whole, lipschitz=60.0)
    certificate = certify(fitted.scheme, specification, seconds=0.5)
    assert {result.verdict for result in certificate.results} == {"PROVED"}


@pytest.mark.deep
def test_it_is_deterministic_and_what_judges_decides_nothing(data: Observations, fitted: Fitted) -> None:
    other = observed(7, 200, 3, documents=8)
    again = fit(Family(TOKEN, CONTEXT, True, 3.0, floor=0.01), data, other, limit=6.0)
    assert again.strengths == fitted.strengths
    assert again.rules == fitted.rules
    assert again.choice.budgets == fitted.choice.budgets
    assert again.gains != fitted.gains


def test_more_budget_and_less_floor_gain_more(fitted: Fitted) -> None:
    budgets, floors = fitted.choice.budgets, fitted.choice.floors
    assert [p.gain for p in budgets][:4] == sorted(p.gain for p in budgets[:4])
    assert [p.gain for p in floors] == sorted((p.gain for p in floors), reverse=True)
    assert 0.01 in {point.at for point in floors}
    assert dict(fitted.choice.costs).keys() == {"budget", "floor"}
    assert fitted.choice.budget == max((p for p in budgets if p.at <= 6), key=lambda p: p.gain).at


def test_plain_numbers_for_json(fitted: Fitted) -> None:
    text = json_text(fitted.to_data())
    assert "recent_log_prob_90" in text


@pytest.mark.deep
def test_budgets_by_scale_are_kept(data: Observations, judged: Observations) -> None:
    budget: Any = {"token": 0.5, "task": 0.25, "context": 1.5}
    found = fit(Family(TOKEN, CONTEXT, True, budget), data, judged, penalty=1e-3)
    assert {scale: rule.budget for scale, rule in found.rules.items()} == budget
    assert found.choice.penalty == 1e-3


def test_columns_of_ones_own(data: Observations, judged: Observations) -> None:
    def with_trust(observed: Observations) -> Observations:
        return replace(observed, features={"trust": observed.features["recent_log_prob_90"] / 10})

    family = Family((), ("trust",), False, 4.0, columns={"trust": (-9.0, 0.0)})
    found = fit(family, with_trust(data), with_trust(judged))
    assert found.rules["context"].rule.columns == {"trust": (-9.0, 0.0)}
    assert found.gains["all"].low > 0.1


@pytest.mark.deep
def test_absent_teachers() -> None:
    data, judged = observed(1, 400, 3, absent=True), observed(2, 200, 3, absent=True)
    found = fit(Family(TOKEN, CONTEXT, True, 4.0), data, judged)
    assert found.gains["all"].low > 0.1
    assert found.told["all"].mean <= found.gains["all"].mean


def test_what_is_missing_is_named(data: Observations, judged: Observations) -> None:
    with pytest.raises(InputError, match="max_prob"):
        fit(Family(("max_prob",), (), True), data, judged)
    with pytest.raises(InputError, match="same teachers"):
        fit(Family(TOKEN, (), True), data, replace(judged, teacher_names=("x", "y", "z")))
    with pytest.raises(InputError, match="penalty"):
        fit(Family(TOKEN, (), True), data, judged, penalty=math.nan)
    with pytest.raises(InputError, match="limit"):
        fit(Family(TOKEN, (), True), data, judged, limit=0.0)


def test_one_document_chooses_nothing(judged: Observations) -> None:
    alone = observed(0, 40, 3, documents=1)
    found = fit(Family(TOKEN, (), False, 2.0), alone, judged)
    assert found.choice.budgets == ()
    assert found.choice.budget == 2.0


def test_few_long_documents_choose_among_all(judged: Observations) -> None:
    data = observed(5, 20_000, 2, documents=4)
    folds = Folds(Family(("margin",), (), False), data)
    assert (folds.number, folds.data.documents) == (3, 4)
    assert len(folds.place) == len(folds.data)


def test_a_fold_is_judged_by_strengths_of_the_others() -> None:
    """A document that only its own fold could explain gains nothing where it is held out."""
    data = observed(3, 300, 2, documents=6)
    folds = Folds(Family(("margin",), (), False), data)
    assert folds.number == 3
    fold = data.folds(3)
    assert all(len(fold[data.document == document].unique()) == 1 for document in range(6))
    assert sorted(torch.bincount(fold[::50]).tolist()) == [2, 2, 2]


def test_the_strongest_penalty_that_is_as_good_is_taken() -> None:
    path = [Point(1e-1, 0.1, 0.01), Point(1e-2, 0.2996, 0.005), Point(1e-3, 0.3, 0.01), Point(1e-4, 0.2, 0.01)]
    assert _strongest(path) == 1
    assert _strongest([path[0], path[2], path[3]]) == 1


def test_families_without_a_guarantee() -> None:
    family = Family(TOKEN, (), True, 4.0, floor=0.1, cap=0.8, order="t0 > t1", order_margin=0.1)
    assert set(freer(family)) == {"budget", "floor", "cap", "order"}
    assert freer(family)["order"].order_margin == 0.0
    by_scale = with_budget(Family(TOKEN, (), True, {"token": 1.0, "task": 3.0}), 2.0)
    assert by_scale.budget == {"token": 0.5, "task": 1.5}


@pytest.mark.deep
def test_intervals_shrink_with_documents_and_cover_the_refitted() -> None:
    """One step against refitting on the drawn documents: the spreads agree to a third."""
    data = observed(4, 1200, 2, documents=60)
    found = Likelihood(Family((), CONTEXT, False, 6.0), data)
    x = maximize(found, 1e-3)
    spread = float(one_step(found, 1e-3, x).std(0)[0])
    draw = torch.Generator().manual_seed(0)
    refitted = []
    for _ in range(30):
        picked = torch.randint(60, (60,), generator=draw)
        rows = torch.cat([(data.document == document).nonzero().flatten() for document in picked])
        again = Likelihood(found.family, data.where(rows), found.shape)
        refitted.append(float(maximize(again, 1e-3)[0]))
    assert spread == pytest.approx(float(torch.tensor(refitted).std()), rel=0.34)


def test_gains_are_means_over_tokens_with_intervals_over_documents() -> None:
    data = observed(0, 300, 3)
    values = torch.where(data.domain == 0, 1.0, 3.0).double()
    found = gains(values, data)
    assert (found["first"].low, found["first"].mean, found["first"].high) == (1.0, 1.0, 1.0)
    # Documents are drawn within domains, which have as many tokens each.
    assert (found["all"].low, found["all"].mean, found["all"].high) == pytest.approx((2.0, 2.0, 2.0))
    wide = gain((data.document % 4).double(), data)
    assert wide.low < 1.2 < 1.8 < wide.high


def test_weights_of_a_scheme_that_reads_nothing(data: Observations) -> None:
    scheme = Family(TOKEN, (), True).scheme(data.teacher_names, {})
    assert weighed(scheme, data).exp().unique().tolist() == pytest.approx([1 / 3])
