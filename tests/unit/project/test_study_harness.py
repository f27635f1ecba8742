"""The study's harness on a tiny setting: resumption, pairing, statistics, and a page that tells failures."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import friedmanchisquare

from benchmarks import first_light
from benchmarks.study import arrays, corruption, harness, plan, plots, statistics, tables
from benchmarks.study.__main__ import beside, short
from benchmarks.study.arms import Arm, arms
from benchmarks.study.loop import run
from benchmarks.study.schedule import batches
from benchmarks.study.setting import Bag, Perceptron, Setting, Split, losses, one_label, seeded
from benchmarks.study.store import Store, array
from benchmarks.study.summary import SCHEMES, summary, table_of
from tiny_world import World, make_model
from trivium.certification.calculus import derive
from trivium.errors import InputError, RuleError
from trivium.scheme import Scheme, compose
from trivium.store.identity import Identity
from trivium.training.run import distill
from trivium.weighting import Features, Operator, rule
from trivium.weighting.features import Range
from trivium.weighting.learnable import LearnableRule, TrainingState

FOREVER = math.inf


def _split(n: int, seed: int) -> Split:
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    x = np.eye(3)[y] + draw.normal(0, 0.4, (n, 3))
    # Three teachers that read the input with more or less noise.
    logits = np.stack([3 * (x + draw.normal(0, noise, (n, 3))) for noise in (0.1, 0.5, 1.0)])
    zero = torch.zeros(n, dtype=torch.long)
    side = torch.from_numpy((x[:, 0] > 0).astype(np.int64))
    return one_label(
        torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y), logits, zero, side, torch.from_numpy(y)
    )


@pytest.fixture(scope="module")
def tiny() -> Setting:
    return Setting(
        name="tiny",
        title="three noisy readers",
        metric="error",
        teacher_names=("sharp", "fair", "dull"),
        tasks=("label",),
        domains=("left", "right"),
        groups=("a", "b", "c"),
        splits={"train": _split(120, 0), "validation": _split(60, 1), "test": _split(90, 2)},
        student=seeded(lambda: Perceptron(3, 4, 3)),
        steps=6,
        batch_size=16,
        learning_rate=1e-2,
        corruption="relabelled",
    )


@pytest.fixture(scope="module")
def load(tiny: Setting) -> harness.Loader:
    found = {"clean": tiny, "corrupted": corruption.corrupted(tiny)}
    return lambda name, condition, kind: found[condition]


@pytest.fixture(scope="module")
def shape(load: harness.Loader) -> plan.Shape:
    return harness.shape_of("tiny", load, probe=False)


def _quiet(line: str) -> None:
    pass


def test_what_is_done_is_skipped_and_what_a_kill_left_half_is_run_again(
    load: harness.Loader, shape: plan.Shape, tmp_path: Path
) -> None:
    cells = plan.block(shape, "clean", 0, 6)[:4]
    store = Store(tmp_path / "cells.jsonl")
    assert harness.go(cells[:3], store, load, 0, FOREVER, _quiet) == 3
    text = store.path.read_text(encoding="utf-8")
    store.path.write_text(text[:-30], encoding="utf-8")  # the last line is cut, as by a kill
    again = Store(store.path)
    assert harness.go(cells, again, load, 0, FOREVER, _quiet) == 2
    whole = Store(store.path)
    assert all(cell in whole for cell in cells)
    assert whole[cells[2]]["student"] == store[cells[2]]["student"]  # the same numbers, bit for bit
    assert harness.go(cells, whole, load, 0, FOREVER, _quiet) == 0


def test_no_cell_starts_after_the_deadline(load: harness.Loader, shape: plan.Shape, tmp_path: Path) -> None:
    store = Store(tmp_path / "cells.jsonl")
    assert harness.go(plan.block(shape, "clean", 0, 6), store, load, 0, time.monotonic() - 1, _quiet) == 0
    assert not store.path.exists()


def test_another_rule_or_other_data_is_another_cell(shape: plan.Shape) -> None:
    cell = plan.block(shape, "clean", 0, 6)[0]
    assert len({cell.key, cell._replace(formula="x").key, cell._replace(data="x").key, cell._replace(steps=7).key}) == 4


def test_whatever_a_cell_depends_on_makes_it_another(tiny: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells on file were used again after training or test data, initial weights or the library's code had changed."""
    before = harness.fingerprint(tiny)
    assert harness.fingerprint(replace(tiny)) == before
    for name, split in tiny.splits.items():
        for field in dataclasses.fields(split):
            value = getattr(split, field.name)
            tensor = value[-1] if isinstance(value, tuple) else value
            kept = tensor.clone()
            tensor[-1] += 1
            assert harness.fingerprint(tiny) != before, f"{name}.{field.name}"
            tensor.copy_(kept)
    changes: list[dict[str, Any]] = [
        {"student": seeded(lambda: Perceptron(3, 5, 3))},
        {"student": lambda seed: seeded(lambda: Perceptron(3, 4, 3))(seed + 1)},
        {"batch_size": 8},
        {"learning_rate": 1e-3},
        {"teacher_names": ("a", "b", "c")},
    ]
    assert len({harness.fingerprint(replace(tiny, **change)) for change in changes} - {before}) == 5
    assert {"trivium/weighting/base.py", "trivium/training/step.py", "benchmarks/study/loop.py"} <= set(harness.code())
    monkeypatch.setattr(harness, "code", lambda: {"loop.py": "edited"})
    assert harness.fingerprint(tiny) != before


def test_arrays_are_made_anew_when_what_makes_them_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays of an older builder were read under the name of the new one."""
    made: list[str] = []

    def build(command: list[str], **options: Any) -> None:
        made.append(command[2])
        np.savez(command[3], x=np.array([len(made)]))

    monkeypatch.setattr(arrays, "environment", lambda work: Path("python"))
    monkeypatch.setattr(subprocess, "run", build)
    assert [int(arrays.built("digits", tmp_path)["x"][0]) for _ in range(2)] == [1, 1]
    assert {"digits.py", "images.py", "requirements.txt"} <= set(arrays.origin("digits").parts["files"])
    assert "spam.py" not in arrays.origin("digits").parts["files"]
    monkeypatch.setattr(arrays, "origin", lambda name: Identity({"files": {"digits.py": "edited"}}))
    assert [int(arrays.built("digits", tmp_path)["x"][0]) for _ in range(2)] == [2, 2]
    assert made == ["benchmarks.study.builders.digits"] * 2


def test_a_kept_result_of_first_light_is_of_the_run_that_is_asked_for(tmp_path: Path) -> None:
    """Whatever stood in a folder with numbers was counted as the run of that name."""
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    recipe = world.recipe(train={"steps": 2, "evaluate_every": 2})
    shop = world.prepared_run(recipe)
    assert not first_light.finished(recipe, shop, tmp_path / "run")
    distill(recipe, shop, tmp_path / "run")
    assert first_light.finished(recipe, shop, tmp_path / "run")
    for other in (first_light.seeded(recipe, 7), world.recipe(train={"steps": 3, "evaluate_every": 2})):
        with pytest.raises(InputError, match="received another recipe"):
            first_light.finished(other, shop, tmp_path / "run")
    world.add_model("tales", make_model(world.tokenizer, 7))
    retrained = world.prepared_run(recipe)
    with pytest.raises(InputError, match=r"received another teachers \(tales\)"):
        first_light.finished(recipe, retrained, tmp_path / "run")
    (tmp_path / "run" / "identity.json").unlink()
    assert not first_light.finished(recipe, shop, tmp_path / "run")


def test_arms_of_a_seed_share_initial_weights_and_batches(tiny: Setting) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    class Spy(torch.nn.Module):
        def __init__(self, log: list[torch.Tensor]) -> None:
            super().__init__()
            self.inner, self.log = Perceptron(3, 4, 3), log
            log.append(self.inner.head.weight.detach().clone())

        def forward(self, inputs: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
            self.log.append(inputs.clone())
            return self.inner(inputs, task)

    for name in ("uniform", "three scales, conforming"):
        log: list[torch.Tensor] = []
        seen[name] = log
        run(replace(tiny, student=seeded(lambda log=log: Spy(log))), arms(tiny)[0][name], 3, 5)
    first, second = seen.values()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(batches(tiny, 3, 5), batches(tiny, 4, 5))
    assert len(batches(tiny, 0, 8).flatten()[:120].unique()) == 120  # an epoch sees each example once


@pytest.mark.parametrize("builder", ["digits", "multitask", "spam", "language_id"])
def test_a_builder_needs_neither_torch_nor_trivium(builder: str) -> None:
    """It runs in an environment of its own, which has only what the study's ``requirements.txt`` names."""
    absent = "sys.modules['torch'] = sys.modules['trivium'] = None"
    code = f"import sys; {absent}; import benchmarks.study.builders.{builder}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=Path(__file__).parents[3], check=True)


def test_the_bootstrap_is_a_plain_loop() -> None:
    draw = np.random.default_rng(0)
    stratum = np.array([0, 0, 0, 1, 1])
    size = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    values = draw.random((2, 3, 5))
    drawn = statistics.draw(stratum, 3, draws=7, seed=1)
    found = statistics.replicates(values, size, stratum, drawn)
    assert (drawn.units[:, :3].sum(1) == 3).all()
    assert (drawn.units[:, 3:].sum(1) == 2).all()
    assert (drawn.seeds.sum(1) == 3).all()
    for run_, b in np.ndindex(2, 7):
        total = 0.0
        for s in range(3):
            for part in (0, 1):
                above = below = 0.0
                for u in range(5):
                    if stratum[u] == part:
                        above += drawn.units[b, u] * values[run_, s, u]
                        below += drawn.units[b, u] * size[u]
                total += drawn.seeds[b, s] / 3 * above / below / 2
        assert found[run_, b] == pytest.approx(total, rel=1e-6)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Means of 60 normal numbers: the 95 % interval holds the truth in 95 of 100 cases, give or take four."""
    generator = np.random.default_rng(5)
    stratum, size, hits = np.zeros(60, int), np.ones(60), 0
    for trial in range(300):
        values = generator.normal(0.3, 1, (1, 1, 60))
        low, high = statistics.interval(
            statistics.replicates(values, size, stratum, statistics.draw(stratum, 1, 400, trial))[0]
        )
        hits += low <= 0.3 <= high
    assert 0.91 <= hits / 300 <= 0.98


# Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), table 5a: q at 5 % and 10 %.
@pytest.mark.parametrize(
    ("arms_", "five", "ten"),
    [(2, 1.960, 1.645), (3, 2.343, 2.052), (4, 2.569, 2.291), (5, 2.728, 2.459), (6, 2.850, 2.589), (10, 3.164, 2.920)],
)
def test_nemenyi_constants_are_the_published_ones(arms_: int, five: float, ten: float) -> None:
    assert statistics.nemenyi(arms_) == pytest.approx(five, abs=2e-3)
    assert statistics.nemenyi(arms_, 0.1) == pytest.approx(ten, abs=2e-3)


def test_friedman_is_scipys_and_ranks_are_averaged_over_ties() -> None:
    scores = np.random.default_rng(3).integers(0, 4, (12, 5)).astype(float)  # many ties
    found = statistics.friedman(scores)
    assert found.chi_square == pytest.approx(friedmanchisquare(*scores.T).statistic)
    assert statistics.friedman(np.array([[1.0, 1.0, 2.0]])).average == [1.5, 1.5, 3.0]
    # Demšar's example: 4 arms on 14 sets, CD = 2.569·sqrt(4·5/(6·14)) = 1.25
    assert statistics.critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


def test_the_plan_takes_less_where_the_whole_does_not_fit(shape: plan.Shape) -> None:
    slow, quick = replace(shape, name="slow", seconds=20.0, steps=100), replace(shape, name="quick", seconds=1.0)
    runs = sum(map(len, shape.formulas.values()))
    whole = plan.fit([slow, quick], 5 * 21 * runs)
    assert (whole.steps["slow"], whole.seeds) == (100, {"slow": 5, "quick": 5})
    less = plan.fit([slow, quick], (3 * 10 + 5) * runs)
    assert (less.steps["slow"], less.seeds, less.fits) == (50, {"slow": 3, "quick": 5}, True)
    assert not plan.fit([slow, quick], 1.0).fits
    order = [(cell.seed, cell.setting, cell.condition) for cell in less.cells([slow, quick])]
    assert order == sorted(order, key=lambda key: key[0])
    assert order[: runs // 2] == [(0, "slow", "clean")] * (runs // 2)


@pytest.mark.parametrize("kind", ["relabelled", "overconfident", "misplaced"])
def test_a_corruption_spoils_the_victim_alone_and_validation_shows_it(tiny: Setting, kind: str) -> None:
    bad, victim = corruption.corrupted(tiny, kind), corruption.victim_of(tiny)
    for name, split in tiny.splits.items():
        same = [torch.equal(a, b) for a, b in zip(split.logits, bad.splits[name].logits, strict=True)]
        assert same == [k != victim for k in range(3)]
        assert torch.isfinite(bad.splits[name].logits[victim]).all()
    before, after = (losses(s.splits["validation"], "task", 1)[0, victim] for s in (tiny, bad))
    assert after > before + 0.3


def test_students_can_be_differentiated_twice() -> None:
    """MMKD learns through three steps of the student."""
    student = Bag(8, 4, 3)
    inputs, task = torch.tensor([[1, 2, 0, 0], [3, 4, 5, 0]], dtype=torch.int16), torch.zeros(2, dtype=torch.long)
    loss = student(inputs, task).logsumexp(-1).sum()
    first = torch.autograd.grad(loss, student.embedding.weight, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), student.embedding.weight)[0]
    assert bool((second != 0).any())
    assert torch.equal(student(inputs, task)[0], student(inputs[:, :2], task)[0])  # padding adds nothing


def test_a_cycle_moves_every_label() -> None:
    for labels in (2, 3, 24):
        move = corruption.cycle(labels, 1)
        assert sorted(move.tolist()) == list(range(labels))
        assert (move != torch.arange(labels)).all()


def test_undefined_weights_are_counted_and_a_rule_that_raises_is_told(tiny: Setting) -> None:
    class Undefined(Operator):
        """Weights that are NaN where the first teacher is surest, as a published quotient may be."""

        ranges = compose(tiny.teacher_names).ranges

        def log_weights(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
            weights = torch.full((16, 1, 3), 1 / 3)
            weights[::4] = math.nan
            return weights.log()

        def formula(self) -> str:
            return "0/0 on every fourth row"

    scheme = Scheme(tiny.teacher_names, {}, Undefined(), None)
    found = run(tiny, Arm("undefined", "published", scheme), 1, 4)
    assert found["train"]["undefined"] == pytest.approx(0.25)
    assert torch.isfinite(found["student"]["nats"]).all()

    @rule(scale="token", features=["entropy"])
    def broken(entropy: torch.Tensor) -> torch.Tensor:
        return entropy * math.nan

    with pytest.raises(RuleError):
        run(tiny, Arm("broken", "published", compose(tiny.teacher_names, token=[broken])), 1, 2)


@pytest.mark.deep
def test_a_whole_study_is_summed_up_told_and_drawn(load: harness.Loader, shape: plan.Shape, tmp_path: Path) -> None:
    whole = plan.Plan({"tiny": 6}, {"tiny": 2}, 0.0, True)
    store = Store(tmp_path / "cells.jsonl")
    cells = list(whole.cells([shape]))
    harness.go(cells, store, load, 0, FOREVER, _quiet)
    half = table_of(shape, whole, store, load)
    assert half is not None
    assert half.seeds == [0, 1]
    run_ = {
        "machine": "one process",
        "cpu_minutes": 0.1,
        "steps": {"tiny": 6},
        "complete": True,
        "planned": 1,
        "finished": 1,
    }
    result = json.loads(json.dumps(short(summary([half]) | {"run": run_})))
    arm = result["settings"]["tiny"]["arms"]["uniform"]
    first = [c for c in cells if c.arm == "uniform" and c.condition == "clean"]
    assert arm["clean"]["loss"]["mean"] == pytest.approx(
        np.mean([array(store[c]["student"]["nats"]).mean() for c in first]), rel=1e-4
    )
    assert arm["clean"]["loss"]["minus_uniform"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert arm["clean"]["shares"] == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert "oracle" not in result["ranks"]["loss"]["all"]["arms"]
    assert [row["setting"] for row in result["claims"]] == ["tiny", "tiny"]
    arms = ["fitted", "fitted with labels", "three scales", "three scales with labels", "nemo_rl"]
    named = [f"{arm}, conforming" for arm in arms]
    assert sorted(result["claims"][0]["schemes"]) == sorted(named)
    for metric, what in (("loss", "nats"), ("error", "wrong")):
        for name, arm in result["settings"]["tiny"]["arms"].items():
            cost = {
                arm_name: np.mean([array(store[c]["student"][what]).mean() for c in ran if c.condition == "corrupted"])
                - np.mean([array(store[c]["student"][what]).mean() for c in ran if c.condition == "clean"])
                for arm_name in (name, "uniform")
                for ran in [[c for c in cells if c.arm == arm_name]]
            }
            third = arm["third"][metric]
            assert third["value"] == pytest.approx(cost[name] - cost["uniform"] / 3, rel=1e-3, abs=1e-5)
            low, high = third["interval"]
            assert third["verdict"] == ("holds" if high <= 0 else "fails" if low > 0 else "open")
    earlier = {**result, "settings": {"other": result["settings"]["tiny"]}, "claims": [
        {**claim, "setting": "other"} for claim in result["claims"]
    ]}  # fmt: skip
    joined = summary([half], earlier)
    assert list(joined["settings"]) == ["other", "tiny"]
    assert [row["setting"] for row in joined["claims"]] == ["other", "other", "tiny", "tiny"]
    alone, both = (found["ranks"]["loss"]["clean"]["seeds_as_blocks"] for found in (result, joined))
    assert both["blocks"] == 2 * alone["blocks"]
    # Kept means have five digits, so more of them tie after six steps.
    assert np.corrcoef(both["average"], alone["average"])[0, 1] > 0.97
    run_of = {n: {"tiny": 1} for n in ("steps", "full_steps", "seeds", "missing")}
    before = {n: {"tiny": 0, "other": 2} for n in run_of}
    together = beside(before, run_of)
    assert (together["steps"], together["kept"]) == ({"tiny": 1, "other": 2}, ["other"])
    page = tables.page(result)
    counted = [line.split(" | ") for line in tables.kept(result).splitlines()[2:]]
    assert all(sum(map(int, cells[2:5])) == 2 for cells in counted)
    assert "uniform" not in {cells[0].strip("| ") for cells in counted}
    assert page.count("| three scales, conforming |") >= 3
    for svg in (plots.rank_plot(result), plots.damage_plot(result)):
        assert svg.startswith("<svg")
        assert "three scales, conforming" in svg


def test_learned_rules_are_taught_and_start_anew_in_every_cell(tiny: Setting) -> None:
    taught: list[int] = []

    class Teachable(LearnableRule):
        """Counts its lessons: a cell that began with another's state would count on."""

        name = "teachable"
        scale = "task"
        ranges: ClassVar[dict[str, Range]] = {}
        lessons = 0

        def log_weights(self, features: Features) -> torch.Tensor:
            return torch.full((3,), -math.log(3))

        def formula(self) -> str:
            return "taught"

        def learn(self, training_state: TrainingState) -> None:
            self.lessons += 1
            taught.append(self.lessons)
            logits = training_state.student_logits(training_state.parameters, training_state.rows)
            assert logits.shape == (16, 1, 3)
            assert logits.requires_grad

        def state(self) -> dict[str, Any]:
            return {"lessons": self.lessons}

        def restore(self, state: Mapping[str, Any]) -> None:
            self.lessons = state["lessons"]

    arm = Arm("teachable", "published", compose(tiny.teacher_names, task=[Teachable()]))
    assert arm.labels
    run(tiny, arm, 1, 3)
    run(tiny, arm, 2, 3)
    assert taught == [1, 2, 3, 1, 2, 3]


def test_catalogue_rows_take_the_settings_sizes_or_say_why_not(tiny: Setting) -> None:
    found, missing = arms(tiny)
    assert not found.keys() & missing.keys()
    assert all(missing.values())
    assert "prefix" in missing["prefix_posterior"]
    assert {"uniform", "oracle", "three scales, conforming", "ebkd", "ca_mkd, conforming"} <= found.keys()
    assert found["three scales with labels, conforming"].labels
    assert not found["three scales, conforming"].labels
    assert found["ca_mkd"].labels
    assert not found["ebkd"].labels


@pytest.mark.parametrize("name", SCHEMES)
def test_the_schemes_of_the_claim_keep_what_the_readme_says(tiny: Setting, name: str) -> None:
    scheme = arms(tiny)[0][name].scheme
    derived = derive(scheme, 3)
    assert derived.normalized
    assert derived.constants.influence <= 8.0
    assert derived.constants.floor > 0
