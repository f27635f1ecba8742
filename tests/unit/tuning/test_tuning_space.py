"""The space: every scheme in it builds, keeps the budget and is proved; what does not fit is named."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny_world import World
from trivium.errors import InfeasibleError, InputError
from trivium.scheme import Scheme
from trivium.training.build import build_scheme
from trivium.training.recipe import SchemeSection
from trivium.tuning.budget import default_budget
from trivium.tuning.candidates import Categorical
from trivium.tuning.proof import prove
from trivium.tuning.space import OFF, OWN, Space, build_space
from trivium.weighting import RULES
from trivium.weighting.features import SCALES

NO_RULES: dict[str, Any] = {"token": [], "task": [], "context": [], "budget": None}


class Answers:
    """A chooser that takes given answers and draws the rest; ``names`` is what was asked."""

    def __init__(self, seed: int = 0, given: dict[str, Any] | None = None) -> None:
        self.draw, self.given, self.names = random.Random(seed), given or {}, list[str]()

    def choice(self, name: str, options: Sequence[str]) -> str:
        self.names.append(name)
        chosen = str(self.given.get(name, self.draw.choice(list(options))))
        assert chosen in options
        return chosen

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        self.names.append(name)
        found = float(self.given.get(name, self.draw.uniform(low, high)))
        assert low <= found <= high
        return found


def scheme(space: Space, section: SchemeSection) -> Scheme:
    return build_scheme(space.with_section(section), space.base)


def random_features(built: Scheme, rows: int = 64) -> dict[str, torch.Tensor]:
    k = len(built.teacher_names)
    found = {}
    for name, box in built.ranges.items():
        value = box.low + (box.high - box.low) * torch.rand(rows, box.width(k))
        found[name] = value.round() if box.integer else value
    # Differences of a few nats besides extreme ones, or the posterior only ever meets its budget.
    if "prefix_log_prob" in found:
        found["prefix_log_prob"][: rows // 2] = -3 * torch.rand(rows // 2, k)
    return found or {"x": torch.zeros(rows, k)}


@pytest.mark.deep
@given(seed=st.integers(0, 10**6), budget=st.floats(0.05, 30.0))
def test_every_scheme_of_the_space_is_proved_and_keeps_its_budget(world: World, seed: int, budget: float) -> None:
    space = build_space(world.recipe(), world.folder, budget=budget, goal="student")
    section = space.section(Answers(seed))
    built = scheme(space, section)
    proof = prove(built, space.specification)
    assert proof.proved, proof.reason
    assert proof.influence <= budget * (1 + 1e-12)
    if isinstance(section.budget, dict):
        assert sum(section.budget.values()) <= budget * (1 + 1e-12)
    log_weights = built.log_weights(random_features(built))
    seen = float((log_weights.amax(-1) - log_weights.amin(-1)).max())
    assert seen <= budget + 1e-4


def test_the_budget_is_attained(space: Space) -> None:
    answers = {"token": OFF, "task": OFF, "context": "prefix_posterior", "context.share": 1.0}
    built = scheme(space, space.section(Answers(0, answers)))
    log_weights = built.log_weights({"prefix_log_prob": torch.tensor([[0.0, -900.0]])})
    assert float(log_weights.max() - log_weights.min()) == pytest.approx(space.budget, abs=1e-5)


def test_shares_that_exceed_the_budget_shrink_in_proportion(space: Space) -> None:
    answers = {scale: OWN for scale in SCALES} | {f"{scale}.share": 1.0 for scale in SCALES}
    budget = space.section(Answers(0, answers)).budget
    assert isinstance(budget, dict)
    assert budget == pytest.approx({scale: 4 / 3 for scale in SCALES}, abs=1e-6)
    alone = space.section(Answers(0, answers | {"task": OFF, "context": OFF})).budget
    assert alone == {"token": 4.0}


def test_the_first_trials_are_the_recipes_own_scheme_and_uniform(world: World) -> None:
    space = build_space(world.recipe(), world.folder)
    assert space.budget == 5.0  # 1 + 1 + 3, the recipe's
    starts = space.starts()
    assert list(starts) == ["recipe", "uniform"]
    own = space.section(Answers(0, starts["recipe"]))
    assert own == world.recipe().scheme  # to the letter, budgets included
    assert space.section(Answers(0, starts["uniform"])) == SchemeSection(floor=0.001, cap=0.999)


def test_a_start_above_the_budget_is_held_to_it(world: World) -> None:
    recipe = world.recipe(scheme={"budget": None, "task": [], "context": [{"rule": "prefix_posterior"}]})
    space = build_space(recipe, world.folder, budget=3.0)  # as written: 0.5 · 12 + 4 nats
    section = space.section(Answers(0, space.starts()["recipe"]))
    assert section.token == recipe.scheme.token
    assert prove(scheme(space, section), space.specification).proved
    assert not prove(build_scheme(recipe, world.folder), space.specification).proved


def test_a_start_that_is_bounded_by_its_rules_keeps_their_weights(world: World) -> None:
    rules = {"token": [{"rule": "margin", "options": {"strength": 1.5}}], "task": [], "budget": None,
             "context": [{"rule": "prefix_posterior", "options": {"budget": 2.0}, "strength": 0.5}]}  # fmt: skip
    recipe = world.recipe(scheme=rules)
    space = build_space(recipe, world.folder, budget=4.0)
    own = scheme(space, space.section(Answers(0, space.starts()["recipe"])))
    written = build_scheme(recipe, world.folder)
    features = random_features(written)
    torch.testing.assert_close(own.log_weights(features), written.log_weights(features), rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("section", "budget"),
    [
        ({}, 4.0),
        ({"budget": 2.5}, 2.5),
        ({"task": [{"rule": "skill"}], "budget": {"task": 1.5}}, 1.5),
        ({"task": [{"rule": "skill"}], "budget": {"task": 1.5, "token": 2.0}}, 1.5),
        ({"task": [{"rule": "skill"}], "token": [{"rule": "entropy"}], "budget": {"task": 1.5}}, 4.0),
        ({"budget": {}}, 4.0),
    ],
)
def test_the_default_budget_is_the_recipes(section: dict[str, Any], budget: float) -> None:
    assert default_budget(SchemeSection.model_validate(section)) == budget


def test_every_rule_of_the_catalogue_is_searched_or_named(world: World) -> None:
    space = build_space(world.recipe(), world.folder)
    searched = {candidate.rule for candidates in space.candidates.values() for candidate in candidates}
    named = {sentence.split()[0] for sentence in space.left_out}
    assert searched | named >= set(RULES)
    assert not searched & named
    assert "gap" in named


@pytest.mark.deep
def test_a_rule_that_looks_at_the_student_needs_the_student_objective(world: World) -> None:
    space = build_space(world.recipe(), world.folder, goal="student")
    assert "gap" in space.options("token")
    assert not any("gap" in sentence for sentence in space.left_out)
    chosen = Answers(0, {"token": "gap", "token.gap.prefer": "far"})
    assert space.section(chosen).token[0].options["prefer"] == "far"


def test_a_rule_that_sees_the_label_is_left_out_of_the_mixture_with_a_sentence(world: World) -> None:
    (world.folder / "peeks.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['label_log_prob'])\n"
        "def peek(label_log_prob):\n"
        "    return torch.softmax(label_log_prob, dim=-1)\n",
        encoding="utf-8",
    )
    recipe = world.recipe(scheme={"token": [{"rule": "peeks.py:peek"}]})
    space = build_space(recipe, world.folder)
    assert "peeks.py:peek" not in space.options("token")
    assert any("peeks.py:peek is left out: what sees the label" in sentence for sentence in space.left_out)
    # The recipe's own scheme cannot be measured either, so uniform is the only start.
    assert list(space.starts()) == ["uniform"]
    student = build_space(recipe, world.folder, goal="student")
    assert "peeks.py:peek" in student.options("token")
    assert list(student.starts()) == ["recipe", "uniform"]


def test_words_under_which_a_rule_does_not_fit_are_not_searched(world: World) -> None:
    """NeMo-RL's rule sees the label under one of its scores, and without ``per_row`` it breaks W-F."""
    mixture = build_space(world.recipe(), world.folder, rules=["nemo_rl"])
    (candidate,) = mixture.candidates["token"]
    assert candidate.knobs["score_by"] == Categorical(("entropy", "max_prob"))
    assert candidate.knobs["per_row"] == Categorical((True,))
    (candidate,) = build_space(world.recipe(), world.folder, goal="student", rules=["nemo_rl"]).candidates["token"]
    assert candidate.knobs["score_by"] == Categorical(("ce", "entropy", "max_prob"))
    assert candidate.knobs["per_row"] == Categorical((True,))


def test_a_catalogued_rule_that_reads_other_rows_is_not_proved(world: World) -> None:
    coupled = {"token": [{"rule": "nemo_rl", "options": {"score_by": "entropy", "budget": 1.0}}]}
    space = build_space(world.recipe(scheme=coupled), world.folder)
    assert OWN not in space.options("token")
    assert any("own token rules are left out: it cannot be proved (W-F" in sentence for sentence in space.left_out)
    assert list(space.starts()) == ["uniform"]


def test_a_rule_from_a_file_gets_an_exponent(world: World) -> None:
    (world.folder / "own.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['margin'])\n"
        "def by_margin(margin):\n"
        "    return torch.softmax(9 * margin, dim=-1)\n",
        encoding="utf-8",
    )
    space = build_space(world.recipe(scheme={"token": [{"rule": "own.py:by_margin"}]}), world.folder, budget=2.0)
    chosen = Answers(0, {"token": "own.py:by_margin", "token.own.py:by_margin.α": 0.5, "task": OFF, "context": OFF})
    section = space.section(chosen)
    assert section.token[0].strength == 0.5
    # Nothing is declared by it: the budget around it is what is proved.
    assert prove(scheme(space, section), space.specification).proved


def test_options_of_a_rule_are_asked_only_where_it_stands(space: Space) -> None:
    chosen = Answers(0, {"token": "entropy", "task": OFF, "context": "domain_map"})
    section = space.section(chosen)
    assert set(chosen.names) == {
        "token", "token.share", "token.entropy.strength", "task",
        "context", "context.share", "context.domain_map.map.sums", "context.domain_map.map.tales",
    }  # fmt: skip
    assert set(section.context[0].options["map"]) == {"sums", "tales"}
    assert section.context[0].options["budget"] == space.budget  # the share decides


def test_static_weights_are_named_by_teacher(space: Space) -> None:
    section = space.section(Answers(0, {"task": "static"}))
    assert set(section.task[0].options["weights"]) == {"sums", "tales"}


def test_rules_restrict_the_search(world: World) -> None:
    space = build_space(world.recipe(), world.folder, rules=["entropy", "skill"])
    assert {scale: space.options(scale) for scale in SCALES} == {
        "token": [OFF, OWN, "entropy"],
        "task": [OFF, OWN, "skill"],
        "context": [OFF, OWN],
    }
    with pytest.raises(InputError, match=r"'entorpy'. Did you mean 'entropy'"):
        build_space(world.recipe(), world.folder, rules=["entorpy"])
    with pytest.raises(InputError, match=r"must have a rule to choose; received gap is left out"):
        build_space(world.recipe(scheme=NO_RULES), world.folder, rules=["gap"])


@pytest.mark.parametrize("budget", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_is_a_positive_number(world: World, budget: float) -> None:
    with pytest.raises(InputError, match="must be a number of nats > 0"):
        build_space(world.recipe(), world.folder, budget=budget)


def test_a_floor_that_no_weights_meet_is_refused(world: World) -> None:
    with pytest.raises(InfeasibleError):
        build_space(world.recipe(), world.folder, floor=0.6)


def test_floor_and_order_are_asked_and_proved(world: World, tmp_path: Path) -> None:
    recipe = world.recipe(scheme={"order": "tales > sums", "order_margin": 0.1})
    space = build_space(recipe, world.folder, floor=0.1)
    specification = space.specification
    assert specification.axioms == ("W-F", "W-N", "W-P", "W-B", "W-S")
    for seed in range(25):
        built = scheme(space, space.section(Answers(seed)))
        assert prove(built, specification).proved
        weights = built.log_weights(random_features(built)).exp()
        assert float(weights.min()) >= 0.1 - 1e-6
        assert bool((weights[..., 1] >= weights[..., 0]).all())


def test_what_cannot_be_proved_says_why(space: Space) -> None:
    wild = space.bare.model_copy(update={"token": space.own["token"]})  # 0.5 · 12 nats and no budget
    tight = space.specification
    proof = prove(scheme(space, wild), tight)
    assert not proof.proved
    assert proof.reason == "W-B: derived influence 6 > 4 asked"
    assert proof.influence == pytest.approx(6.0)
