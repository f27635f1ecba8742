"""Published rules against plain loops and numbers by hand, and the constants of their conforming forms attacked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import published as reference
from reference import rules as plain
from trivium.errors import InputError
from trivium.simplex.constants import Constants
from trivium.simplex.rounding import weight_slack
from trivium.weighting import CAMKD, EBKD, MOPD, AvgCE, Hardness, MinCE, NemoRL, Rule, Scores
from trivium.weighting.features import BUILT_IN

F64 = torch.float64
E30 = math.exp(30.0)


def weigh(rule: Rule, dtype: torch.dtype = F64, **features: list[float] | list[list[float]]) -> list[float]:
    found = rule.log_weights({name: torch.tensor(value, dtype=dtype) for name, value in features.items()})
    return found.exp().tolist()


def rows(low: float, high: float, num_teachers: int, seed: int, count: int = 300) -> Tensor:
    """Interior points, corners, ties, near-ties, and points near either end on a logarithmic scale."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(count, num_teachers, generator=generator, dtype=F64)
    style = torch.randint(6, (count, 1), generator=generator)
    share = torch.where(style == 0, share.round(), share)
    share = torch.where(style == 1, share.mean(-1, keepdim=True), share)
    share = torch.where(style == 2, 0.5 + 1e-5 * share, share)
    share = torch.where(style == 3, 10 ** (-9 * share), share)
    share = torch.where(style == 4, 1 - 10 ** (-9 * share), share)
    return low + (high - low) * share


# Numbers by hand


def test_ebkd_by_hand() -> None:
    assert weigh(EBKD(), entropy=[1.0, 1.0, 2.0]) == pytest.approx([0.75, 0.75, 0.5])  # sums to K − 1
    assert weigh(EBKD(), entropy=[3.0, 0.0, 0.0]) == [0.0, 1.0, 1.0]
    assert all(map(math.isnan, weigh(EBKD(), entropy=[0.0, 0.0, 0.0])))
    assert weigh(EBKD(), entropy=[2.0]) == [0.0]
    assert weigh(EBKD(normalized=True), entropy=[1.0, 1.0, 2.0]) == pytest.approx([0.375, 0.375, 0.25])
    assert all(map(math.isnan, weigh(EBKD(normalized=True), entropy=[0.0, 0.0])))
    assert weigh(EBKD(smoothing=4.0), entropy=[1.0, 1.0, 2.0]) == pytest.approx([0.875, 0.875, 0.75])
    smooth = EBKD(normalized=True, smoothing=1.0)
    assert weigh(smooth, entropy=[0.0, 8.0]) == pytest.approx([0.9, 0.1])
    assert weigh(smooth, entropy=[0.0, 0.0, 0.0]) == pytest.approx([1 / 3] * 3)
    assert weigh(smooth, entropy=[5.0]) == [1.0]


def test_ca_mkd_by_hand() -> None:
    for stable in (False, True):
        found = weigh(CAMKD(stable), label_log_prob=[-0.1, -2.0, -5.0])
        assert [round(value, 3) for value in found] == [0.496, 0.476, 0.027]
        assert weigh(CAMKD(stable), label_log_prob=[0.0, -math.log(3)]) == pytest.approx([0.75, 0.25])
    assert math.isnan(weigh(CAMKD(), label_log_prob=[-1.0])[0])
    assert weigh(CAMKD(stable=True), label_log_prob=[-1.0]) == [1.0]


def test_ca_mkd_is_zero_in_float32_where_one_loss_leads_and_in_log_space_it_is_not() -> None:
    far = [0.0, 0.0, -30.0]
    assert weigh(CAMKD(), torch.float32, label_log_prob=far) == [0.5, 0.5, 0.0]
    stable = weigh(CAMKD(stable=True), torch.float32, label_log_prob=far)
    assert stable[2] == pytest.approx(1 / (E30 + 2), rel=1e-5, abs=0)
    # In float64 what is left of the difference has three digits.
    assert weigh(CAMKD(), label_log_prob=far)[2] == pytest.approx(1 / (E30 + 2), rel=2e-3, abs=0)
    assert weigh(CAMKD(), label_log_prob=far)[2] != pytest.approx(1 / (E30 + 2), rel=1e-5, abs=0)


def test_min_ce_by_hand() -> None:
    assert weigh(MinCE(), sequence_loss=[3.0, 0.5, 2.0]) == [0.0, 1.0, 0.0]
    assert weigh(MinCE(), sequence_loss=[2.0, 0.5, 0.5]) == [0.0, 1.0, 0.0]  # the first of a tie
    assert weigh(MinCE(), sequence_loss=[40.0, 30.0]) == [1.0, 0.0]  # a tie at the end of the range
    assert weigh(MinCE(), sequence_loss=[7.0]) == [1.0]


def test_avg_ce_by_hand() -> None:
    e = math.e
    assert weigh(AvgCE(), sequence_loss=[0.0, 30.0, 30.0]) == pytest.approx([e / (e + 2), 1 / (e + 2), 1 / (e + 2)])
    assert weigh(AvgCE(), sequence_loss=[math.log(2), 30.0]) == pytest.approx([0.62246, 0.37754], abs=1e-5)  # σ(½)
    assert weigh(AvgCE(budget=0.5), sequence_loss=[0.0, 30.0]) == pytest.approx([0.62246, 0.37754], abs=1e-5)


def test_nemo_rl_by_hand() -> None:
    batch = [[0.9, 0.5], [0.7, 0.5]]  # means 0.8 and 0.5
    third = 1 / (1 + math.exp(-0.6))
    assert weigh(NemoRL("max_prob", 2.0), max_prob=batch) == [pytest.approx([third, 1 - third])] * 2
    per_row = weigh(NemoRL("max_prob", 2.0, per_row=True), max_prob=batch)
    assert per_row[0] == pytest.approx([1 / (1 + math.exp(-0.8)), 1 / (1 + math.exp(0.8))])
    assert per_row[1] == pytest.approx([1 / (1 + math.exp(-0.4)), 1 / (1 + math.exp(0.4))])
    assert weigh(NemoRL("ce"), label_log_prob=[-1.0, -2.0]) == pytest.approx([0.731059, 0.268941], abs=1e-6)
    assert weigh(NemoRL("entropy"), entropy=[1.0, 2.0]) == pytest.approx([0.731059, 0.268941], abs=1e-6)
    assert weigh(NemoRL("entropy", budget=0.5), entropy=[0.0, 2.0]) == pytest.approx([0.62246, 0.37754], abs=1e-5)


def test_mopd_by_hand() -> None:
    rule = MOPD((2, 0))
    domain = torch.tensor([0.0, 1.0, 7.0], dtype=F64).view(3, 1, 1)
    found = rule.log_weights({"domain": domain, "entropy": torch.zeros(3, 4, 3, dtype=F64)}).exp()
    assert found.tolist() == [[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]]
    whole = rule.log_weights({"domain": torch.tensor([[1]]), "x": torch.zeros(3)})
    assert (whole.dtype, whole.exp().tolist()) == (torch.get_default_dtype(), [[1.0, 0.0, 0.0]])


def test_hardness_by_hand() -> None:
    rule = Hardness(strength=1.0, reference=0.5, prefer="far")
    scores = [-1.0, 0.0, 0.6]  # tanh(log 0), tanh(log 1), tanh(log 2) = (4 − 1)/(4 + 1)
    assert weigh(rule, gap=[0.0, 0.5, 1.0]) == pytest.approx(torch.softmax(torch.tensor(scores), -1).tolist())
    near = weigh(Hardness(strength=1.0, reference=0.5), gap=[0.0, 0.5, 1.0])
    assert near == pytest.approx(torch.softmax(-torch.tensor(scores), -1).tolist())


def test_scores_by_hand() -> None:
    rule = Scores({"entropy": -0.5, "margin": 1.0})
    assert weigh(rule, entropy=[2.0, 0.0], margin=[1.0, 0.0]) == pytest.approx([0.5, 0.5])
    assert weigh(rule, entropy=[2.0, 0.0], margin=[0.0, 0.0]) == pytest.approx([0.268941, 0.731059], abs=1e-6)
    limited = Scores({"entropy": -0.5, "margin": 1.0}, budget=0.5)
    assert weigh(limited, entropy=[2.0, 0.0], margin=[0.0, 0.0]) == pytest.approx([0.37754, 0.62246], abs=1e-5)


# Plain loops


@given(seed=st.integers(0, 2**31), num_teachers=st.integers(1, 5))
def test_weights_are_those_of_plain_loops(seed: int, num_teachers: int) -> None:
    entropy, label, loss, gap, top = (
        rows(*BUILT_IN[name][:2], num_teachers, seed + place, 4)
        for place, name in enumerate(("entropy", "label_log_prob", "sequence_loss", "gap", "max_prob"))
    )

    def each(rule: Rule, expected: object, **features: Tensor) -> None:
        found = rule.log_weights(features).exp().tolist()
        for place, row in enumerate(found):
            inputs = [value[place].tolist() for value in features.values()]
            assert row == pytest.approx(expected(*inputs), rel=1e-9, abs=1e-16)  # type: ignore[operator]

    each(EBKD(smoothing=0.5), lambda h: reference.ebkd(h, 0.5), entropy=entropy)
    smooth = EBKD(normalized=True, smoothing=0.5)
    each(smooth, lambda h: reference.ebkd_normalized(h, 0.5), entropy=entropy)
    if num_teachers > 1:
        positive = entropy + 1e-3
        each(EBKD(), lambda h: reference.ebkd([min(x, 12.0) for x in h]), entropy=positive)
        each(CAMKD(stable=True), lambda v: reference.ca_mkd([-x for x in v]), label_log_prob=label)
        each(CAMKD(), lambda v: reference.ca_mkd([-x for x in v]), label_log_prob=label.clamp_min(-3.0))
    each(MinCE(), reference.min_ce, sequence_loss=loss)
    each(MinCE(), reference.min_ce, sequence_loss=loss.round())
    each(AvgCE(), reference.avg_ce, sequence_loss=loss)
    each(Hardness(2.0, 0.3, "far"), lambda h: reference.hardness(h, 2.0, 0.3), gap=gap)
    each(Hardness(2.0, 0.3), lambda h: reference.hardness(h, -2.0, 0.3), gap=gap)
    each(NemoRL("ce", 0.3), lambda _: reference.nemo_rl(label.tolist(), 0.3, 1.0), label_log_prob=label)
    each(NemoRL("entropy", 0.3), lambda _: reference.nemo_rl(entropy.tolist(), 0.3, -1.0), entropy=entropy)
    each(NemoRL("max_prob", 3.0), lambda _: reference.nemo_rl(top.tolist(), 3.0, 1.0), max_prob=top)
    each(NemoRL("ce", 0.3, per_row=True), lambda v: reference.nemo_rl([v], 0.3, 1.0), label_log_prob=label)
    mixed = {"entropy": -0.5, "gap": 2.0}
    each(
        Scores(mixed, 1.5),
        lambda h, g: reference.scores({"entropy": h, "gap": g}, mixed, 1.5),
        entropy=entropy,
        gap=gap,
    )


def test_a_batch_mean_is_over_all_leading_axes() -> None:
    value = rows(0.0, 1.0, 3, 5, 12)
    flat = NemoRL("max_prob").log_weights({"max_prob": value})
    deep = NemoRL("max_prob").log_weights({"max_prob": value.view(2, 6, 3)})
    assert deep.shape == (2, 6, 3)
    torch.testing.assert_close(deep.view(12, 3), flat)


# Constants: nothing sampled exceeds them, and one instance attains each


@dataclass(frozen=True)
class Claim:
    """A conforming form with points at which its constants are attained, for K teachers."""

    rule: Rule
    feature: str
    influence: dict[int, list[float]]
    steep: dict[int, tuple[list[float], list[float]]] = field(default_factory=dict)
    cap: dict[int, list[float]] = field(default_factory=dict)


EPS = 1e-6
AT = 0.3 / math.sqrt(3)
CLAIMS = {
    "ebkd": Claim(
        EBKD(normalized=True, smoothing=0.5),
        "entropy",
        {k: [12.0] + [0.0] * (k - 1) for k in (2, 3, 5)},
        {
            2: ([EPS, 0.0], [0.0, EPS]),
            3: ([EPS, 0.0, 0.0], [0.0, EPS, 0.0]),
            5: ([12.0, 0.0, 0.0, 0.0, 0.0], [12.0 - EPS, EPS, EPS, EPS, EPS]),
        },
        {k: [0.0] + [12.0] * (k - 1) for k in (1, 2, 3, 5)},
    ),
    "ca_mkd": Claim(
        CAMKD(stable=True),
        "label_log_prob",
        {k: [-30.0] + [0.0] * (k - 1) for k in (2, 3, 5)},
        {k: ([-30.0] + [0.0] * (k - 1), [EPS - 30.0] + [-EPS] * (k - 1)) for k in (2, 3, 5)},
        {k: [0.0] + [-30.0] * (k - 1) for k in (1, 2, 3, 5)},
    ),
    "avg_ce": Claim(
        AvgCE(),
        "sequence_loss",
        {k: [0.0] + [30.0] * (k - 1) for k in (2, 3, 5)},
        {3: ([EPS, 0.0, 0.0], [0.0, EPS, EPS])},
        {k: [0.0] + [30.0] * (k - 1) for k in (2, 3)},
    ),
    "avg_ce under a budget": Claim(AvgCE(budget=0.4), "sequence_loss", {3: [0.0, 30.0, 30.0]}),
    "hardness": Claim(
        Hardness(1.7, 0.3),
        "gap",
        {k: [0.0] + [1.0] * (k - 1) for k in (2, 3, 5)},
        {3: ([AT + EPS / 2, AT - EPS / 2, AT], [AT - EPS / 2, AT + EPS / 2, AT])},
    ),
    "hardness far, at the largest reference": Claim(
        Hardness(1.7, 1.0, "far"),
        "gap",
        {3: [1.0, 0.0, 0.0]},
        {2: ([3**-0.5 + EPS / 2, 3**-0.5 - EPS / 2], [3**-0.5 - EPS / 2, 3**-0.5 + EPS / 2])},
    ),
    "hardness under a budget": Claim(Hardness(1.7, 0.3, budget=0.4), "gap", {3: [0.0, 1.0, 1.0]}),
    "nemo_rl per row": Claim(
        NemoRL("ce", 0.7, per_row=True, budget=3.0),
        "label_log_prob",
        {3: [0.0, -30.0, -30.0]},
        {3: ([-1.0, -1.5, -1.5], [-1.5, -1.0, -1.0])},
    ),
    "scores": Claim(Scores({"margin": 2.0}), "margin", {3: [1.0, 0.0, 0.0]}, {3: ([0.7, 0.2, 0.2], [0.2, 0.7, 0.7])}),
}
each_claim = pytest.mark.parametrize("name", CLAIMS)


def declared(rule: Rule, num_teachers: int) -> Constants:
    found = rule.constants(num_teachers)
    assert found is not None
    return found


def log_w(claim: Claim, row: list[float]) -> list[float]:
    found: list[float] = claim.rule.log_weights({claim.feature: torch.tensor(row, dtype=F64)}).tolist()
    return found


@each_claim
@pytest.mark.parametrize("num_teachers", [1, 2, 3, 4, 6])
def test_nothing_sampled_exceeds_the_bounds(name: str, num_teachers: int) -> None:
    claim = CLAIMS[name]
    known = declared(claim.rule, num_teachers)
    low, high, *_ = BUILT_IN[claim.feature]
    w = claim.rule.log_weights({claim.feature: rows(low, high, num_teachers, 1)})
    seen = (w.unsqueeze(-1) - w.unsqueeze(-2)).amin(dim=0)
    assert bool((seen >= known.log_ratio - 1e-12 * (1 + known.log_ratio.abs())).all())
    assert float(w.exp().min()) >= known.floor * (1 - 1e-12)
    assert float(w.exp().max()) <= known.cap * (1 + 1e-12)
    assert float((w.exp().sum(-1) - 1).abs().max()) <= weight_slack(F64, num_teachers)


@each_claim
@pytest.mark.parametrize("num_teachers", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("span", [1e-7, 1e-4, 0.1, 1.0])
def test_nothing_sampled_is_steeper(name: str, num_teachers: int, span: float) -> None:
    claim = CLAIMS[name]
    constant = declared(claim.rule, num_teachers).lipschitz[claim.feature]
    low, high, *_ = BUILT_IN[claim.feature]
    u = rows(low, high, num_teachers, 2)
    away = torch.rand(u.shape, generator=torch.Generator().manual_seed(3), dtype=F64) * 2 - 1
    away[::2] = away[::2].sign()  # corners of the ball, where a linear function moves most
    v = (u + away * span * (high - low)).clamp(low, high)
    first, second = (claim.rule.log_weights({claim.feature: x}).tolist() for x in (u, v))
    for a, b, size in zip(first, second, (u - v).abs().amax(-1).tolist(), strict=True):
        assert plain.distance(a, b) <= constant * size * (1 + 1e-9) + 1e-12


@each_claim
def test_every_constant_is_attained(name: str) -> None:
    claim = CLAIMS[name]
    for num_teachers, row in claim.influence.items():
        at = log_w(claim, row)
        assert max(at) - min(at) == pytest.approx(declared(claim.rule, num_teachers).influence, rel=1e-12)
        assert math.exp(min(log_w(claim, row))) >= declared(claim.rule, num_teachers).floor * (1 - 1e-12)
    for num_teachers, (u, v) in claim.steep.items():
        size = max(abs(a - b) for a, b in zip(u, v, strict=True))
        moved = plain.distance(log_w(claim, u), log_w(claim, v))
        constant = declared(claim.rule, num_teachers).lipschitz[claim.feature]
        assert moved / size == pytest.approx(constant, rel=2e-5)
    for num_teachers, row in claim.cap.items():
        assert math.exp(max(log_w(claim, row))) == pytest.approx(declared(claim.rule, num_teachers).cap, rel=1e-12)


@pytest.mark.parametrize("name", ["ebkd", "ca_mkd"])
def test_the_floor_is_attained_with_the_influence(name: str) -> None:
    claim = CLAIMS[name]
    for num_teachers, row in claim.influence.items():
        assert math.exp(min(log_w(claim, row))) == pytest.approx(declared(claim.rule, num_teachers).floor, rel=1e-12)


def test_scores_add_influence_and_keep_a_constant_a_feature() -> None:
    rule = Scores({"entropy": -0.5, "margin": 2.0})
    known = rule.constants(3)
    assert known.influence == 8.0
    assert known.lipschitz == {"entropy": 1.0, "margin": 4.0}
    at = rule.log_weights({"entropy": torch.tensor([0.0, 12.0, 12.0]), "margin": torch.tensor([1.0, 0.0, 0.0])})
    assert float(at[0] - at[1]) == pytest.approx(8.0)


@pytest.mark.parametrize("score", ["ce", "entropy", "max_prob"])
def test_the_batch_mean_keeps_its_constants_in_the_metric_of_the_batch(score: str) -> None:
    rule = NemoRL(score, 0.7)  # type: ignore[arg-type]
    ((feature, interval),) = rule.ranges.items()
    known = rule.constants(4)
    for seed in range(20):
        u = rows(interval.low, interval.high, 4, seed, 6)
        v = (u + torch.randn_like(u) * 0.1 * (interval.high - interval.low)).clamp(interval.low, interval.high)
        first, second = (rule.log_weights({feature: x}) for x in (u, v))
        assert float((first.amax(-1) - first.amin(-1)).max()) <= known.influence + 1e-12
        moved = plain.distance(first[0].tolist(), second[0].tolist())
        assert moved <= 2 * 0.7 * float((u - v).abs().max()) + 1e-12
    assert known.lipschitz == {feature: math.inf}  # of a row: it may stay and its weights move
    assert not rule.row_local
    assert NemoRL(score, per_row=True).row_local  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [EBKD(), EBKD(normalized=True), EBKD(smoothing=1.0), CAMKD(), MinCE(), MOPD((0, 1))])
def test_what_breaks_declares_nothing(rule: Rule) -> None:
    assert rule.constants(3) is None


# Options


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: EBKD(smoothing=-1.0), r"smoothing of rule 'ebkd' must be a number of nats ≥ 0; received -1.0"),
        (lambda: EBKD(smoothing=math.inf), r"received inf"),
        (lambda: Hardness(reference=0.0), r"Hellinger distance in \(0, 1\]; received 0.0"),
        (lambda: Hardness(reference=1.5), r"received 1.5"),
        (lambda: Hardness(reference=math.nan), r"received nan"),
        (lambda: Hardness(prefer="best"), r"prefer of Hardness must be 'near' or 'far'; received 'best'"),  # type: ignore[arg-type]
        (lambda: Hardness(strength=math.inf), r"strength of rule 'hardness' must be a finite number"),
        (lambda: Hardness(budget=-1.0), r"number of nats ≥ 0; received -1.0"),
        (lambda: NemoRL("entorpy"), r"received 'entorpy'. Did you mean 'entropy'"),  # type: ignore[arg-type]
        (lambda: NemoRL(alpha=math.nan), r"strength of rule 'nemo_rl' must be a finite number"),
        (lambda: Scores({}), r"at least one feature; received none"),
        (lambda: Scores({"entorpy": 1.0}), r"received 'entorpy'. Did you mean 'entropy'"),
        (lambda: Scores({"domain": 1.0}), r"built-in features of the teachers; received 'domain'"),
        (lambda: Scores({"gram": 1.0}), r"received 'gram'"),
        (lambda: Scores({"margin": math.inf}), r"weight of feature 'margin' must be a finite number; received inf"),
        (lambda: Scores({"margin": 1.0}, budget=-2.0), r"number of nats ≥ 0; received -2.0"),
        (lambda: MOPD(()), r"must map at least one domain"),
        (lambda: MOPD((0, -1)), r"must give every domain its teacher"),
        (lambda: MOPD((0, 3)).constants(3), r"index 3 with 3 teachers"),
        (lambda: MOPD((0, 3)).log_weights({"domain": torch.zeros(1), "x": torch.zeros(3)}), r"index 3 with 3 teachers"),
    ],
)
def test_options_that_do_not_fit_are_refused(make: object, line: str) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=line):
        make()


def test_a_score_does_not_change_with_the_mapping_it_was_made_of() -> None:
    given = {"margin": 1.0}
    rule = Scores(given)
    given["margin"] = 5.0
    assert rule.weights == {"margin": 1.0}


def test_published_formulas_read_as_the_sources_do() -> None:
    assert str(EBKD()) == "1 − entropy/Σ entropy"
    assert str(EBKD(True, 0.5)) == "normalize(1 − entropy/(Σ entropy + 0.5))"
    assert str(CAMKD()) == "(1 − softmax(−label_log_prob))/(K − 1)"
    assert str(CAMKD(True)) == "normalize(Σ_{j≠k} exp(−label_log_prob_j))"
    assert str(MinCE()) == "one_hot(argmin sequence_loss)"
    assert str(AvgCE()) == "softmax(exp(−sequence_loss))"
    assert str(NemoRL("entropy", 2.0)) == "softmax(−2·batch_mean(entropy))"
    assert str(NemoRL("ce", 2.0, True, 4.0)) == "softmax(2·label_log_prob | β ≤ 4)"
    assert str(MOPD((1, 0))) == "route(0→1, 1→0)"
    assert str(Hardness(2.0, 0.25)) == "softmax(−2·tanh(log(gap/0.25)))"
    assert str(Scores({"entropy": -0.5, "margin": 1.0, "gap": -2.0}, 3.0)) == (
        "softmax(−0.5·entropy + 1·margin − 2·gap | β ≤ 3)"
    )
