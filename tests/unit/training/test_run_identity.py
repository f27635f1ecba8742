"""A result is used again only while everything that it depends on is the same: a cached teacher, a run that goes on.

Each case once trained on what was stale, without a word.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tiers import first
from tiny_examples import ExamplesWorld
from tiny_world import World, make_model
from trivium.errors import InputError
from trivium.training.build import build_scheme
from trivium.training.identity import run_identity
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import distill, prepare
from trivium.training.tasks.classifiers import build_classifier_student
from trivium.weighting import loading

# --- teachers in a shared cache --------------------------------------------------------------------------------------

READS_A_FILE = """
import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


class FromFile:
    def __call__(self, x):
        weight = torch.tensor(json.loads((HERE / "weights.json").read_text()))
        return x @ weight


teacher = FromFile()
function = lambda x: FromFile()(x)


class Module(torch.nn.Module):
    def forward(self, x):
        return FromFile()(x)


module = Module()


class Said(FromFile):
    fingerprint = "one"


said = Said()
"""


@pytest.fixture
def points(tmp_path: Path) -> ExamplesWorld:
    world = ExamplesWorld(tmp_path)
    (tmp_path / "reads.py").write_text(READS_A_FILE, encoding="utf-8")
    refit(tmp_path, 0)
    return world


def refit(folder: Path, seed: int) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    (folder / "weights.json").write_text(json.dumps(weight.tolist()), encoding="utf-8")


def one_teacher(world: ExamplesWorld, reference: str) -> Recipe:
    content = world.one_task("size")
    content["teachers"] = [{"name": "mine", "model": reference}, content["teachers"][1]]
    return parse_recipe(content)


def says(world: ExamplesWorld, recipe: Recipe) -> torch.Tensor:
    """What the first teacher says of the training data, through the shared cache."""
    shop = world.prepared_run(recipe, world.folder / "shared")
    rows = torch.arange(len(shop.tables.train))
    live = torch.as_tensor(shop.teachers[0].logits(shop.tables.train.inputs))
    cached = shop.sources["train"].logits(rows)[0]
    torch.testing.assert_close(cached.float().log_softmax(-1), live.log_softmax(-1), atol=0.04, rtol=0)
    return cached.float()


@pytest.mark.parametrize("name", ["teacher", "function", "module"])
def test_a_teacher_that_opens_files_of_its_own_is_asked_before_it_is_believed(name: str, points: ExamplesWorld) -> None:
    recipe = one_teacher(points, f"reads.py:{name}")
    before = says(points, recipe)
    refit(points.folder, 1)
    assert float((says(points, recipe) - before).abs().max()) > 0.5
    refit(points.folder, 0)
    assert bool((says(points, recipe) == before).all())


def test_a_teacher_that_was_pickled_and_fitted_again_is_another(points: ExamplesWorld) -> None:
    from sklearn.linear_model import LogisticRegression

    code = (
        "import pathlib, pickle\n\nHERE = pathlib.Path(__file__).parent\n\n\ndef make():\n"
        "    model = pickle.loads((HERE / 'model.pkl').read_bytes())\n"
        "    return lambda x: model.predict_proba(x.numpy())\n"
    )
    (points.folder / "pickled.py").write_text(code, encoding="utf-8")
    content = points.one_task("size")
    content["teachers"][0] = {"name": "mine", "model": "pickled.py:make", "gives": "probabilities", "smoothing": 0.01}
    recipe = parse_recipe(content)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(90, 4, generator=draw)
    found = []
    for column in (0, 1):
        fitted = LogisticRegression().fit(
            x.numpy(), torch.bucketize(x[:, column].contiguous(), torch.tensor([-0.5, 0.5]))
        )
        (points.folder / "model.pkl").write_bytes(pickle.dumps(fitted))
        loading._LOADED.clear()  # as a new process would: a file runs once in one
        found.append(says(points, recipe))
    assert float((found[0] - found[1]).abs().max()) > 0.5


def test_a_declared_fingerprint_is_believed(points: ExamplesWorld) -> None:
    recipe = one_teacher(points, "reads.py:said")
    before = says(points, recipe)
    refit(points.folder, 1)  # the file's author said that nothing changed
    shop = points.prepared_run(recipe, points.folder / "shared")
    assert bool((shop.sources["train"].logits(torch.arange(60))[0].float() == before).all())
    path = points.folder / "reads.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"one"', '"two"'), encoding="utf-8")
    assert float((says(points, recipe) - before).abs().max()) > 0.5


@pytest.mark.parametrize("declared", ['""', "3", "None"])
def test_a_declared_fingerprint_is_a_text(declared: str, points: ExamplesWorld) -> None:
    path = points.folder / "reads.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"one"', declared), encoding="utf-8")
    with pytest.raises(InputError, match="declares must be a text"):
        points.prepared_run(one_teacher(points, "reads.py:said"))


def test_a_teachers_helper_is_a_part_of_it(points: ExamplesWorld) -> None:
    (points.folder / "helper.py").write_text("SCALE = 1.0\n", encoding="utf-8")
    code = "import helper\n\n\ndef teacher(x):\n    return helper.SCALE * x[:, :3]\n"
    (points.folder / "helped.py").write_text(code, encoding="utf-8")
    recipe = one_teacher(points, "helped.py:teacher")
    before = says(points, recipe)
    (points.folder / "helper.py").write_text("SCALE = -4.0\n", encoding="utf-8")
    assert float((says(points, recipe) - before).abs().max()) > 0.5


# --- folders of transformers -----------------------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path) -> World:
    return World(tmp_path)


def edited(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def shared(world: World, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    shop = prepare(recipe, world.folder, world.folder / "shared", cached=("validation",))
    rows = torch.arange(len(shop.tables.validation))
    live = shop.teachers[0].logits(shop.tables.validation.inputs)
    return shop.sources["validation"].logits(rows)[0].float().log_softmax(-1), live.log_softmax(-1)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_theta": 50.0, "rope_type": "default"}},
        {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4},
        {"rms_norm_eps": 1.0},
        {"hidden_act": "relu"},
    ],
    ids=["rope", "heads", "eps", "activation"],
)
def test_a_config_that_changed_under_the_same_weights_is_another_teacher(changes: dict[str, Any], texts: World) -> None:
    recipe = texts.recipe()
    before, _ = shared(texts, recipe)
    edited(texts.folder / "sums" / "config.json", **changes)
    cached, live = shared(texts, recipe)
    assert float((live - before).abs().max()) > 0.05, "the change must matter, or this tests nothing"
    torch.testing.assert_close(cached, live, atol=0.04, rtol=0)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json", "modeling_mine.py"])
def test_other_files_of_a_model_folder_are_a_part_of_it(file: str, texts: World) -> None:
    recipe, path = texts.recipe(), texts.folder / "sums" / file
    first = prepare(recipe, texts.folder, texts.folder / "shared", cached=()).teachers
    if path.suffix == ".json":
        edited(path, added=1)
    else:
        path.write_text("# code of its own\n", encoding="utf-8")
    second = prepare(recipe, texts.folder, texts.folder / "shared", cached=()).teachers
    assert first[0].fingerprint != second[0].fingerprint
    assert first[1].fingerprint == second[1].fingerprint


def test_a_model_folder_may_be_called_anything(texts: World) -> None:
    recipe = texts.recipe()
    first = prepare(recipe, texts.folder, texts.folder / "shared", cached=()).teachers[0]
    (texts.folder / "sums").rename(texts.folder / "renamed")
    content = texts.content()
    content["teachers"][0]["model"] = "renamed"
    second = prepare(parse_recipe(content), texts.folder, texts.folder / "shared", cached=()).teachers[0]
    assert first.fingerprint == second.fingerprint


# --- a run that goes on ----------------------------------------------------------------------------------------------

HEAD = "import trivium as tv\n\n\n@tv.rule(scale='token', features=['entropy'])\ndef mine(entropy):\n    "
RULE = "from sign import SIGN\n" + HEAD + "return (SIGN * entropy).softmax(-1)\n"
READS = (
    f"import pathlib\n\n{HEAD}"
    "sign = float((pathlib.Path(__file__).parent / 'sign.txt').read_text())\n    return (sign * entropy).softmax(-1)\n"
)
LOTS = f"import random\n\n{HEAD}return (random.random() * entropy).softmax(-1)\n"


class Stop(Exception):
    pass


def begun(world: World | ExamplesWorld, recipe: Recipe, folder: Path) -> None:
    """A run that was stopped after its first checkpoint."""

    def stop(step: int, value: float) -> None:
        if step >= 6:
            raise Stop

    with pytest.raises(Stop):
        distill(recipe, world.prepared_run(recipe), folder, watch=stop)
    assert list(folder.glob("checkpoint-*"))


def refused(world: World | ExamplesWorld, recipe: Recipe, folder: Path, said: str) -> None:
    """Refused by the run, and before that by ``prepare``, when no teacher has read anything yet."""
    before = sorted(path.name for path in (world.folder / "cache").iterdir())
    with pytest.raises(InputError, match=f"the one that was begun; received another {said}"):
        prepare(recipe, world.folder, world.folder / "cache", resumed=folder)
    assert sorted(path.name for path in (world.folder / "cache").iterdir()) == before
    with pytest.raises(InputError, match=f"the one that was begun; received another {said}"):
        distill(recipe, world.prepared_run(recipe), folder, resume=True)


@pytest.mark.parametrize("split", first(["train", "validation", "test"]))
def test_a_data_file_edited_between_stop_and_resume(split: str, texts: World, tmp_path: Path) -> None:
    recipe = texts.recipe()
    begun(texts, recipe, tmp_path / "run")
    path = texts.folder / f"sums.{split}.jsonl"
    kept = path.read_text(encoding="utf-8")
    path.write_text(kept.replace("=", ">"), encoding="utf-8")
    refused(texts, recipe, tmp_path / "run", rf"data \({split}\)\.")
    path.write_text(kept, encoding="utf-8")
    distill(recipe, texts.prepared_run(recipe), tmp_path / "run", resume=True)


@pytest.mark.parametrize("reads", first([False, True]), ids=["import", "file"])
def test_a_rule_edited_between_stop_and_resume(reads: bool, texts: World, tmp_path: Path) -> None:
    """With the sign flipped, shares jumped from .47/.53 to .63/.37 within one run."""
    for sign in (1, -1):
        (texts.folder / "mine.py").write_text(READS if reads else RULE, encoding="utf-8")
        (texts.folder / "sign.py").write_text(f"SIGN = {sign}\n", encoding="utf-8")
        (texts.folder / "sign.txt").write_text(f"{sign}", encoding="utf-8")
        recipe = texts.recipe(scheme={"token": [{"rule": "mine.py:mine"}], "floor": 0.0, "cap": 1.0, "budget": None})
        if sign == 1:
            begun(texts, recipe, tmp_path / "run")
    said = r"answers of rules \(1\. mine\)\." if reads else r"files \(sign\.py\), answers of rules \(1\. mine\)\."
    refused(texts, recipe, tmp_path / "run", said)


@pytest.mark.deep
def test_a_rule_that_draws_lots_can_be_gone_on_with(texts: World, tmp_path: Path) -> None:
    """It is no function of its row, as its certificate says; what it answers is then no part of the identity."""
    (texts.folder / "lots.py").write_text(LOTS, encoding="utf-8")
    recipe = texts.recipe(scheme={"token": [{"rule": "lots.py:mine"}], "floor": 0.0, "cap": 1.0, "budget": None})
    begun(texts, recipe, tmp_path / "run")
    distill(recipe, texts.prepared_run(recipe), tmp_path / "run", resume=True)


@pytest.mark.deep
def test_a_teacher_retrained_between_stop_and_resume(texts: World, tmp_path: Path) -> None:
    recipe = texts.recipe()
    begun(texts, recipe, tmp_path / "run")
    texts.add_model("tales", make_model(texts.tokenizer, 7))
    refused(texts, recipe, tmp_path / "run", r"teachers \(tales\)\.")


def test_a_student_retrained_between_stop_and_resume(texts: World, tmp_path: Path) -> None:
    texts.add_model("learner", make_model(texts.tokenizer, 3))
    recipe = texts.recipe(student={"model": "learner", "config": None})
    begun(texts, recipe, tmp_path / "run")
    texts.add_model("learner", make_model(texts.tokenizer, 4))
    refused(texts, recipe, tmp_path / "run", r"student to begin with\.")


def test_a_number_of_processes_changed_between_stop_and_resume(
    texts: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = texts.recipe()
    shop = texts.prepared_run(recipe)
    student, scheme = make_model(texts.tokenizer, 0), build_scheme(recipe, texts.folder)
    one = run_identity(recipe, texts.folder, shop.teachers, shop.tables, student, scheme)
    monkeypatch.setenv("WORLD_SIZE", "2")
    two = run_identity(recipe, texts.folder, shop.teachers, shop.tables, student, scheme)
    assert two.changed(one.parts) == ["processes"]
    assert recipe.train.precision == "auto"
    forced = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": "bfloat16"})})
    assert "bfloat16" in run_identity(forced, texts.folder, shop.teachers, shop.tables, student, scheme).changed(
        one.parts
    )


def edit_data(folder: Path) -> None:
    path = folder / "mine.py"
    code = path.read_text(encoding="utf-8")
    path.write_text(code.replace("x = points(1, 30)", "x = points(11, 30)"), encoding="utf-8")


def edit_helper(folder: Path) -> None:
    (folder / "plain.py").write_text(
        "import torch\n\n\ndef student():\n    return torch.nn.Linear(4, 3)  # changed\n", encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda folder: refit(folder, 1), r"teachers \(mine\)\."),
        (edit_data, r"data \(validation\), teachers \(twin\)\."),
        (edit_helper, r"files \(plain\.py\)\."),
    ],
    ids=["teacher", "data", "student"],
)
def test_examples_edited_between_stop_and_resume(
    edit: Callable[[Path], None], said: str, points: ExamplesWorld, tmp_path: Path
) -> None:
    recipe = one_teacher(points, "reads.py:teacher")
    begun(points, recipe, tmp_path / "run")
    edit(points.folder)
    refused(points, recipe, tmp_path / "run", said)


@pytest.mark.deep
def test_a_students_maker_that_draws_its_own_weights_can_be_gone_on_with(points: ExamplesWorld, tmp_path: Path) -> None:
    recipe = one_teacher(points, "reads.py:teacher")
    path = points.folder / "plain.py"
    path.write_text(
        "import torch\n\n\ndef student():\n    made = torch.nn.Linear(4, 3)\n"
        "    torch.nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(torch.seed() % 2**31))\n"
        "    return made\n",
        encoding="utf-8",
    )
    begun(points, recipe, tmp_path / "run")
    distill(recipe, points.prepared_run(recipe), tmp_path / "run", resume=True)


@pytest.mark.deep
def test_the_identity_of_a_run_says_the_same_in_another_process(points: ExamplesWorld, tmp_path: Path) -> None:
    recipe = one_teacher(points, "reads.py:module")
    points.write("recipe.yaml", recipe.model_dump())
    shop = points.prepared_run(recipe)
    made, scheme = build_classifier_student(recipe, points.folder), build_scheme(recipe, points.folder)
    here = run_identity(recipe, points.folder, shop.teachers, shop.tables, made, scheme)
    code = (
        "import sys, json; from pathlib import Path; from trivium.training.recipe import load_recipe\n"
        "from trivium.training.run import prepare; from trivium.training.identity import run_identity\n"
        "from trivium.training.tasks.classifiers import build_classifier_student\n"
        "folder = Path(sys.argv[1]); recipe = load_recipe(folder / 'recipe.yaml')\n"
        "shop = prepare(recipe, folder, folder / 'cache')\n"
        "from trivium.training.build import build_scheme\n"
        "made, scheme = build_classifier_student(recipe, folder), build_scheme(recipe, folder)\n"
        "print(json.dumps(run_identity(recipe, folder, shop.teachers, shop.tables, made, scheme).parts))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(points.folder)], capture_output=True, text=True, check=True)
    assert here.changed(json.loads(done.stdout.splitlines()[-1])) == []


def test_two_runs_in_one_folder_do_not_meet(texts: World, tmp_path: Path) -> None:
    recipe = texts.recipe()
    shop = texts.prepared_run(recipe)
    folder = tmp_path / "run"

    def second(step: int, value: float) -> None:
        with pytest.raises(InputError, match="have its folder to itself"):
            distill(recipe, shop, folder, resume=True)
        raise Stop

    with pytest.raises(Stop):
        distill(recipe, shop, folder, watch=second)


def test_every_part_of_a_table_is_in_its_digest(texts: World, points: ExamplesWorld) -> None:
    for shop in (texts.prepared_run(texts.recipe()), points.prepared_run(points.recipe())):
        table = shop.tables.train
        first = table.digest()
        for field in dataclasses.fields(table):
            if field.name == "census":  # tells of the table and is no part of what is trained on
                continue
            value = getattr(table, field.name)
            if isinstance(value, torch.Tensor):
                other = value.clone()
                other[0] = ~other[0] if other.dtype == torch.bool else other[0] + 1
                assert dataclasses.replace(table, **{field.name: other}).digest() != first, field.name
            elif isinstance(value, tuple):
                assert dataclasses.replace(table, **{field.name: ("x", *value[1:])}).digest() != first, field.name
