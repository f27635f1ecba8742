"""A search over labelled examples: two tasks, teachers that serve one of them, nats an example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tiers import first
from tiny_examples import ExamplesWorld
from trivium.cli import app
from trivium.errors import InputError
from trivium.training.build import build_scheme
from trivium.training.evaluate import mixture_nats
from trivium.training.recipe import SchemeSection, parse_recipe
from trivium.training.run import Workshop, distill
from trivium.training.tasks.classifiers import build_learner, load_learner
from trivium.tuning.mixture import MixtureObjective, mean_nats
from trivium.tuning.proof import prove
from trivium.tuning.space import Space, build_space
from trivium.tuning.storage import Identity, identity_of
from trivium.tuning.student import StudentObjective


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("points"))


@pytest.fixture(scope="module")
def spread(points: ExamplesWorld) -> Space:
    return build_space(points.recipe(), points.folder)


@pytest.fixture(scope="module")
def shop(points: ExamplesWorld, spread: Space) -> Workshop:
    return points.workshop(spread.everything())


def test_a_mixture_read_once_is_that_of_the_logits_where_teachers_are_absent(spread: Space, shop: Workshop) -> None:
    objective = MixtureObjective(spread, shop)
    assert objective.unit == "nats an example of the mixture"
    mapped = SchemeSection.model_validate({"context": [{"rule": "domain_map", "options": {"map": {"size": "sizer"}}}]})
    for section in (spread.recipe.scheme, spread.bare, mapped):
        scheme = build_scheme(spread.with_section(section), spread.base)
        for split in ("validation", "test"):
            rows = objective.rows(split)  # type: ignore[arg-type]
            assert rows.serving is not None
            slow = mixture_nats(scheme, shop.sources[split], rows, shop.validation_loss)
            fast = objective.nats(section, split)  # type: ignore[arg-type]
            torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-6)
    rows = objective.rows("validation")
    nats = objective.nats(spread.bare, "validation")
    domains = [float(nats[rows.domain == d].mean()) for d in range(2)]
    assert objective.value(spread.bare) == pytest.approx(sum(domains) / 2)


def test_what_reads_a_prefix_is_left_out_with_the_reason(spread: Space) -> None:
    said = [sentence for sentence in spread.left_out if sentence.startswith("prefix_posterior")]
    assert "an example has none" in said[0]
    assert {c.rule for c in spread.candidates["task"]} >= {"skill", "static"}


@pytest.mark.deep
def test_what_decides_a_value_is_what_a_resumed_search_must_share(tmp_path: Path) -> None:
    world = ExamplesWorld(tmp_path)
    code = (
        "import trivium as tv\n\n\n@tv.rule(scale='token', features={'trust': (0, 1)})\ndef mine(trust):\n    return "
    )
    (tmp_path / "rules.py").write_text(code + "(2 * trust).softmax(-1)\n", encoding="utf-8")
    content = world.one_task("sign", scheme={"token": [{"rule": "rules.py:mine"}], "task": [], "budget": 1.0})
    content["teachers"].append({**content["teachers"][-1], "name": "third"})  # trust is one number for each of three
    space = build_space(parse_recipe(content), tmp_path)
    shop = world.workshop(space.everything())

    def now(trains: bool = False) -> Identity:
        return identity_of(space, shop, 0, {}, trains)

    first, trained = now(), now(trains=True)
    assert "rules.py" in first.files
    assert "plain.py" in trained.files.keys() - first.files.keys()
    for table, columns in ((shop.tables.validation, True), (shop.tables.train, False)):
        for value in [table.labels, *(table.columns.values() if columns else ())]:
            kept = value.clone()
            value[0] = 1 - value[0]
            assert (now() == first) == (table is shop.tables.train)  # a mixture is not measured there
            assert now(trains=True) != trained
            value.copy_(kept)
    assert now() == first
    assert now(trains=True) == trained
    (tmp_path / "rules.py").write_text(code + "(-2 * trust).softmax(-1)\n", encoding="utf-8")
    assert now() != first


@pytest.mark.deep
def test_a_student_is_read_back_as_it_was_left(points: ExamplesWorld, shop: Workshop, tmp_path: Path) -> None:
    space = build_space(points.recipe(), points.folder, goal="student")
    objective = StudentObjective(space, shop, 10, tmp_path / "students")
    section = points.recipe().scheme
    value = objective.value(section)
    plain = points.recipe(train={"steps": 10, "save_every": 10, "evaluate_every": 2})
    found = distill(plain, shop, tmp_path / "plain")
    torch.testing.assert_close(objective.nats(section, "test"), found["student"], rtol=1e-6, atol=1e-6)
    again = objective.nats(section, "validation")
    assert mean_nats(again, objective.rows("validation")) == pytest.approx(value, rel=1e-6)


def test_a_student_of_transformers_is_read_back_too(tmp_path: Path) -> None:
    world = ExamplesWorld(tmp_path)
    content = world.one_task()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shape = {"image_size": 8, "patch_size": 4, "num_channels": 1}
    content["student"] = {"config": {"model_type": "vit", **sizes, **shape}}
    recipe = parse_recipe(content)
    made = build_learner(recipe, tmp_path)
    made.save_pretrained(tmp_path / "student")
    # Built with other weights to begin with.
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 5})})
    back = load_learner(other, tmp_path, tmp_path / "student")
    for name, value in made.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


@pytest.mark.deep
@pytest.mark.parametrize("objective", first(["mixture", "student"]))
def test_the_command_leaves_a_recipe_that_is_certified_and_a_page(
    points: ExamplesWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    monkeypatch.setattr("trivium.cli.tune.SECONDS", 0.2)
    path = points.write("searched.yaml", points.content())
    steps = ["--steps", "5"] if objective == "student" else []
    out = tmp_path / "out"
    asked = ["tune", str(path), "--out", str(out), "--objective", objective, "--trials", "4", *steps]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "tune.json").read_text(encoding="utf-8"))
    assert found["unit"] == f"nats an example of the {objective}"
    assert found["test"]["unit"] == "nats an example"
    page = (out / "tune.html").read_text(encoding="utf-8")
    assert "nats an example" in page
    assert page.count("bits per byte") == 1  # in the footer, which explains both
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    assert {f["axiom"] for f in certificate["findings"]} >= {"W-N", "W-P", "W-B"}
    assert all(f["verdict"] == "PROVED" for f in certificate["findings"] if f["axiom"] in ("W-N", "W-P", "W-B"))
    again = CliRunner().invoke(app, ["distill", str(out / "best.yaml"), "--out", str(tmp_path / "run")])
    assert again.exit_code == 0, again.output


class Greedy:
    """The last rule of every scale, as strong as it may be, and all of the room."""

    def choice(self, name: str, options: Sequence[str]) -> str:
        return options[-1]

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return high


def test_what_the_margin_of_an_order_adds_is_taken_off_what_rules_may_use(points: ExamplesWorld) -> None:
    order = {"order": "both > sizer > signer", "margin": 0.2, "cap": 1.0, "budget": 2.0}
    space = build_space(points.recipe(scheme=order), points.folder)
    assert space.budget == 2.0
    assert 1.0 < space.room < 2.0
    assert {"entropy", "skill"} <= {c.rule for scale in space.candidates.values() for c in scale}
    section = space.section(Greedy())
    assert isinstance(section.budget, dict)
    proof = prove(build_scheme(space.with_section(section), space.base), space.question)
    assert proof.proved, proof.reason
    assert proof.influence <= 2.0
    assert sum(section.budget.values()) == pytest.approx(space.room, abs=1e-5)
    with pytest.raises(InputError, match="beside the margin of the safety order"):
        build_space(points.recipe(scheme={**order, "margin": 1.5, "budget": 1.0}), points.folder)
