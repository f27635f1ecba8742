"""Every examined theorem comes out as stated, and an examination that goes wrong is seen to."""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from by_path import load
from reference.projection import nearest_conforming, objective
from trivium.cli import app
from trivium.errors import InputError
from trivium.simplex import ConformingSet, Order, hilbert
from trivium.simplex.projection import conforming_projection
from trivium.theory import (
    THEOREMS,
    Rate,
    Report,
    convergence,
    counterexamples,
    examine,
    existence,
    implications,
    independence,
    influence_on_compact,
    product,
    projection,
    smt,
)
from trivium.theory import order as order_module
from trivium.theory.solved import CASES, SolvedProjection

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {report.theorem: report for report in examine()}


@pytest.mark.parametrize("theorem", THEOREMS)
def test_it_comes_out_as_stated(reports: dict[str, Report], theorem: str) -> None:
    report = reports[theorem]
    assert [row.claim for row in report.rows if not row.holds] == []
    assert report.holds
    assert report.theorem == theorem


@pytest.mark.parametrize("theorem", ["T0", "T1", "T2", "T3", "T4", "T5", "T12"])
def test_what_can_be_put_to_the_solver_is_proved(reports: dict[str, Report], theorem: str) -> None:
    assert "PROVED" in {row.word for row in reports[theorem].rows}


@pytest.mark.parametrize("theorem", ["T3", "T4", "T5", "T6"])
def test_constants_are_attained_by_an_instance(reports: dict[str, Report], theorem: str) -> None:
    assert "ATTAINED" in {row.word for row in reports[theorem].rows}


def test_the_numbers_that_the_framework_states(reports: dict[str, Report]) -> None:
    numbers = {key: row.numbers for report in reports.values() for row in report.rows for key in [row.claim]}
    assert numbers["Floor and cap of the scales hold for their product"]["max"] == pytest.approx(0.996, abs=5e-4)
    assert numbers["Clipping to [a, b] and renormalizing keeps W-B"]["clipped"] == pytest.approx(0.714, abs=5e-4)
    assert numbers["Gradient descent and SGD reach KL = 0"]["kl"] == pytest.approx(0.131, abs=5e-4)
    lost = numbers["If one of two scales respects the order 0>1>2, so does their product"]
    assert [lost[f"w{k}"] for k in range(3)] == [0.3125, 0.5625, 0.125]


# The solver --------------------------------------------------------------------------------------------------------


def test_an_implication_that_fails_or_is_vacuous_is_not_proved() -> None:
    x = smt.solver().Real("x")
    assert smt.implies([x > 1], x * x > x)
    assert not smt.implies([x > 0], x * x > x)
    assert not smt.implies([x > 1, x < 0], x * x > x)


@pytest.mark.parametrize("num_teachers", smt.TEACHERS)
def test_weaker_premises_do_not_prove_the_cap(num_teachers: int) -> None:
    """The cap of T0 with one floor too few: the harness has to notice."""
    premises, conclusion = implications._floor_caps(num_teachers)
    assert smt.implies(premises, conclusion)
    assert not smt.implies(premises[:-2] + premises[-1:], conclusion)


def test_a_margin_that_is_too_small_is_not_proved() -> None:
    premises, conclusion = order_module._margin()
    assert smt.implies(premises, conclusion)
    assert not smt.implies(premises[:-1], conclusion)


def test_a_failed_proof_fails_its_row_and_report() -> None:
    x = smt.solver().Real("x")
    once = smt.proved_once("x² > x", ([x > 0], x * x > x), "SMT")
    each = smt.proved("K > 2", (2, 3), lambda k: ([x == k], x > 2))
    assert (once.holds, each.holds) == (False, False)
    assert each.seen == "not proved for K = 2"
    assert not Report("T0", "", (once,)).holds


def test_without_the_solver_the_error_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name == "z3":
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'trivium\[theory\]'"):
        smt.solver()


@pytest.mark.parametrize(("slopes", "least"), [((1.0, 1.0), 1.0), ((0.0, 3.0), 0.75), ((3.0, -1.0), 0.0)])
def test_the_exact_linear_program(slopes: tuple[float, float], least: float) -> None:
    def simplex(z: Any) -> Iterator[Any]:
        yield z[0] + z[1] == 1
        yield smt.solver().And(z[0] >= 0.25, z[1] >= 0.25)

    assert smt.least_linear(slopes, simplex) == least


def test_a_linear_program_without_a_minimum() -> None:
    assert smt.least_linear((1.0,), lambda z: [z[0] <= 0]) == -math.inf
    assert smt.least_linear((1.0,), lambda z: [z[0] <= 0, z[0] >= 1]) == -math.inf


# T0, T1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("witness", independence.WITNESSES, ids=lambda witness: witness.breaks)
def test_a_witness_breaks_its_axiom_alone(witness: independence.IndependenceWitness) -> None:
    found = independence.residuals(witness.operator, witness.high)
    assert [axiom for axiom, residual in found.items() if residual > 0] == [witness.breaks]
    assert set(found) == {"W-F", "W-N", "W-B", "W-R", "W-S"}


def test_a_witness_that_breaks_two_axioms_is_no_witness() -> None:
    both = independence.IndependenceWitness("W-N", "", lambda x: independence._anti_ordered(x) - 0.1)
    row = independence._row(both)
    assert not row.holds
    assert row.seen == "breaks W-N, W-S"


def test_influence_on_a_compact_set_refuses_what_is_not_a_bound() -> None:
    assert influence_on_compact(0.5, 2.0, 3.0) == 6.5
    for wrong in ((-1.0, 1.0, 1.0), (0.0, math.inf, 1.0), (0.0, 1.0, math.nan)):
        with pytest.raises(InputError):
            influence_on_compact(*wrong)


def test_advice_that_is_not_the_least_relaxation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert existence._relaxed(existence._EMPTY[0]).holds
    monkeypatch.setattr(existence, "advice_of", lambda build: "lower it to 0.3" if _empty(build) else "")
    assert not existence._relaxed(existence._EMPTY[0]).holds


def _empty(build: Any) -> bool:
    try:
        build()
    except InputError:
        return True
    return False


# T2, T6 ------------------------------------------------------------------------------------------------------------


def test_the_rational_product_is_the_float_one() -> None:
    for u, v, _ in product._triples():
        exact = [float(w) for w in product.compose(u, v)]
        logs = [torch.tensor([float(x) for x in row], dtype=torch.float64).log() for row in (u, v)]
        assert torch.log_softmax(logs[0] + logs[1], dim=-1).exp().tolist() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.w))
def test_the_stored_solutions_are_those_of_the_solver(case: SolvedProjection) -> None:
    solved = nearest_conforming(case.w, case.floor, case.cap, case.tiers, case.order_margin)
    assert solved.tolist() == pytest.approx(case.solution, abs=1e-5)
    ours = conforming_projection(torch.tensor(case.w, dtype=torch.float64).log(), case.conforming_set).exp().numpy()
    assert objective(ours, case.w) <= objective(solved, case.w) + 1e-8


@pytest.mark.parametrize("order", [None, Order(((0,), (1, 2)))])
def test_the_optimality_gap_sees_a_point_that_is_not_optimal(
    order: Order | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    conforming_set = ConformingSet(3, 0.1, 0.6, order)
    log_w = torch.tensor([0.05, 0.85, 0.1], dtype=torch.float64).log()
    assert abs(projection.excess_bound(log_w, conforming_set)) < 1e-12
    monkeypatch.setattr(projection, "conforming_projection", lambda w, c: c.element())
    assert projection.excess_bound(log_w, conforming_set) > 0.01


def test_random_sets_have_elements_and_every_kind_of_constraint() -> None:
    sets = [conforming_set for _, conforming_set in projection.cases(60)]
    assert {s.num_teachers for s in sets} == {2, 3, 4, 5, 6}
    assert any(s.order is None for s in sets)
    assert any(s.order_margin > 0 for s in sets)
    assert any(s.order is not None and any(len(tier) > 1 for tier in s.order.tiers) for s in sets)


def test_clip_and_renormalize_is_no_projection() -> None:
    log_w = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64).log()
    clipped = projection.clip_and_renormalize(log_w, 0.1, 0.5)
    assert clipped.exp().max().item() == pytest.approx(5 / 7)
    assert hilbert(clipped, conforming_projection(log_w, ConformingSet(3, 0.1, 0.5))) > 0.5


# T12, T14 ----------------------------------------------------------------------------------------------------------


def test_the_rate_starts_at_one_over_l_and_covers_the_first_excess() -> None:
    rate = Rate(smooth=8.0, pl=0.5, noise=0.25, excess=100.0)
    assert rate.step(0) == pytest.approx(1 / 8)
    assert rate.bound(0) >= 100.0
    assert rate.bound(10**6) < 1e-2 * rate.bound(0)


@pytest.mark.parametrize(
    "wrong",
    [{"smooth": 0.0}, {"pl": 2.0}, {"pl": 0.0}, {"noise": -1.0}, {"excess": math.inf}],
    ids=lambda wrong: str(wrong),
)
def test_a_rate_refuses_constants_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Rate(**{"smooth": 1.0, "pl": 0.5, "noise": 0.1, "excess": 1.0, **wrong})


def test_the_recursion_of_t12_stays_below_the_bound() -> None:
    """The recursion itself, with equality, over many constants: independent of the solver's proof."""
    for smooth, pl, noise, excess in ((1.0, 1.0, 0.0, 5.0), (8.0, 0.1, 1.0, 3.0), (2.0, 2.0, 9.0, 0.0)):
        rate, value = Rate(smooth, pl, noise, excess), excess
        for t in range(2000):
            assert value <= rate.bound(t) * (1 + 1e-12)
            step = rate.step(t)
            value = (1 - pl * step) * value + smooth * step**2 * noise / 2


def test_the_derivative_is_that_of_the_objective() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    convergence.objective(x).sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, convergence.slope(x.detach()))


def test_kl_of_a_student_by_its_definition() -> None:
    theta = torch.tensor([-1.5, 0.0, 0.7], dtype=torch.float64)
    for student in (counterexamples.FLAT, counterexamples.TRAP):
        p, q = torch.sigmoid(student.logit(theta)).tolist(), student.target
        expected = [q * math.log(q / x) + (1 - q) * math.log((1 - q) / (1 - x)) for x in p]
        assert student.kl(theta).tolist() == pytest.approx(expected)


def test_a_run_is_repeated_by_its_seed_and_matches_a_plain_loop() -> None:
    runs = [
        counterexamples.descend(counterexamples.TRAP, [0.2], 50, lambda step: 0.1, sampled=4, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert torch.equal(runs[0].theta, runs[1].theta)
    assert not torch.equal(runs[0].theta, runs[2].theta)
    exact = counterexamples.descend(counterexamples.TRAP, [0.2], 50, lambda step: 0.1)
    theta = 0.2
    for _ in range(50):
        p = 1 / (1 + math.exp(-0.4 * (theta**3 - 3 * theta)))
        theta -= 0.1 * (p - 0.9) * 1.2 * (theta**2 - 1)
    assert exact.theta[-1].item() == pytest.approx(theta, rel=1e-9)
    assert exact.steps[0] == 0
    assert exact.steps[-1] == 50
    assert len(exact.steps) == len(exact.theta) == len(exact.kl)


def test_a_start_outside_the_basin_leaves_it() -> None:
    """The trap is a basin, not the whole line."""
    path = counterexamples.descend(counterexamples.TRAP, [1.5], 2000, lambda step: 0.1)
    assert path.kl[-1].item() < 1e-6


# The page and the command ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load("scripts/theory_page.py")


def test_the_page_is_fresh(script: ModuleType, reports: dict[str, Report]) -> None:
    committed = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    assert script.same(committed, script.page(list(reports.values()))), "run `python scripts/theory_page.py`"


def test_a_changed_claim_or_number_is_not_the_same_page(script: ModuleType) -> None:
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    assert script.same(page, page)
    assert not script.same(page, page.replace("PROVED", "CHECKED", 1))
    assert not script.same(page, page.replace("0.131", "0.231", 1))
    assert not script.same(page, page.replace("0.714", "0.5", 1))


def test_the_command_prints_and_writes_the_same_rows(tmp_path: Path, reports: dict[str, Report]) -> None:
    file = tmp_path / "deep" / "theory.json"
    result = CliRunner().invoke(app, ["theory", "T5", "T14", "--json", str(file)], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["holds"] is True
    assert [report["theorem"] for report in written["reports"]] == ["T5", "T14"]
    for theorem in ("T5", "T14"):
        for row in reports[theorem].rows:
            assert row.claim in result.stdout
            assert row.seen in result.stdout
    assert written["reports"][1]["curves"][0]["y"][0] == pytest.approx(0.131, abs=5e-4)


def test_the_command_says_what_is_not_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterexamples.FLAT.__class__, "kl", lambda self, theta: (theta - 0.3) ** 2)
    result = CliRunner().invoke(app, ["theory", "T14"])
    assert result.exit_code == 1
    assert "NOT AS STATED" in result.stdout
    assert "NOT as stated: T14" in result.stdout


def test_an_unknown_theorem_is_one_line() -> None:
    result = CliRunner().invoke(app, ["theory", "T99"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(InputError, match="T99"):
        examine(["T99"])
