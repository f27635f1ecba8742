"""Where a recipe tells a rule its sizes, and what of a cap is left where teachers are absent."""

from __future__ import annotations

import pytest
import torch

from tiny_examples import ExamplesWorld
from tiny_world import World
from trivium.errors import AxiomViolation, InputError
from trivium.scheme import compose
from trivium.scheme.tree import leaves
from trivium.simplex.conforming import ConformingSet
from trivium.training.build import build_scheme, cap_note, restricted_cap
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.weighting import MMKD, Entropy

EMPTY = {"token": [], "task": [], "context": [], "budget": None, "floor": 0.0, "cap": 1.0}


def test_a_cap_is_watched_where_all_teachers_serve_though_one_is_absent_elsewhere() -> None:
    monitor = Monitor(MonitoredBounds(ConformingSet(3, 0.0, 0.4)), "raise")
    weights = torch.log(torch.tensor([[[0.8, 0.1, 0.1]], [[0.6, 0.4, 0.0]]]))
    teacher_mask = torch.tensor([[True, True, True], [True, True, False]])
    mask = torch.ones(2, 1, dtype=torch.bool)
    with pytest.raises(AxiomViolation, match="W-B"):
        monitor.watch(weights, mask, teacher_mask)
    among_two = Monitor(MonitoredBounds(ConformingSet(3, 0.0, 0.4)), "raise")
    among_two.watch(weights[1:], mask[1:], teacher_mask[1:])  # two teachers cannot keep 0.4


def test_a_cap_that_absent_teachers_lift_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = ExamplesWorld(tmp_path_factory.mktemp("examples"))
    recipe = small.recipe()
    capped = compose(recipe.teacher_names, token=[Entropy()], floor=0.1, cap=0.6)
    assert restricted_cap(recipe, capped) == pytest.approx(0.6 / 0.7)  # two teachers a task: b/(b + a)
    assert cap_note(recipe, capped) == "cap 0.6 is 0.8571 on rows that not all teachers serve"
    assert cap_note(recipe, compose(recipe.teacher_names, token=[Entropy()])) is None
    everybody = [teacher.model_copy(update={"tasks": None}) for teacher in recipe.teachers]
    served = recipe.model_copy(update={"teachers": everybody})
    assert restricted_cap(served, capped) == 0.6
    assert cap_note(served, capped) is None


def test_a_recipe_is_certified_for_the_cap_that_its_rows_have(tmp_path_factory: pytest.TempPathFactory) -> None:
    from trivium.certification import certify
    from trivium.cli.subject import resolve

    small = ExamplesWorld(tmp_path_factory.mktemp("examples"))
    recipe = small.recipe()
    (small.folder / "capped.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    subject = resolve(str(small.folder / "capped.yaml"))
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    assert recipe.scheme.cap == 0.6
    assert specification.cap == pytest.approx(0.6 / (0.6 + recipe.scheme.floor))
    assert {f.verdict for f in certify(subject.operator, specification, seconds=0.1).results} == {"PROVED"}


def test_the_vocabulary_of_text_is_filled_in_and_checked(world: World) -> None:
    found = build_scheme(world.recipe(scheme=EMPTY | {"token": [{"rule": "mmkd"}]}), world.folder)
    (rule,) = leaves(found)
    assert isinstance(rule, MMKD)
    assert rule.classes > 100
    wrong = world.recipe(scheme=EMPTY | {"token": [{"rule": "mmkd", "options": {"classes": 7}}]})
    with pytest.raises(
        InputError, match=f"'classes' of rule 'mmkd' must be the run's; received 7. It is {rule.classes}"
    ):
        build_scheme(wrong, world.folder)


@pytest.mark.parametrize("given", [[0], [0, 1, 0]])
def test_a_domain_map_has_one_entry_a_domain(world: World, given: list[int]) -> None:
    for rule in ("domain_map", "mopd"):
        recipe = world.recipe(scheme=EMPTY | {"context": [{"rule": rule, "options": {"teacher_of": given}}]})
        with pytest.raises(InputError, match="one teacher a domain"):
            build_scheme(recipe, world.folder)
