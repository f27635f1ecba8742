"""Recipes of labelled examples: what is refused before anything is computed, each in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tiny_examples import ExamplesWorld
from tiny_world import merged
from trivium.errors import InputError, TriviumError, VocabularyError
from trivium.training.arms import baselines
from trivium.training.build import build_scheme
from trivium.training.recipe import parse_recipe
from trivium.training.tasks.classifiers import build_classifier_student, build_classifiers, label_space, serves
from trivium.training.tasks.text import refuse_for_text
from trivium.training.template import EXAMPLES, template
from trivium.weighting.loading import load_object


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("recipes"))


def test_the_template_shows_a_recipe_of_examples_that_is_one() -> None:
    lines = [line.removeprefix("# ") for line in template().splitlines()]
    start = lines.index("Labelled examples instead of text:") + 1
    shown = yaml.safe_load("\n".join(lines[start:]))
    assert shown == yaml.safe_load(EXAMPLES)
    recipe = parse_recipe(shown)
    assert serves(recipe, label_space(recipe)).tolist() == [[True, True], [False, True]]
    assert build_scheme(recipe).teacher_names == ("forest", "encoder")


@pytest.mark.parametrize(
    ("path", "part"),
    [
        (("teachers", 0, "task"), "unknown key 'teachers.0.task' (Did you mean 'tasks'?)"),
        (("data", "taks"), "unknown key 'data.taks' (Did you mean 'tasks'?)"),
        (("data", "label_colum"), "unknown key 'data.label_colum' (Did you mean 'label_column'?)"),
        (("data", "domains", 0, "taks"), "unknown key 'data.domains.0.taks' (Did you mean 'task'?)"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(small: ExamplesWorld, path: tuple[Any, ...], part: str) -> None:
    content = small.content()
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = 1
    with pytest.raises(InputError) as caught:
        parse_recipe(content)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("tasks", "part"),
    [({"size": "small"}, "'data.tasks.size'"), ({"size": [1, 2]}, "'data.tasks.size.0'"), (3, "'data.tasks'")],
)
def test_classes_are_lists_of_names(small: ExamplesWorld, tasks: Any, part: str) -> None:
    content = small.content()
    content["data"]["tasks"] = tasks
    with pytest.raises(InputError) as caught:
        parse_recipe(content)
    assert part in str(caught.value)


def test_a_rule_of_the_prefix_has_no_meaning_for_examples(small: ExamplesWorld) -> None:
    recipe = small.recipe(scheme={"context": [{"rule": "prefix_posterior"}]})
    with pytest.raises(InputError, match="a scheme for examples must not read a prefix"):
        build_scheme(recipe, small.folder)


@pytest.mark.parametrize(
    ("changes", "error", "part"),
    [
        ({"data": {"tasks": {}}}, InputError, "examples must have a task"),
        ({"teachers": {0: {"tasks": ["sizes"]}}}, InputError, "of teacher 'both' must be one of data.tasks.*'size'"),
        ({"teachers": {0: {"tasks": ["size"]}, 2: {"tasks": ["size"]}}}, InputError, r"none for \['sign'\]"),
        ({"domains": {0: {"task": "text"}}}, InputError, "task of domain 'size' must be one of data.tasks"),
        ({"domains": {1: {"name": "size"}}}, InputError, "domains' names must differ"),
        ({"teachers": {1: {"name": "both"}}}, InputError, "teachers' names must differ"),
        ({"teachers": {0: {"model": "mine.py:bth"}}}, InputError, "Did you mean 'both'"),
        ({"teachers": {0: {"model": "gone.py:both"}}}, InputError, "a file that a recipe names must exist"),
        ({"teachers": {0: {"model": "mine.py:CUTS"}}}, InputError, "must be a module or a callable"),
        ({"teachers": {0: {"model": "gone"}}}, InputError, "must exist"),
        ({"teachers": {0: {"model": "gone", "gives": "probabilities"}}}, InputError, "gives logits"),
        ({"teachers": {1: {"tasks": ["size", "sign"]}}}, VocabularyError, "must have the 5 classes.*received 3"),
        ({"teachers": {2: {"tasks": ["size"]}}}, TriviumError, "each of 3 classes"),
        (
            {"domains": {1: {"validation": "mine.py:size_validation", "task": "size"}}},
            InputError,
            "validation examples",
        ),
        ({"domains": {0: {"test": None}}}, InputError, "all domains must have test data, or none"),
    ],
)
def test_what_does_not_fit_is_refused(
    small: ExamplesWorld, tmp_path: Path, changes: dict[str, Any], error: type[Exception], part: str
) -> None:
    content = small.content()
    for place, of in (("teachers", content["teachers"]), ("domains", content["data"]["domains"])):
        for number, change in changes.get(place, {}).items():
            of[number] |= change
    if "data" in changes:
        content["data"] |= changes["data"]
    with pytest.raises(error, match=part):
        small.prepared_run(parse_recipe(content), tmp_path / "cache")


def test_other_class_names_of_a_module_are_refused(small: ExamplesWorld) -> None:
    content = small.content()
    content["data"]["tasks"] = {"size": ["small", "middling", "large"], "sign": ["minus", "plus"]}
    with pytest.raises(VocabularyError, match="the first 1: 'medium' for it, 'middling' in the recipe"):
        build_classifiers(parse_recipe(content), torch.device("cpu"), small.folder)


@pytest.mark.parametrize(
    ("student", "part"),
    [
        ({"model": None}, "either a model or a config; received neither"),
        ({"config": {"model_type": "bert"}}, "either a model or a config; received both"),
        ({"model": "mine.py:points"}, "must be a torch.nn.Module with parameters"),
        ({"model": "mine.py:CUTS"}, "must be a torch.nn.Module with parameters"),
        (
            {"model": None, "config": {"model_type": "bret"}},
            "model_type that classifies; received 'bret'. Did you mean",
        ),
        ({"model": None, "config": {"model_type": "bert", "hiden_size": 8}}, "Did you mean 'hidden_size'"),
    ],
)
def test_a_student_that_cannot_be_one_is_refused(small: ExamplesWorld, student: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part):
        build_classifier_student(small.recipe(student=student), small.folder)


def test_a_student_depends_on_the_seed_alone(small: ExamplesWorld) -> None:
    def first(seed: int) -> list[float]:
        classifier_student = build_classifier_student(small.recipe(train={"seed": seed}), small.folder)
        return next(classifier_student.parameters()).flatten().tolist()

    assert first(0) == first(0) != first(1)


@pytest.mark.parametrize("name", ["student", "Student"])
def test_a_student_is_the_same_whether_or_not_its_file_was_read_before(small: ExamplesWorld, name: str) -> None:
    """A file that draws numbers when it runs: the first student was another than those of every later run."""
    (small.folder / f"draws_{name}.py").write_text(
        "import torch\n\nNOISE = torch.randn(3)\n\n\nclass Student(torch.nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(4, 5)\n\n\nstudent = Student()\n",
        encoding="utf-8",
    )
    recipe = small.recipe(student={"model": f"draws_{name}.py:{name}"})
    torch.manual_seed(1)
    first, second = (build_classifier_student(recipe, small.folder).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in second)


def test_a_text_recipe_has_no_keys_of_examples() -> None:
    content = {
        "student": {"model": "s"},
        "teachers": [{"name": "a", "model": "m"}],
        "data": {"domains": [{"name": "d", "train": "t", "validation": "v"}]},
    }
    refuse_for_text(parse_recipe(content))
    changes: list[dict[str, Any]] = [
        {"data": {"tasks": {"x": ["a", "b"]}}},
        {"data": {"task_column": "x"}},
        {"teachers": [{"name": "a", "model": "m", "tasks": ["x"]}]},
        {"teachers": [{"name": "a", "model": "m", "gives": "probabilities"}]},
        {"teachers": [{"name": "a", "model": "m", "smoothing": 0.1}]},
    ]
    for change in changes:
        with pytest.raises(InputError, match=r"keys of examples must stand in a recipe of examples"):
            refuse_for_text(parse_recipe(merged(content, change)))


def test_a_fingerprint_follows_file_weights_and_settings(small: ExamplesWorld, tmp_path: Path) -> None:
    def fingerprints(world: ExamplesWorld, **teacher: Any) -> list[str]:
        content = world.content()
        content["teachers"][0] |= teacher
        made = build_classifiers(parse_recipe(content), torch.device("cpu"), world.folder)
        return [found.fingerprint for found in made]

    plain = fingerprints(small)
    assert fingerprints(small) == plain
    assert len(set(plain)) == 3
    assert fingerprints(small, smoothing=0.1)[0] != plain[0]
    assert fingerprints(small, tasks=["size"])[0] != plain[0]
    other = ExamplesWorld(tmp_path)
    assert fingerprints(other) == plain  # wherever the file lies
    (tmp_path / "mine.py").write_text(
        (tmp_path / "mine.py").read_text(encoding="utf-8") + "\nx = 1\n", encoding="utf-8"
    )
    assert all(a != b for a, b in zip(fingerprints(other), plain, strict=True))


def test_a_file_runs_once_while_it_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "once.py"
    path.write_text("found = object()\n", encoding="utf-8")
    first = load_object("once.py:found", tmp_path)
    assert load_object("once.py:found", tmp_path) is first
    path.write_text("found = object()  # changed\n", encoding="utf-8")
    assert load_object("once.py:found", tmp_path) is not first
    path.write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a file that a recipe names must run: .*, line 1; received ZeroDivisionError"
    ):
        load_object("once.py:found", tmp_path)


def test_the_best_single_teacher_serves_every_task(small: ExamplesWorld) -> None:
    recipe = small.recipe()
    content = small.content()
    for teacher, name in zip(content["teachers"], ("both", "size", "sign"), strict=True):
        teacher["name"] = name
    recipe, losses = parse_recipe(content), small.prepared_run(recipe).validation_loss
    arms = baselines(recipe, losses)
    assert set(arms["single"].scheme.context[0].options["map"].values()) == {"both"}
