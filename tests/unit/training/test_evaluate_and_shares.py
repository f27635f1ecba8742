"""Held-out numbers against plain loops; shares that sum to one; arms that differ in their scheme alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import DOMAINS, TEACHERS, World
from trivium.aggregation import POOLS
from trivium.errors import InputError
from trivium.scheme import compose
from trivium.training.arms import HARD, baselines, parts
from trivium.training.build import build_scheme
from trivium.training.collect import collect_features
from trivium.training.evaluate import (
    batch_of,
    bits_per_byte,
    is_predictor,
    mixture_nats,
    student_nll,
    teacher_nll,
    validation_losses,
)
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, MonitorSection, Recipe
from trivium.training.run import PreparedRun
from trivium.training.shares import Shares, combined
from trivium.training.step import distillation_step
from trivium.training.tasks.text import build_student
from trivium.weighting import Entropy, Gap, PrefixPosterior, Skill, Static, rule


@pytest.fixture(scope="module")
def student(world: World, recipe: Recipe) -> Any:
    return build_student(recipe, world.tokenizer, world.folder)


def plain_nats(logits: torch.Tensor, labels: list[int]) -> float:
    total = 0.0
    for position, label in enumerate(labels):
        if label >= 0:
            row = logits[position].double().tolist()
            total += math.log(math.fsum(math.exp(value) for value in row)) - row[label]
    return total


def test_student_nats_and_bits_per_byte_are_what_a_loop_finds(student: Any, prepared_run: PreparedRun) -> None:
    rows = prepared_run.tables.test
    assert rows is not None
    student.train()
    found = student_nll(student, rows)
    assert student.training
    assert found.dtype == torch.float64
    sums, sizes = dict.fromkeys(DOMAINS, 0.0), dict.fromkeys(DOMAINS, 0)
    for number in range(len(rows)):
        with torch.no_grad():
            logits = student(input_ids=rows.input_ids[number : number + 1]).logits[0]
        nats = plain_nats(logits, rows.labels[number].tolist())
        assert float(found[number]) == pytest.approx(nats, rel=1e-5)
        domain = rows.domains[int(rows.domain[number])]
        sums[domain] += nats
        sizes[domain] += int(rows.bytes[number])
    bits = bits_per_byte(found, rows)
    assert list(bits) == list(DOMAINS)
    for domain in DOMAINS:
        assert bits[domain] == pytest.approx(sums[domain] / math.log(2) / sizes[domain], rel=1e-5)


def test_bytes_count_utf8_and_every_byte_once(world: World, prepared_run: PreparedRun) -> None:
    rows = prepared_run.tables.test
    assert rows is not None
    for number in range(len(rows)):
        labels = rows.labels[number]
        text = world.tokenizer.decode(labels[labels >= 0].tolist(), skip_special_tokens=True)  # an end has no bytes
        if "\ufffd" not in text:  # a window that ends inside a character
            assert int(rows.bytes[number]) == len(text.encode())


def test_evaluating_leaves_the_random_state_alone(student: Any, prepared_run: PreparedRun) -> None:
    before = torch.get_rng_state()
    student_nll(student, prepared_run.tables.validation)
    assert torch.equal(torch.get_rng_state(), before)


def test_teacher_nats_and_validation_losses_are_what_a_loop_finds(prepared_run: PreparedRun) -> None:
    rows, source = prepared_run.tables.validation, prepared_run.sources["validation"]
    found = teacher_nll(source, rows)
    assert found.shape == (len(rows), 2)
    sums = torch.zeros(2, 2, dtype=torch.float64)
    tokens = [0, 0]
    for number in range(len(rows)):
        task = int(rows.task[number])
        tokens[task] += int((rows.labels[number] >= 0).sum())
        for k, logits in enumerate(source.logits(torch.tensor([number]))):
            nats = plain_nats(logits[0], rows.labels[number].tolist())
            assert float(found[number, k]) == pytest.approx(nats, rel=1e-5)
            sums[task, k] += nats
    expected = sums / torch.tensor(tokens).unsqueeze(-1)
    torch.testing.assert_close(validation_losses(teacher_nll(source, rows), rows).double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(prepared_run.validation_loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("k", [0, 1])
def test_a_mixture_with_all_weight_on_one_teacher_is_that_teacher(prepared_run: PreparedRun, pool: str, k: int) -> None:
    rows, source = prepared_run.tables.validation, prepared_run.sources["validation"]
    weights = (1.0, 1e-30) if k == 0 else (1e-30, 1.0)
    scheme = compose(TEACHERS[:2], task=[Static(weights)])
    found = mixture_nats(scheme, source, rows, prepared_run.validation_loss, pool)
    torch.testing.assert_close(found, teacher_nll(source, rows)[:, k], rtol=1e-5, atol=1e-4)


def test_a_linear_mixture_with_a_posterior_is_the_bayes_mixture(prepared_run: PreparedRun) -> None:
    """With τ = 1 and no budget the chain rule gives −log Σ_k π_k p_k(row)."""
    rows, source = prepared_run.tables.validation, prepared_run.sources["validation"]
    scheme = compose(TEACHERS[:2], context=[PrefixPosterior(budget=None)])
    found = mixture_nats(scheme, source, rows, prepared_run.validation_loss)
    expected = math.log(2) - torch.logsumexp(-teacher_nll(source, rows), -1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


def test_a_mixture_that_reads_the_student_needs_it(student: Any, prepared_run: PreparedRun) -> None:
    rows, source = prepared_run.tables.validation, prepared_run.sources["validation"]
    scheme = compose(TEACHERS[:2], token=[Gap(2.0)])
    found = mixture_nats(scheme, source, rows, prepared_run.validation_loss, student=student)
    uniform = mixture_nats(compose(TEACHERS[:2]), source, rows, prepared_run.validation_loss)
    assert bool(torch.isfinite(found).all())
    assert not torch.allclose(found, uniform)


def test_a_scheme_that_sees_the_label_is_no_predictor() -> None:
    @rule(scale="token", features=["label_log_prob"])
    def cheat(label_log_prob: torch.Tensor) -> torch.Tensor:
        return torch.softmax(label_log_prob, dim=-1)

    assert is_predictor(compose(["a", "b"]))
    assert is_predictor(compose(["a", "b"], token=[Entropy()], context=[PrefixPosterior()], task=[Skill()]))
    assert not is_predictor(compose(["a", "b"], token=[Entropy(), cheat]))


def outputs(world: World, prepared_run: PreparedRun, student: Any) -> list[Any]:
    scheme = build_scheme(world.recipe(), world.folder)
    watch = Monitor(MonitoredBounds.of(scheme, MonitorSection()), "raise")
    found = []
    for index in torch.arange(12).split(4):
        batch = batch_of(prepared_run.tables.train, index, prepared_run.sources["train"])
        logits = student(input_ids=prepared_run.tables.train.input_ids[index]).logits
        loss = LossSection(label=0.5)
        found.append((distillation_step(logits, batch, scheme, loss, prepared_run.validation_loss, watch), batch))
    return found


def test_shares_sum_to_one_at_every_scale_and_are_means(world: World, prepared_run: PreparedRun, student: Any) -> None:
    scheme = build_scheme(world.recipe(), world.folder)
    shares, steps = Shares(scheme), outputs(world, prepared_run, student)
    for step, batch in steps:
        shares.add(step, batch.mask)
    record = shares.take()
    assert list(record["share"]) == ["token", "task", "context", "all"]
    for of in record["share"].values():
        assert list(of) == list(TEACHERS[:2])
        assert sum(of.values()) == pytest.approx(1.0, abs=1e-6)
    means = torch.cat([step.log_weights[batch.mask].exp() for step, batch in steps]).mean(0)
    assert list(record["share"]["all"].values()) == pytest.approx(means.tolist(), rel=1e-5)
    largest = max(float((w.amax(-1) - w.amin(-1))[b.mask].max()) for w, b in ((s.log_weights, b) for s, b in steps))
    assert record["influence"]["all"] == pytest.approx(largest)
    assert record["influence"]["token"] <= 1.0 + 1e-5  # the scale's budget
    for name in ("loss", "distillation", "label"):
        assert record[name] == pytest.approx(sum(getattr(s, name).item() for s, _ in steps) / 3, rel=1e-6)
    assert record["loss"] == pytest.approx(record["distillation"] + 0.5 * record["label"], rel=1e-5)


def test_taking_begins_anew_and_the_parts_of_a_step_add_up(
    world: World, prepared_run: PreparedRun, student: Any
) -> None:
    scheme = build_scheme(world.recipe(), world.folder)
    (step, batch), *_ = outputs(world, prepared_run, student)
    shares, whole = Shares(scheme), 2 * batch.mask.sum()  # each of these is one half of a step
    for count in (4, 2):
        for _ in range(count):
            shares.add(step, batch.mask, normalizer=whole)
        record = shares.take()
        assert record["loss"] == pytest.approx(2 * step.loss.item(), rel=1e-6)
        assert (record["steps"], record["positions"]) == (count / 2, count * int(batch.mask.sum()))
    kept = Shares(scheme)
    kept.restore({"batches": 3, "weighed": 3, "sums": {"loss": 1.0}, "weights": {}, "influence": {}})
    assert kept.batches == 0, "an earlier version's sums are of another kind"


def test_records_of_two_processes_become_one() -> None:
    counts = {"steps": 0.25, "positions": 10}
    one = {"loss": 1.0, "share": {"all": {"a": 0.2, "b": 0.8}}, "influence": {"all": 1.0}}
    two = {"loss": 2.0, "share": {"all": {"a": 0.4, "b": 0.6}}, "influence": {"all": 0.5}}
    assert combined([one | counts]) == one
    assert combined([one | counts, two | {"steps": 0.75, "positions": 30}]) == {
        "loss": 1.75,
        "share": {"all": {"a": pytest.approx(0.35), "b": pytest.approx(0.65)}},
        "influence": {"all": 1.0},
    }


def test_baselines_differ_from_the_recipe_in_name_and_scheme_alone(recipe: Recipe) -> None:
    losses = torch.tensor([[1.0, 3.0], [3.0, 0.5]])
    arms = baselines(recipe, losses)
    assert list(arms) == ["single", "uniform", "oracle"]
    for name, arm in (arms | parts(recipe)).items():
        assert arm.name == name
        same = arm.model_copy(update={"name": recipe.name, "scheme": recipe.scheme})
        assert same.digest() == recipe.digest()  # data, steps, distillation mass, seed
    assert arms["single"].scheme.context[0].options["map"] == {"sums": "tales", "tales": "tales"}  # mean 1.75 < 2
    assert arms["oracle"].scheme.context[0].options["map"] == {"sums": "sums", "tales": "tales"}
    assert arms["uniform"].scheme == type(recipe.scheme)()


def test_arms_weigh_as_their_names_say(world: World, prepared_run: PreparedRun, recipe: Recipe) -> None:
    batch = batch_of(prepared_run.tables.validation, torch.arange(8), prepared_run.sources["validation"])
    losses = prepared_run.validation_loss
    best = int(losses.mean(0).argmin())

    def weights(arm: Recipe) -> torch.Tensor:
        scheme = build_scheme(arm, world.folder)
        found = scheme.log_weights(collect_features(scheme, batch, None, losses)).exp()
        return found.expand(*batch.labels.shape, 2)

    arms = baselines(recipe, losses)
    assert float(weights(arms["single"])[..., best].min()) > 1 - 2 * math.exp(-HARD)
    torch.testing.assert_close(weights(arms["uniform"]), torch.full_like(weights(arms["uniform"]), 0.5))
    own = weights(arms["oracle"]).gather(-1, batch.domain.view(-1, 1, 1).expand(-1, batch.labels.shape[1], 1))
    assert float(own.min()) > 1 - 2 * math.exp(-HARD)


def test_an_oracle_needs_a_teacher_for_each_domain(world: World) -> None:
    recipe = world.recipe(teachers=[{"name": name, "model": "sums"} for name in ("sums", "other")])
    with pytest.raises(InputError, match=r"none for \['tales'\]"):
        baselines(recipe, torch.ones(2, 2))


def test_parts_are_every_scale_and_pair_and_the_whole_without_budgets(world: World) -> None:
    (world.folder / "plain.py").write_text(
        "import trivium as tv\n"
        "@tv.rule(scale='token', features=['max_prob'])\n"
        "def plain(max_prob):\n"
        "    return max_prob / max_prob.sum(-1, keepdim=True)\n",
        encoding="utf-8",
    )
    scheme = {
        "token": [{"rule": "plain.py:plain"}, {"rule": "margin", "options": {"budget": 0.5}}],
        "task": [{"rule": "static"}],
    }
    recipe = world.recipe(scheme=scheme)
    found = parts(recipe)
    assert list(found) == ["token", "task", "context", "token+task", "token+context", "task+context", "unbounded"]
    for name, arm in found.items():
        built = build_scheme(arm, world.folder)
        if name == "unbounded":
            assert built.conforming is None
            assert "β ≤" not in str(built)
            assert set(built.scales) == {"token", "task", "context"}
        else:
            assert set(built.scales) == set(name.split("+"))
            assert arm.scheme.budget == recipe.scheme.budget
    one = world.recipe(scheme={"task": [], "context": []})
    assert list(parts(one)) == ["unbounded"]


def test_a_run_reports_no_mixture_when_its_weights_see_the_label(world: World, tmp_path: Path) -> None:
    from trivium.training.run import distill

    (world.folder / "cheat.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['label_log_prob'])\n"
        "def cheat(label_log_prob):\n"
        "    return torch.softmax(label_log_prob, dim=-1)\n",
        encoding="utf-8",
    )
    recipe = world.recipe(scheme={"token": [{"rule": "cheat.py:cheat"}]}, train={"steps": 2})
    assert set(distill(recipe, world.prepared_run(recipe), tmp_path / "run")) == {"student", "teachers"}
