"""From a recipe, or from teachers in memory, to fitted strengths: what is read, what is written, what judges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import trivium as tv
from tiny_examples import ExamplesWorld
from tiny_world import World
from trivium.data.examples import Examples
from trivium.errors import InputError
from trivium.fitting import mixed, weighed
from trivium.fitting.fitted import Fitted
from trivium.training.build import build_scheme
from trivium.training.evaluate import mixture_nats, teacher_nll
from trivium.training.fitting import FittedRecipe, budget_of, fit_recipe, headroom_of
from trivium.training.observing import family_of, observe, others_of
from trivium.training.recipe import Recipe
from trivium.training.run import PreparedRun, distill, prepare
from trivium.weighting import FittedScores


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def recipe(world: World) -> Recipe:
    return world.recipe(data={"evaluation_rows": 8})


@pytest.fixture(scope="module")
def prepared_run(world: World, recipe: Recipe) -> PreparedRun:
    return prepare(recipe, world.folder, world.folder / "cache", cached=("validation", "test"))


@pytest.fixture(scope="module")
def found(recipe: Recipe, prepared_run: PreparedRun) -> FittedRecipe:
    return fit_recipe(recipe, prepared_run, features=["entropy", "recent_log_prob_90"], penalty=1e-2)


def test_what_is_observed_is_what_the_run_evaluates(recipe: Recipe, prepared_run: PreparedRun) -> None:
    """Sums over the observed tokens of a row's document are the nats that a run reports, of teachers and scheme."""
    scheme = build_scheme(recipe, prepared_run.base)
    rows, source, losses = prepared_run.tables.test, prepared_run.sources["test"], prepared_run.validation_loss
    assert rows is not None
    family = family_of(scheme, 4.0, prefix=True)
    data, differing = observe(rows, source, recipe.teacher_names, family, {"own": scheme}, losses, differ=True)
    assert len(data) == int(rows.mask.sum())
    nll = teacher_nll(source, rows)
    assert float(-data.label_log_prob[:, 0].sum()) == pytest.approx(float(nll[:, 0].sum()), rel=1e-6)
    whole = mixture_nats(scheme, source, rows, losses)
    assert float(-mixed(others_of(data)["own"], data).sum()) == pytest.approx(float(whole.sum()), rel=1e-5)
    for number in range(len(rows.domains)):
        mine = float(-mixed(others_of(data)["own"], data)[data.domain == number].sum())
        assert mine == pytest.approx(float(whole[rows.domain == number].sum()), rel=1e-5)
    assert differing is not None
    assert set(differing.information) == set(rows.domains)


def test_a_document_of_several_windows_is_one(recipe: Recipe, prepared_run: PreparedRun) -> None:
    rows = prepared_run.tables.test
    assert rows is not None
    family = family_of(build_scheme(recipe, prepared_run.base), 4.0, prefix=True)
    data, _ = observe(
        rows, prepared_run.sources["test"], recipe.teacher_names, family, {}, prepared_run.validation_loss
    )
    keys = set(zip(rows.domain.tolist(), rows.document, strict=True))
    assert data.documents == len(keys) < len(rows)


def test_the_recipe_states_what_was_fitted(recipe: Recipe, prepared_run: PreparedRun, found: FittedRecipe) -> None:
    written = build_scheme(found.recipe, prepared_run.base)
    assert written.formula() == found.fitted.scheme.formula()
    assert found.recipe.scheme.floor == recipe.scheme.floor
    assert found.recipe.scheme.budget is None
    assert sum(entry["squash"] for entry in map(dict, _entries(found.recipe))) <= budget_of(recipe)
    assert found.judged == "test"


def _entries(recipe: Recipe) -> list[Any]:
    return [*recipe.scheme.token, *recipe.scheme.task, *recipe.scheme.context]


def test_the_gain_is_that_of_the_mixture_of_the_written_recipe(prepared_run: PreparedRun, found: FittedRecipe) -> None:
    rows, source = prepared_run.held_out
    nll = {
        name: float(mixture_nats(scheme, source, rows, prepared_run.validation_loss).sum())
        for name, scheme in (
            ("fitted", build_scheme(found.recipe, prepared_run.base)),
            ("uniform", tv.compose(found.recipe.teacher_names)),
        )
    }
    gain = (nll["uniform"] - nll["fitted"]) / int(rows.mask.sum())
    assert found.fitted.gains["all"].mean == pytest.approx(gain, abs=1e-5)


def test_it_beats_the_recipes_own_scheme_and_stands_in_the_headroom(found: FittedRecipe) -> None:
    assert found.fitted.ahead["the recipe's scheme"]["all"].low > 0
    assert {"fitted", "the recipe's scheme", "its token scale"} <= set(found.headroom.rules)
    assert found.headroom.rules["fitted"]["all"].mean == pytest.approx(found.fitted.gains["all"].mean, abs=1e-9)


def test_without_test_rows_a_quarter_of_the_documents_judges(world: World) -> None:
    domains = [{"name": d, "task": d, "train": f"{d}.train.jsonl", "validation": f"{d}.validation.jsonl"}
               for d in ("sums", "tales")]  # fmt: skip
    recipe = world.recipe(data={"domains": domains, "evaluation_rows": 8})
    shop = prepare(recipe, world.folder, world.folder / "cache", cached=("validation",))
    found = fit_recipe(recipe, shop, features=["entropy"], penalty=1e-2)
    counts = found.fitted.counts
    assert found.judged == "validation"
    assert counts["tokens"] + counts["judged_tokens"] == int(shop.tables.validation.mask.sum())
    assert 0 < counts["judged_documents"] < counts["documents"]


def test_a_feature_that_is_not_at_hand_is_named(recipe: Recipe, prepared_run: PreparedRun) -> None:
    with pytest.raises(InputError, match="'gap'"):
        fit_recipe(recipe, prepared_run, features=["gap"])


@pytest.mark.parametrize(("name", "seen"), [("label_log_prob", "label"), ("gap", "student")])
def test_what_sees_the_label_is_never_fitted_on_the_mixture(
    recipe: Recipe, prepared_run: PreparedRun, name: str, seen: str
) -> None:
    """It was refused as a name that nobody knew, though it is one of a rule."""
    with pytest.raises(InputError, match=f"'{name}', which sees the {seen}"):
        fit_recipe(recipe, prepared_run, features=["entropy", name])


def test_headroom_of_a_recipe(recipe: Recipe, prepared_run: PreparedRun) -> None:
    found, split = headroom_of(recipe, prepared_run)
    assert split == "test"
    assert list(found.rules) == ["the recipe's scheme", "its token scale", "its task scale", "its context scale"]
    assert found.bounds["everything"].gain.mean <= found.bounds["document"].gain.mean + 1e-9
    assert found.differing is not None
    assert all(0 < value <= math.log(2) for value in found.differing.information.values())


@pytest.mark.parametrize(("budget", "nats"), [(None, 8.0), (3.0, 3.0), ({"token": 1.0, "context": 2.5}, 3.5)])
def test_the_budget_is_the_recipes(world: World, budget: Any, nats: float) -> None:
    recipe = world.recipe()
    section = recipe.scheme.model_copy(update={"budget": budget})
    assert budget_of(recipe.model_copy(update={"scheme": section})) == nats


CLASSES = 4


def expert(first: int) -> Any:
    """A callable that knows the classes from ``first`` on by two, and says so by its entropy."""

    def answer(x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), CLASSES)
        known = (x[:, 0] >= first) & (x[:, 0] < first + 2)
        logits[known, x[known, 0].long()] = 3.0
        return logits

    return answer


def batches(seed: int, number: int = 12) -> list[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(number):
        labels = torch.randint(CLASSES, (16,), generator=draw)
        found.append({"x": labels.float().unsqueeze(-1), "labels": labels})
    return found


@pytest.fixture(scope="module")
def in_memory() -> Fitted:
    scheme = tv.compose(("low", "high"), floor=0.02)
    teachers = {"low": expert(0), "high": expert(2)}
    return tv.fit(scheme, teachers, batches(0), features=["entropy", "margin"], judged=batches(1), penalty=1e-3)


@pytest.mark.deep
def test_teachers_in_memory(in_memory: Fitted) -> None:
    """The one that knows is the one without entropy; each token has another best teacher."""
    assert in_memory.gains["all"].low > 0.3
    assert in_memory.rules["token"].rule.strengths["entropy"] < 0
    assert in_memory.scheme.conforming is not None
    assert in_memory.counts["documents"] == 12 * 16


def test_a_fitted_scheme_weighs_in_a_distiller(in_memory: Fitted) -> None:
    distiller = tv.Distiller(in_memory.scheme, {"low": expert(0), "high": expert(2)})
    batch = batches(2, 1)[0]
    out = distiller(torch.zeros(16, CLASSES, requires_grad=True), batch)
    assert bool(torch.isfinite(out.loss))
    content = distiller.read(batch)
    assert content.labels.shape == (16, 1)


@pytest.mark.deep
def test_rows_of_one_document_are_held_out_together() -> None:
    scheme = tv.compose(("low", "high"))
    given = [batch | {"document": torch.arange(16) // 8 + 2 * n} for n, batch in enumerate(batches(0))]
    found = tv.fit(scheme, {"low": expert(0), "high": expert(2)}, given, features=["entropy"], penalty=1e-2)
    assert found.counts["documents"] + found.counts["judged_documents"] == 24
    wrong = [batch | {"document": [1, 2]} for batch in given]
    with pytest.raises(InputError, match="every row its document"):
        tv.fit(scheme, {"low": expert(0), "high": expert(2)}, wrong, features=["entropy"])


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("examples"))


@pytest.mark.deep
def test_examples_with_several_tasks_and_absent_teachers(examples: ExamplesWorld, tmp_path: Path) -> None:
    """Fitted, written, and distilled: the recipe runs."""
    recipe = examples.recipe()
    shop = prepare(recipe, examples.folder, tmp_path / "cache")
    found = fit_recipe(recipe, shop, penalty=1e-2)
    assert isinstance(shop.tables.validation, Examples)
    assert {strength.what for strength in found.fitted.strengths} >= {"size, sizer", "sign, signer", "entropy"}
    assert not any("log_prob" in strength.what for strength in found.fitted.strengths)
    assert found.fitted.gains["all"].mean > found.fitted.others["the recipe's scheme"]["all"].mean
    bias = found.recipe.scheme.task[0].options["bias"]
    assert bias["sign"]["sizer"] == bias["sign"]["both"], "an absent teacher has its stand-in's"
    nll = distill(found.recipe, shop, tmp_path / "run")
    rows, source = shop.held_out
    mixture = mixture_nats(build_scheme(found.recipe, shop.base), source, rows, shop.validation_loss)
    assert nll["mixture"].tolist() == pytest.approx(mixture.tolist(), abs=1e-5)


def test_a_column_of_the_data_is_fitted_where_the_scheme_reads_it(examples: ExamplesWorld) -> None:
    (examples.folder / "own.py").write_text(
        "import trivium as tv, torch\n\n"
        "@tv.rule(scale='context', features={'trust': (0.0, 1.0)})\n"
        "def by_trust(trust):\n    return torch.softmax(trust, -1)\n",
        encoding="utf-8",
    )
    recipe = examples.recipe(scheme={"context": [{"rule": "own.py:by_trust"}]})
    family = family_of(build_scheme(recipe, examples.folder), 4.0, prefix=False)
    assert family.context == ("trust",)
    assert family.columns == {"trust": (0.0, 1.0)}
    assert (family.floor, family.cap) == (0.01, 0.6)


def test_an_order_is_kept(examples: ExamplesWorld) -> None:
    scheme = {"order": "both > sizer = signer", "order_margin": 0.1, "cap": 1.0, "floor": 0.0}
    family = family_of(build_scheme(examples.recipe(scheme=scheme), examples.folder), 4.0, prefix=False)
    assert (family.order, family.order_margin) == ("both > sizer = signer", 0.1)


def test_weights_of_a_hard_rule_can_be_compared(recipe: Recipe, prepared_run: PreparedRun) -> None:
    hard = tv.compose(recipe.teacher_names, context=[tv.DomainMap((0, 1), budget=2000.0)])
    family = family_of(hard, 4.0, prefix=True, features=["entropy"])
    rows, source = prepared_run.held_out
    data, _ = observe(rows, source, recipe.teacher_names, family, {"hard": hard}, prepared_run.validation_loss)
    weights = others_of(data)["hard"]
    assert float(weights.min()) == -700.0
    assert weights.exp().sum(-1).tolist() == pytest.approx([1.0] * len(data))


def test_a_feature_that_never_differs_is_left_out(
    found: FittedRecipe, recipe: Recipe, prepared_run: PreparedRun
) -> None:
    """Two teachers disagree with each other alike; rounding is no evidence."""
    again = fit_recipe(recipe, prepared_run, features=["disagreement", "entropy"], penalty=1e-2)
    rule = again.fitted.rules["token"].rule
    assert isinstance(rule, FittedScores)
    assert list(rule.strengths) == ["entropy"]
    assert weighed(again.fitted.scheme, _data(recipe, prepared_run)).isfinite().all()


def _data(recipe: Recipe, prepared_run: PreparedRun) -> Any:
    family = family_of(build_scheme(recipe, prepared_run.base), 4.0, prefix=True)
    rows, source = prepared_run.held_out
    return observe(rows, source, recipe.teacher_names, family, {}, prepared_run.validation_loss)[0]
