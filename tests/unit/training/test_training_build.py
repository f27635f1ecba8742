"""From recipe to objects: what fits is built, what does not is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import DOMAINS, TEACHERS, World, make_model, make_tokenizer, student_config
from trivium.errors import InfeasibleError, InputError, VocabularyError
from trivium.teachers.references import resolve
from trivium.training.build import build_scheme
from trivium.training.tasks.text import build_rows, build_student, build_teachers, build_tokenizer

CPU = torch.device("cpu")
NO_RULES: dict[str, Any] = {"token": [], "task": [], "context": [], "budget": None, "floor": 0.0, "cap": 1.0}


def scheme_of(world: World, **section: Any) -> Any:
    return build_scheme(world.recipe(scheme=NO_RULES | section), world.folder)


def weights(scheme: Any, **features: list[Any]) -> list[float]:
    found = scheme.log_weights({name: torch.tensor(value) for name, value in features.items()} or {"x": torch.zeros(2)})
    return found.exp().flatten().tolist()


def test_paths_count_from_the_recipe_and_packaged_models_have_a_name() -> None:
    assert resolve("m", Path("/a")) == "/a/m"
    assert resolve("/m", Path("/a")) == "/m"
    assert (Path(resolve("trivium:first_light/tokenizer", Path("/a"))) / "tokenizer.json").is_file()


def test_the_scheme_has_the_rules_of_every_scale(world: World) -> None:
    scheme = build_scheme(world.recipe(), world.folder)
    assert scheme.teacher_names == TEACHERS[:2]
    assert list(scheme.scales) == ["token", "task", "context"]
    assert set(scheme.ranges) == {"entropy", "validation_loss", "prefix_log_prob"}
    assert scheme.conforming is not None
    assert (scheme.conforming.floor, scheme.conforming.cap) == (0.001, 0.999)


def test_strength_is_an_exponent(world: World) -> None:
    rule = {"rule": "static", "options": {"weights": [1, 3]}}
    assert weights(scheme_of(world, task=[rule])) == pytest.approx([0.25, 0.75])
    assert weights(scheme_of(world, task=[rule | {"strength": 2}])) == pytest.approx([0.1, 0.9])


def test_a_floor_of_a_rule_lifts_its_least_weight_and_moves_all(world: World) -> None:
    """Beside the floor of a scheme, which moves those below it alone."""
    rule = {"rule": "static", "options": {"weights": [1, 3]}}
    assert weights(scheme_of(world, task=[rule | {"floor": 0.1}])) == pytest.approx([0.3, 0.7])
    with pytest.raises(InputError, match="floor"):
        scheme_of(world, task=[rule | {"floor": 0.6}])


def test_static_weights_go_by_teacher_name_whatever_their_order(world: World) -> None:
    rule = {"rule": "static", "options": {"weights": {"tales": 3, "sums": 1}}}
    assert weights(scheme_of(world, task=[rule])) == pytest.approx([0.25, 0.75])
    prior = {"rule": "prefix_posterior", "options": {"prior": {"tales": 3, "sums": 1}}}
    assert weights(scheme_of(world, context=[prior]), prefix_log_prob=[0.0, 0.0]) == pytest.approx([0.25, 0.75])


def test_a_domain_map_goes_by_the_names_of_domains_and_teachers(world: World) -> None:
    rule = {"rule": "domain_map", "options": {"map": {"tales": "sums", "sums": "tales"}, "budget": 2.0}}
    scheme = scheme_of(world, context=[rule])
    high = 1 / (1 + torch.e**-2)
    assert weights(scheme, domain=[0.0]) == pytest.approx([1 - high, high])
    assert weights(scheme, domain=[1.0]) == pytest.approx([high, 1 - high])
    partial = scheme_of(world, context=[{"rule": "domain_map", "options": {"map": {"sums": "tales"}, "budget": 2.0}}])
    assert weights(partial, domain=[1.0]) == pytest.approx([0.5, 0.5])  # a domain that is not mapped


def test_published_rules_take_their_options_from_a_recipe(world: World) -> None:
    by = option("scores", weights={"margin": 2.0, "entropy": -1}, budget=3)
    assert scheme_of(world, token=by).formula() == "w = softmax(2·margin − 1·entropy | β ≤ 3)"
    assert (
        scheme_of(world, context=option("scores", weights={"sequence_loss": -1.0})).scales["context"].scale == "context"
    )
    route = scheme_of(world, context=option("mopd", map={"tales": "sums", "sums": "tales"}))
    assert weights(route, domain=[0.0]) == [0.0, 1.0]
    for scale, entry, formula in (
        ("token", option("ebkd", normalized=True, smoothing=1), "normalize(1 − entropy/(Σ entropy + 1))"),
        ("token", option("ca_mkd", stable=True), "normalize(Σ_{j≠k} exp(−label_log_prob_j))"),
        ("token", option("nemo_rl", score_by="max_prob", alpha=2, per_row=True), "softmax(2·max_prob)"),
        ("token", option("hardness", reference=0.5, prefer="far"), "softmax(1·tanh(log(gap/0.5)))"),
        ("context", option("min_ce"), "one_hot(argmin sequence_loss)"),
        ("context", option("avg_ce", budget=0.5), "softmax(exp(−sequence_loss) | β ≤ 0.5)"),
    ):
        assert scheme_of(world, **{scale: entry}).formula() == f"w = {formula}"


def test_a_user_rule_is_found_beside_the_recipe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "mine.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features={'trust': (0.0, 1.0)})\n"
        "def by_trust(trust):\n"
        "    return torch.softmax(trust, dim=-1)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir("/")
    scheme = scheme_of(world, token=[{"rule": "mine.py:by_trust"}])
    assert weights(scheme, trust=[0.0, 1.0]) == pytest.approx(torch.softmax(torch.tensor([0.0, 1.0]), -1).tolist())
    with pytest.raises(InputError, match="takes no options"):
        scheme_of(world, token=[{"rule": "mine.py:by_trust", "options": {"a": 1}}])
    with pytest.raises(InputError, match="must be a task rule"):
        scheme_of(world, task=[{"rule": "mine.py:by_trust"}])
    with pytest.raises(InputError, match="file must exist"):
        scheme_of(world, token=[{"rule": "yours.py:by_trust"}])


def option(rule: str, **options: Any) -> list[dict[str, Any]]:
    return [{"rule": rule, "options": options}]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"token": option("entorpy")}, "'entorpy'. Did you mean 'entropy'?"),
        ({"token": option("entropy", strenght=1)}, "'strenght'. Did you mean 'strength'?"),
        ({"token": option("entropy", strength="much")}, "'strength': Input should be a valid number"),
        ({"token": option("entropy", strength={"sums": 1, "tales": 2})}, "'strength': Input should be a valid number"),
        ({"token": option("entropy", budget=-1)}, "≥ 0; received -1"),
        ({"task": option("static", weights=[1, 2, 3])}, "3 weights for 2 teachers"),
        ({"task": option("static", weights=[1, "x"])}, "'weights.1'"),
        ({"task": option("static", weights={"sums": "x", "tales": 1})}, "'weights.0'"),
        ({"task": option("static", weights=[1, 0])}, "must be positive and finite"),
        ({"task": option("static", weights={"sums": 1})}, "one number for every teacher; received ['sums']"),
        ({"task": option("static", scale="token")}, "under 'task' must be a task rule"),
        ({"context": option("domain_map")}, "'teacher_of': Field required"),
        ({"context": option("domain_map", map="sums")}, "must map domains to teachers; received sums"),
        ({"context": option("domain_map", map={"sum": "tales"})}, "'sum'. Did you mean 'sums'?"),
        ({"context": option("domain_map", map={"sums": "tale"})}, "'tale'. Did you mean 'tales'?"),
        ({"context": option("domain_map", teacher_of=[0, 2])}, "index 2 with 2 teachers"),
        ({"context": option("mopd", map={"sums": "tales"})}, "must give every domain its teacher"),
        ({"context": option("mopd", teacher_of=[0, 2])}, "index 2 with 2 teachers"),
        ({"token": option("scores", weights={"entorpy": 1})}, "'entorpy'. Did you mean 'entropy'?"),
        ({"token": option("scores", weights={"entropy": "x"})}, "'weights.entropy'"),
        ({"token": option("scores")}, "'weights': Field required"),
        ({"token": option("nemo_rl", score_by="best")}, "'score_by': Input should be"),
        ({"token": option("hardness", reference=2)}, "in (0, 1]; received 2"),
        ({"task": option("skill"), "budget": {"tsk": 1.0}}, "'tsk'. Did you mean 'task'?"),
        ({"order": "sums > tails"}, "received 'tails'"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_what_does_not_fit_is_refused_in_one_line(world: World, section: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        scheme_of(world, **section)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bounds_that_no_weights_meet_name_the_least_relaxation(world: World) -> None:
    with pytest.raises(InfeasibleError, match=re.escape("lower it to 0.5")):
        scheme_of(world, floor=0.6)


def test_teachers_must_have_different_names(world: World) -> None:
    twice = [{"name": "sums", "model": "sums"}, {"name": "sums", "model": "tales"}]
    recipe = world.recipe(teachers=twice)
    with pytest.raises(InputError, match="names must differ"):
        build_scheme(recipe, world.folder)
    with pytest.raises(InputError, match="names must differ"):
        build_teachers(recipe, world.tokenizer, CPU, world.folder)


def test_rows_are_those_that_the_data_section_asks_for(world: World) -> None:
    recipe = world.recipe(data={"test_rows": None})
    tables = build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)
    assert (len(tables.train), len(tables.validation)) == (48, 8)
    assert tables.test is not None
    assert len(tables.test) > 12
    assert tables.train.domains == tables.train.tasks == DOMAINS
    again = build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)
    assert torch.equal(tables.train.input_ids, again.train.input_ids)
    other = world.recipe(data={"seed": 1})
    drawn = build_rows(other, world.tokenizer, build_scheme(other, world.folder), world.folder)
    assert not torch.equal(tables.train.input_ids, drawn.train.input_ids)


def domains(world: World, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [domain | change for domain, change in zip(world.content()["data"]["domains"], changes, strict=True)]


def test_all_domains_have_test_text_or_none(world: World) -> None:
    without = world.recipe(data={"domains": domains(world, {"test": None}, {"test": None})})
    assert build_rows(without, world.tokenizer, build_scheme(without, world.folder), world.folder).test is None
    one = world.recipe(data={"domains": domains(world, {"test": None}, {})})
    with pytest.raises(InputError, match="must have test data, or none"):
        build_rows(one, world.tokenizer, build_scheme(one, world.folder), world.folder)


def test_domains_must_have_different_names(world: World) -> None:
    recipe = world.recipe(data={"domains": domains(world, {}, {"name": "sums"})}, scheme=NO_RULES)
    with pytest.raises(InputError, match="domains' names must differ"):
        build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)


def test_a_domain_must_not_be_empty(world: World) -> None:
    (world.folder / "blank.txt").write_text(" \n\n", encoding="utf-8")
    (world.folder / "short.txt").write_text("a b", encoding="utf-8")
    for name in ("blank.txt", "short.txt"):
        recipe = world.recipe(data={"domains": domains(world, {"train": name}, {})})
        with pytest.raises(InputError, match="a domain must not be empty"):
            build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)


def test_a_users_feature_is_a_column_of_the_data(world: World) -> None:
    (world.folder / "trusting.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='context', features={'trust': (0.0, 1.0)})\n"
        "def by_trust(trust):\n"
        "    return torch.softmax(trust, dim=-1)\n",
        encoding="utf-8",
    )
    text = "12+7=19; " * 40
    records = [{"text": text, "trust": [0.25, 1.0]}, {"text": text[5:], "trust": [0.5, 0.0]}]
    (world.folder / "trust.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    splits = dict.fromkeys(("train", "validation", "test"), "trust.jsonl")
    data = {"domains": [{"name": "sums", **splits}]}
    scheme = NO_RULES | {"context": [{"rule": "trusting.py:by_trust"}]}
    recipe = world.recipe(data=data, scheme=scheme)
    tables = build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)
    expected = {"trust.jsonl:1": [0.25, 1.0], "trust.jsonl:2": [0.5, 0.0]}
    assert set(tables.train.document) == set(expected)
    for document, row in zip(tables.train.document, tables.train.columns["trust"].tolist(), strict=True):
        assert row == expected[document]
    (world.folder / "trust.jsonl").write_text(json.dumps({"text": text, "trust": [0.25]}), encoding="utf-8")
    with pytest.raises(InputError, match="every record must hold the feature 'trust'"):
        build_rows(recipe, world.tokenizer, build_scheme(recipe, world.folder), world.folder)


def test_the_tokenizer_is_the_students(world: World) -> None:
    assert build_tokenizer(world.recipe(), world.folder).get_vocab() == world.tokenizer.get_vocab()
    from_model = world.recipe(student={"model": "sums", "config": None, "tokenizer": None})
    assert build_tokenizer(from_model, world.folder).get_vocab() == world.tokenizer.get_vocab()
    with pytest.raises(InputError, match="a student must have a tokenizer"):
        build_tokenizer(world.recipe(student={"tokenizer": None}), world.folder)
    with pytest.raises(InputError, match="folder must exist"):
        build_tokenizer(world.recipe(student={"tokenizer": "nowhere"}), world.folder)


def test_a_fresh_student_depends_on_the_seed_alone(world: World) -> None:
    def student(seed: int, name: str = "tiny") -> dict[str, torch.Tensor]:
        recipe = world.recipe(name=name, train={"seed": seed})
        return build_student(recipe, world.tokenizer, world.folder).state_dict()

    first = student(0)
    torch.rand(7)
    second, other = student(0, "another"), student(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_student_may_start_from_a_model(world: World) -> None:
    recipe = world.recipe(student={"model": "sums", "config": None})
    student = build_student(recipe, world.tokenizer, world.folder)
    assert student.training
    teacher = build_teachers(world.recipe(), world.tokenizer, CPU, world.folder)[0]
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("student", "line"),
    [
        ({"config": None}, "either a model or a config; received neither"),
        ({"model": "sums"}, "either a model or a config; received both"),
        ({"model": "nowhere", "config": None}, "folder must exist"),
        ({"config": {"model_type": "lama"}}, "'lama'. Did you mean 'llama'?"),
        ({"config": {"model_type": None}}, "model_type that writes text; received None"),
        ({"config": student_config(num_attention_heads=3)}, "not a multiple of the number of attention heads (3)"),
        ({"config": student_config(hidden_size="wide")}, "'hidden_size' expected int"),
        ({"config": student_config(num_hiden_layers=9)}, "'num_hiden_layers'. Did you mean 'num_hidden_layers'?"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[-30:],
)
def test_a_student_that_cannot_be_built(world: World, student: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        build_student(world.recipe(student=student), world.tokenizer, world.folder)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".." not in str(caught.value)  # the reason is often a sentence of another library


def test_teachers_keep_the_recipes_order_and_carry_a_fingerprint(world: World) -> None:
    recipe = world.recipe(teachers=[{"name": n, "model": n} for n in ("tales", "both", "sums")])
    teachers = build_teachers(recipe, world.tokenizer, CPU, world.folder)
    assert [teacher.name for teacher in teachers] == ["tales", "both", "sums"]
    assert len({teacher.fingerprint for teacher in teachers}) == 3
    assert not any(p.requires_grad for teacher in teachers for p in teacher.model.parameters())


def test_a_teacher_with_another_vocabulary_is_named(world: World) -> None:
    other = make_tokenizer(entries=289)
    world.add_model("foreign", make_model(other, 9), other)
    recipe = world.recipe(teachers=[{"name": "sums", "model": "sums"}, {"name": "stranger", "model": "foreign"}])
    with pytest.raises(VocabularyError, match="teacher 'stranger' must share the student's vocabulary"):
        build_teachers(recipe, world.tokenizer, CPU, world.folder)
