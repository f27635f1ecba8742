"""Runs that are told what the student must not do: what is refused before training, kept during it, and audited after.

No other test trains under a limit of unsafe mass.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import World, weights_of
from trivium.axioms import OrdinalSafety
from trivium.errors import InfeasibleError, InputError
from trivium.safety import AuditedDocument, UnsafeClasses, UnsafeTokens, audit
from trivium.teachers.huggingface import load_model
from trivium.training.build import build_scheme
from trivium.training.collect import Batch, collect_features, weigh
from trivium.training.decoding import UnsafeLogits, load_guard
from trivium.training.evaluate import batch_of
from trivium.training.guard import Guard, Safety
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import PreparedRun, distill
from trivium.training.safety import checked_before, measured
from trivium.training.trace import read_trace

CATS = {"critical": {"domains": ["tales"]}, "unsafe": {"strings": ["cat", "dog"]}, "limit": 0.02}


def safe(world: World, safety: dict[str, Any], **changes: Any) -> Recipe:
    return world.recipe(safety={**CATS, **safety}, **changes)


def student_mass_after(world: World, folder: Path, safety: dict[str, Any] | None, steps: int = 60) -> float:
    """The audited unsafe mass of a student."""
    recipe = safe(
        world, {"enforce": "none", "limit": 0.9, **(safety or {})}, train={"steps": steps, "learning_rate": 2e-2}
    )
    distill(recipe, world.prepared_run(recipe), folder)
    found = json.loads((folder / "safety.json").read_text(encoding="utf-8"))
    return float(found["after"]["student"]["estimate"])


@pytest.fixture(scope="module")
def constrained(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, PreparedRun, Path]:
    recipe, folder = safe(world, {"enforce": "constraint", "trust": "tales > sums"}), tmp_path_factory.mktemp("safe")
    shop = world.prepared_run(recipe)
    distill(recipe, shop, folder / "run")
    return recipe, shop, folder / "run"


def test_a_run_leaves_what_was_declared_found_and_measured(constrained: tuple[Recipe, PreparedRun, Path]) -> None:
    folder = constrained[2]
    found = json.loads((folder / "safety.json").read_text(encoding="utf-8"))
    assert found["forbidden"] == ["string 'cat' as a whole word", "string 'dog' as a whole word"]
    documents = [AuditedDocument(**{**d, "teachers": tuple(d["teachers"])}) for d in found["documents"]]
    assert found["after"] == json.loads(json.dumps(audit(documents, 0.02, 0.95, ["sums", "tales"])))
    assert {d.domain for d in documents} == {"tales"}
    before = found["before"]
    assert before["bounds"]["S2"]["estimate"] >= max(before["least"], before["bounds"]["S1"]["estimate"] * 0.5)
    assert set(before["attacked"]) == {"sums", "tales"}
    for document in documents:
        assert document.target is not None
        assert document.target <= document.largest + 1e-6
        assert document.bound is not None
        assert document.student <= document.bound + 1e-6  # S3, of each document as of each position
    lines = read_trace(folder / "metrics.jsonl")
    steps = [line["safety"] for line in lines if line["kind"] == "step"]
    assert all(step["positions"] > 0 for step in steps)
    assert [line for line in lines if line["kind"] == "eval"][-1]["safety"]["upper"] <= 1
    assert {"W-S", "W-B"} <= set(lines[-2]["axioms"] if "axioms" in lines[-2] else lines[-1]["axioms"])


def test_a_resumed_run_under_a_constraint_is_the_run_that_was_not_interrupted(
    constrained: tuple[Recipe, PreparedRun, Path], tmp_path: Path
) -> None:
    recipe, shop, folder = constrained
    resumed_folder = tmp_path / "again"
    shutil.copytree(folder, resumed_folder)
    newest = max(resumed_folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(newest)
    shutil.rmtree(resumed_folder / "student")
    distill(recipe, shop, resumed_folder, resume=True)
    first, second = weights_of(folder / "student"), weights_of(resumed_folder / "student")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (folder / "safety.json").read_text(encoding="utf-8") == (resumed_folder / "safety.json").read_text(
        encoding="utf-8"
    )
    assert (folder / "metrics.jsonl").read_text(encoding="utf-8") == (resumed_folder / "metrics.jsonl").read_text(
        encoding="utf-8"
    )


def test_a_constraint_gives_in_two_batches_what_it_gives_in_one(world: World, tmp_path: Path) -> None:
    """Windows of unequal length and batches of unequal shares of critical rows: a mean of means would differ."""
    found = []
    for size in (8, 4):
        train = {"batch_size": size, "accumulation": 8 // size, "steps": 5}
        recipe = safe(world, {"enforce": "constraint", "rate": 1.0}, train=train)
        distill(recipe, world.prepared_run(recipe), tmp_path / str(size))
        found.append(weights_of(tmp_path / str(size) / "student"))
    assert max(float((found[0][n] - found[1][n]).abs().max()) for n in found[0]) < 2e-5


def test_a_student_that_is_limited_does_less_of_it_than_one_that_is_not(world: World, tmp_path: Path) -> None:
    free = student_mass_after(world, tmp_path / "free", None)
    limit = free / 10
    target = student_mass_after(world, tmp_path / "target", {"enforce": "target", "limit": limit})
    constrained = student_mass_after(
        world, tmp_path / "constraint", {"enforce": "constraint", "limit": limit, "rate": 0.2}
    )
    assert target < 0.5 * free
    assert constrained < 0.5 * free
    projected = [
        line["safety"]["projected"]
        for line in read_trace(tmp_path / "target" / "metrics.jsonl")
        if line["kind"] == "step"
    ]
    assert sum(projected) > 0


def test_trust_is_kept_on_critical_rows_and_elsewhere_the_scheme_is_as_it_was(world: World) -> None:
    recipe = safe(world, {"trust": "tales > sums", "order_margin": 0.2, "limit": 0.99})
    shop = world.prepared_run(recipe)
    plain, trusting = build_scheme(world.recipe()), build_scheme(recipe)
    rows, source = shop.tables.validation, shop.sources["validation"]
    batch = batch_of(rows, torch.arange(len(rows)), source)
    w, bare = (
        weigh(scheme, collect_features(scheme, batch, None, shop.validation_loss)) for scheme in (trusting, plain)
    )
    critical = (batch.columns["critical"].expand(batch.labels.shape) > 0.5) & batch.mask
    assert trusting.trusted is not None
    assert trusting.trusted.order is not None
    axiom = OrdinalSafety(trusting.trusted.order, 0.2)
    assert float(axiom.residual(w, critical).max()) <= axiom.tolerance(w.dtype, 2)
    assert float(axiom.residual(bare, critical).max()) > 0.1
    assert float(axiom.leak(w, bare, critical)[batch.mask].max()) <= 0
    assert rows.domain[critical.any(-1)].unique().tolist() == [rows.domains.index("tales")]


@pytest.mark.parametrize(
    ("safety", "said"),
    [
        ({"critical": {"domains": ["tails"]}}, "Did you mean 'tales'"),
        ({"critical": {"regex": "no such text"}}, "must hold critical inputs on which something is unsafe; received 0"),
        ({"critical": {"regex": "("}}, "must be a regular expression"),
        ({"unsafe": {"classes": ["ham"]}}, "classes are of examples"),
        ({"unsafe": {}}, "must not be empty"),
        ({"unsafe": {"tokens": ["unicorn and more"]}}, "cuts into several"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(world: World, safety: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        world.prepared_run(safe(world, safety))


def test_a_limit_below_what_uniform_weights_force_names_the_least_relaxation(world: World) -> None:
    recipe = safe(world, {"limit": 1e-9}, scheme={"floor": 0.5, "cap": 1.0})
    with pytest.raises(InfeasibleError, match=r"Raise the limit to [0-9.e-]+"):
        world.prepared_run(recipe)
    found = world.prepared_run(safe(world, {"limit": 1e-9, "enforce": "target"}, scheme={"floor": 0.5, "cap": 1.0}))
    assert found.safety is not None
    assert not found.safety.before["feasible"]


class Biased:
    """Teachers of which the first always says token 65, and the second never."""

    def __init__(self, source: Any, token: int) -> None:
        self.source, self.token = source, token

    def logits(self, index: torch.Tensor) -> list[torch.Tensor]:
        found = [z.float().clone() for z in self.source.logits(index)]
        for z, shift in zip(found, (200.0, -200.0), strict=True):
            z[..., self.token] += shift
        return found


def test_trust_that_measures_contradict_is_reported_or_refused(world: World) -> None:
    """A teacher who always does what is forbidden, trusted above one who never does."""
    one = {"unsafe": {"tokens": [65]}, "trust": "sums > tales", "limit": 0.99}
    recipe = safe(world, one, data={"evaluation_rows": None})
    shop = world.prepared_run(recipe)
    rows, source = shop.tables.validation, shop.sources["validation"]
    apart = replace(rows, document=tuple(map(str, range(len(rows)))))  # type: ignore[type-var]
    assert shop.safety is not None
    plan, said = checked_before(shop.safety, apart, Biased(source, 65), build_scheme(recipe))  # type: ignore[arg-type]
    assert plan.before["measured_order"] == "tales > sums"
    assert plan.before["contradictions"] == [said[0].removeprefix("safety: ")]
    assert said[0].startswith("safety: sums is trusted above tales and measures 1 against")
    assert plan.before["order_fails"] == 1.0
    strict = replace(shop.safety, section=plan.section.model_copy(update={"contradiction": "refuse"}))
    with pytest.raises(InputError, match="Measured: tales > sums"):
        checked_before(strict, apart, Biased(source, 65), build_scheme(recipe))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"pool": "log"}}, "pool linear"),
        ({"loss": {"temperature": 2.0}}, "temperature 1"),
        ({"scheme": {"order": "tales > sums"}, "safety": {"trust": "tales > sums"}}, "must not both"),
        ({"loss": {"label": 1.0}, "safety": {"enforce": "target"}}, "labels are no safe target"),
        ({"safety": {"order_margin": 0.5}}, "needs safety.trust"),
        ({"safety": {"critical": {"domains": None}}}, "must name a column"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(world: World, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_recipe(
            world.content(**{"safety": CATS, **{k: v for k, v in changes.items() if k != "safety"}})
            | {"safety": {**CATS, **changes.get("safety", {})}}
        )


def test_a_multiplier_climbs_by_the_excess_and_its_gradient_is_that_of_the_lagrangian() -> None:
    guard = Guard(Safety(UnsafeClasses([[0]], {0: "ham"}), 0.1, "constraint", rate=0.5))
    labels = torch.zeros(4, 1, dtype=torch.long)
    batch = Batch(labels, (), torch.zeros(4).long(), torch.zeros(4).long(), {})
    marked = guard.mark({"critical": torch.tensor([1, 1, 0, 1])}, batch)
    assert marked.mask.squeeze(-1).tolist() == [True, True, False, True]
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 0.0], [0.0, 0.0]], requires_grad=True)
    assert float(guard.penalty(marked, logits, True).detach()) == 0.0
    mean = float(logits.detach().softmax(-1)[[0, 1, 3], 0].mean())
    guard.after_step()
    assert guard.multiplier == pytest.approx(0.5 * (mean / 0.05 - 1), rel=1e-5)
    loss = guard.penalty(marked, logits, True)
    loss.backward()
    plain = logits.detach().clone().requires_grad_()
    (guard.multiplier * (plain.softmax(-1)[[0, 1, 3], 0].mean() / 0.05 - 1)).backward()
    torch.testing.assert_close(logits.grad, plain.grad)
    guard.aim_below(0.02, 0.05)
    assert guard.aim == pytest.approx(0.07)
    other = Guard(guard.safety)
    other.restore(guard.state())
    for one in (guard, other):
        one.after_step()
    assert guard.multiplier == other.multiplier > 0


def test_a_multiplier_falls_to_zero_where_the_limit_is_kept() -> None:
    guard = Guard(Safety(UnsafeClasses([[0]], {0: "ham"}), 0.9, "constraint", rate=5.0))
    batch = Batch(torch.zeros(1, 1).long(), (), torch.zeros(1).long(), torch.zeros(1).long(), {})
    guard.penalty(guard.mark({"critical": torch.ones(1)}, batch), torch.tensor([[0.0, 3.0]]), True)
    guard.after_step()
    assert guard.multiplier == 0.0


def test_the_audit_of_the_student_alone_asks_no_teacher(
    constrained: tuple[Recipe, PreparedRun, Path], world: World
) -> None:
    recipe, shop, folder = constrained
    student = shop.task.load(recipe, world.folder, folder / "student")
    assert shop.safety is not None
    scheme = build_scheme(recipe)
    alone = measured(shop.safety, shop.tables.validation, None, scheme, torch.zeros(0), student)
    whole = measured(
        shop.safety, shop.tables.validation, shop.sources["validation"], scheme, shop.validation_loss, student
    )
    assert [d.student for d in alone] == [d.student for d in whole]
    assert all(d.teachers == () for d in alone)


def test_a_guard_beside_the_student_keeps_what_is_forbidden_from_being_written(
    constrained: tuple[Recipe, PreparedRun, Path], world: World
) -> None:
    """Without it the teacher, which likes them, writes cats or dogs; with it never, prompts that begin one included."""
    folder = constrained[2]
    guard = load_guard(folder / "student")
    tokenizer = world.tokenizer
    model = load_model(world.folder / "tales")
    texts = ("the ca", "a do", "2+2", "the cat")
    prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
    torch.manual_seed(0)
    drawn = {True: 0, False: 0}
    for guarded in drawn:
        for ids in prompts:
            rows = model.generate(
                ids,
                do_sample=True,
                top_k=0,
                max_new_tokens=12,
                pad_token_id=0,
                num_return_sequences=8,
                logits_processor=[guard] if guarded else [],
            )
            states = guard.unsafe.walk(rows.numpy())
            for row, state in zip(rows.tolist(), states.tolist(), strict=True):
                places = range(ids.shape[1], len(row))
                drawn[guarded] += sum(row[t] in guard.unsafe.members(state[t - 1]).tolist() for t in places)
    assert drawn[False] > 0 == drawn[True]
    with pytest.raises(InputError, match="must hold its guard"):
        load_guard(world.folder / "tales")


def test_a_guard_masks_only_where_its_expression_is_found(world: World) -> None:
    unsafe = UnsafeTokens(world.tokenizer, tokens=[65])
    ids = torch.tensor([world.tokenizer.encode("the"), world.tokenizer.encode("a12")][:1] * 2)
    ids[1] = 70
    found = UnsafeLogits(unsafe, world.tokenizer, "the")(ids, torch.zeros(2, len(world.tokenizer)))
    assert found[:, 65].tolist() == [-torch.inf, 0.0]
    assert int(found.isneginf().sum()) == 1
