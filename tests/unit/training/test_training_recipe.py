"""A recipe: every default visible, every mistake named, an identity that follows its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tiny_world import leaves, merged
from trivium.errors import InputError
from trivium.training.recipe import Recipe, load_recipe, parse_recipe
from trivium.training.template import template

LEAST: dict[str, Any] = {
    "student": {"model": "s"},
    "teachers": [{"name": "a", "model": "m"}],
    "data": {"domains": [{"name": "d", "train": "t", "validation": "v"}]},
}


def problem(content: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        parse_recipe(content)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults_are_filled_in_and_written_out() -> None:
    recipe = parse_recipe(LEAST)
    assert recipe.name == "run"
    assert (recipe.loss.pool, recipe.loss.divergence, recipe.loss.temperature) == ("linear", "forward_kl", 1.0)
    assert recipe.monitor.on_violation == "raise"
    assert recipe.scheme.token == recipe.scheme.task == recipe.scheme.context == []
    assert recipe.teacher_names == ["a"]
    written = yaml.safe_load(recipe.to_yaml())
    assert written == recipe.model_dump()
    assert parse_recipe(written) == recipe
    assert len(list(leaves(written))) > 45  # every default stands there


def test_the_power_pool_takes_an_exponent_and_no_other_pool_does() -> None:
    assert parse_recipe(LEAST).loss.exponent is None
    loss = parse_recipe(merged(LEAST, {"loss": {"pool": "power", "exponent": -1.5}})).loss
    assert (loss.pool, loss.exponent) == ("power", -1.5)
    assert parse_recipe(merged(LEAST, {"loss": {"pool": "power"}})).loss.exponent is None
    assert "only the pool 'power' has an exponent" in problem(merged(LEAST, {"loss": {"exponent": 0.5}}))
    assert "An exponent of 0 is the pool 'log'" in problem(merged(LEAST, {"loss": {"pool": "power", "exponent": 0}}))


def test_softening_has_its_amount_and_an_old_recipe_keeps_its_digest() -> None:
    """Digests are in certificates and in what a resumed run compares: a key that is not used may not move them."""
    assert parse_recipe(LEAST).loss.softener() is None
    assert parse_recipe(LEAST).digest() == "aebc6494efd3638c"
    used = merged(LEAST, {"loss": {"softening": "uniform", "softness": 0.25}})
    assert parse_recipe(used).digest() != parse_recipe(LEAST).digest()
    soft = parse_recipe(used).loss.softener()
    assert soft is not None
    assert (soft.operator.name, soft.parameter) == ("uniform", 0.25)
    assert "given together" in problem(merged(LEAST, {"loss": {"softening": "uniform"}}))
    assert "given together" in problem(merged(LEAST, {"loss": {"softness": 0.1}}))
    assert "in [0, 1]" in problem(merged(LEAST, {"loss": {"softening": "uniform", "softness": 2}}))
    assert "prior" in problem(merged(LEAST, {"loss": {"softening": "prior", "softness": 0.1}}))
    assert "prior" in problem(merged(LEAST, {"loss": {"prior": [0.5, 0.5]}}))


WRONG = [
    (("nmae",), "'nmae'", "'name'"),
    (("student", "modle"), "'student.modle'", "'model'"),
    (("teachers", 0, "naem"), "'teachers.0.naem'", "'name'"),
    (("data", "windw"), "'data.windw'", "'window'"),
    (("data", "domains", 0, "trian"), "'data.domains.0.trian'", "'train'"),
    (("scheme", "flor"), "'scheme.flor'", "'floor'"),
    (("scheme", "token", 0, "strenght"), "'scheme.token.0.strenght'", "'strength'"),
    (("loss", "temprature"), "'loss.temprature'", "'temperature'"),
    (("train", "batchsize"), "'train.batchsize'", "'batch_size'"),
    (("cache", "foldr"), "'cache.foldr'", "'folder'"),
    (("monitor", "on_violaton"), "'monitor.on_violaton'", "'on_violation'"),
    (("safety", "limt"), "'safety.limt'", "'limit'"),
    (("safety", "critical", "regx"), "'safety.critical.regx'", "'regex'"),
    (("safety", "unsafe", "strngs"), "'safety.unsafe.strngs'", "'strings'"),
]


@pytest.mark.parametrize(("path", "named", "suggested"), WRONG, ids=[case[1] for case in WRONG])
def test_an_unknown_key_is_named_with_the_nearest_valid_one(path: tuple[Any, ...], named: str, suggested: str) -> None:
    content = merged(LEAST, {"scheme": {"token": [{"rule": "entropy"}]}, "loss": {}, "train": {}, "cache": {}})
    content["monitor"] = {}
    if path[0] == "safety":
        content["safety"] = {"critical": {"regex": "a"}, "unsafe": {"strings": ["b"]}, "limit": 0.1}
    place = content
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = 1
    line = problem(content)
    assert f"unknown key {named} (Did you mean {suggested}?)" in line


def test_every_section_is_covered_above() -> None:
    def sections(model: type[BaseModel]) -> set[str]:
        return {model.__name__}.union(
            *(
                sections(inner)
                for field in model.model_fields.values()
                for inner in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(inner, type) and issubclass(inner, BaseModel)
            )
        )

    assert len(sections(Recipe)) == len({path[:-1] for path, _, _ in WRONG})


def test_all_problems_are_reported_at_once() -> None:
    line = problem(
        {
            "student": {"modle": "s"},
            "teachers": [{"name": "a"}],
            "data": {"domains": []},
            "loss": {"temperature": 0},
            "train": {"steps": "many", "schedule": "cosin"},
        }
    )
    for part in (
        "unknown key 'student.modle'",
        "missing key 'teachers.0.model'",
        "'data.domains'",
        "'loss.temperature'",
        "'train.steps'",
        "'train.schedule'",
        "'cosine'",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"scheme": {"floor": -0.1}}, "'scheme.floor'"),
        ({"scheme": {"budget": float("nan")}}, "'scheme.budget"),
        ({"train": {"learning_rate": float("inf")}}, "'train.learning_rate'"),
        ({"train": {"seed": -1}}, "'train.seed'"),
        ({"train": {"seed": 2**32}}, "'train.seed'"),  # PyTorch takes it, NumPy does not
        ({"train": {"threads": 100_000}}, "'train.threads'"),  # PyTorch ended the process
        ({"loss": {"pool": "linera"}}, "'linear'"),
        ({"monitor": {"on_violation": "ignore"}}, "'raise', 'repair' or 'record'"),
    ],
)
def test_a_value_out_of_range_is_refused(changes: dict[str, Any], part: str) -> None:
    assert part in problem(merged(LEAST, changes))


def test_a_file_that_cannot_be_read_as_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(InputError, match=r"a recipe must exist; received .*r\.yaml"):
        load_recipe(path)
    path.write_text("teachers: [unclosed", encoding="utf-8")
    with pytest.raises(InputError, match="must be YAML"):
        load_recipe(path)
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match="must be YAML"):
        load_recipe(path)
    path.write_text("- a list", encoding="utf-8")
    with pytest.raises(InputError, match="must map keys to values; received list"):
        load_recipe(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="must map keys to values; received NoneType"):
        load_recipe(path)
    path.write_text(yaml.safe_dump(LEAST), encoding="utf-8")
    assert load_recipe(path) == parse_recipe(LEAST)


TWICE = [
    ("train: {steps: 3}\ntrain: {steps: 4}\n", "key 'train' is there twice"),
    ("scheme:\n  floor: 0.1\n  cap: 0.9\n  floor: 0.2\n", "key 'floor' is there twice"),
    ("[" * 5000 + "]" * 5000, "recursion"),
    ("name: 1" + "0" * 5000, "4300 digits"),
    ("name: 2020-13-45", "month must be"),
]


@pytest.mark.parametrize(("text", "part"), TWICE, ids=[part for _, part in TWICE])
def test_what_yaml_would_make_less_of_or_fail_at_is_one_line(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"must be YAML; received .*{part}") as raised:
        load_recipe(tmp_path / "r.yaml")
    assert len(str(raised.value)) < 600


def test_keys_of_yaml_may_be_merged_and_given_anew(tmp_path: Path) -> None:
    merging = "a: &a {steps: 3, seed: 1}\ntrain: {<<: *a, steps: 4}\n"
    (tmp_path / "r.yaml").write_text(merging, encoding="utf-8-sig")
    with pytest.raises(InputError, match="unknown key 'a'") as raised:
        load_recipe(tmp_path / "r.yaml")
    assert "'train" not in str(raised.value)


def test_a_value_that_fills_pages_is_cut_short() -> None:
    assert len(problem(merged(LEAST, {"train": {"steps": [["x" * 100] * 1000] * 1000}}))) < 1000


def test_the_digest_changes_if_and_only_if_the_content_does() -> None:
    recipe = parse_recipe(LEAST)
    reordered = {key: LEAST[key] for key in reversed(LEAST)}
    assert parse_recipe(reordered).digest() == recipe.digest()
    assert parse_recipe(merged(LEAST, {"train": {"steps": 300}})).digest() == recipe.digest()  # the default, stated
    assert parse_recipe(yaml.safe_load(recipe.to_yaml())).digest() == recipe.digest()
    digests = {recipe.digest()}
    changes = [
        {"name": "other"},
        {"student": {"model": "x"}},
        {"teachers": [{"name": "a", "model": "n"}]},
        {"data": {"seed": 1}},
        {"scheme": {"token": [{"rule": "entropy"}]}},
        {"scheme": {"token": [{"rule": "entropy", "options": {"strength": 0.5}}]}},
        {"loss": {"label": 0.5}},
        {"train": {"seed": 1}},
        {"cache": {"enabled": False}},
        {"monitor": {"floor": 0.1}},
    ]
    for change in changes:
        digests.add(parse_recipe(merged(LEAST, change)).digest())
    assert len(digests) == len(changes) + 1


def test_the_template_is_a_recipe_that_shows_every_key_and_default() -> None:
    content = yaml.safe_load(template())
    recipe = parse_recipe(content)
    for path, value in leaves(recipe.model_dump()):
        place: Any = content
        for part in path:
            assert part in place if isinstance(part, str) else part < len(place), path
            place = place[part]
        assert place == value, path


def test_the_template_says_what_each_key_means() -> None:
    def described(model: type[BaseModel]) -> list[str]:
        found = []
        for field in model.model_fields.values():
            found += [field.description] if field.description else []
            for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    found += described(inner)
        return found

    text = template()
    for description in described(Recipe):
        assert f"# {description}" in text, description
