"""Every cell of the two tables is attacked if it is claimed and replayed if it is refuted; none is empty."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.aggregation import POOLS
from trivium.aggregation.claims import Broken, Holds, claims
from trivium.aggregation.softening import SOFTENERS, PriorMixing
from trivium.axioms.aggregation import POOL_AXIOMS
from trivium.axioms.softening import SOFTENING_AXIOMS
from trivium.errors import InputError

POOL_TABLE, SOFTENER_TABLE = claims()
SEEDS = st.integers(0, 2**31 - 1)


def cells(table, kind):
    """(row, operator, axiom, cell) of every claimed or refuted cell, with a name for each."""
    found = []
    for row in table.rows:
        for number, (operator, axioms) in enumerate(zip(row.operators, row.axioms, strict=True)):
            for axiom, cell in row.cells.items():
                if isinstance(cell, kind):
                    found.append(pytest.param(operator, axioms[axiom], cell, id=f"{row.name}-{number}-{axiom}"))
    return found


# The tables themselves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "axioms"), [(POOL_TABLE, POOL_AXIOMS), (SOFTENER_TABLE, SOFTENING_AXIOMS)])
def test_no_cell_is_empty(table, axioms):
    assert list(table.statements) == list(axioms)
    for row in table.rows:
        assert set(row.cells) == set(axioms)
        assert all(set(declared) == set(axioms) for declared in row.axioms)
        assert len(row.operators) == len(row.axioms) >= 1
        for cell in row.cells.values():
            assert isinstance(cell, Holds | Broken)
            assert len(cell.reason if isinstance(cell, Holds) else cell.note) > 3


@pytest.mark.parametrize("table", [POOL_TABLE, SOFTENER_TABLE], ids=lambda table: table.title)
def test_rows_are_plain_json_and_their_witnesses_fail_as_well(table):
    rows = json.loads(json.dumps(table.to_json()))
    assert [row["name"] for row in rows] == [row.name for row in table.rows]
    for row, line in zip(table.rows, rows, strict=True):
        assert all(line[key] for key in ("name", "formula", "cost", "source"))
        for axiom, cell in row.cells.items():
            printed = line["cells"][axiom]
            assert (printed["verdict"] == "BROKEN") == isinstance(cell, Broken) == (printed["witness"] is not None)
            assert str(cell).endswith(printed["note"])
            assert str(cell).startswith("broken: " if isinstance(cell, Broken) else f"holds{printed['domain'] and ' '}")
            if isinstance(cell, Broken):
                again = type(cell.witness)(**printed["witness"])
                declared = row.axioms[0][axiom]
                assert again.residual(declared, row.operators[0]) == cell.witness.residual(declared, row.operators[0])


def test_every_operator_has_a_row():
    assert {row.name.split(",")[0] for row in POOL_TABLE.rows} == {*POOLS, "entrywise"}
    assert {row.name for row in SOFTENER_TABLE.rows} == {*SOFTENERS, PriorMixing.name}
    assert POOL_TABLE.row("log").operators[0] is not None
    with pytest.raises(InputError, match="Did you mean 'linear'"):
        POOL_TABLE.row("liner")


def test_the_log_pool_alone_commutes_with_temperature():
    kept = [row.name for row in POOL_TABLE.rows if isinstance(row.cells["A-T(a)"], Holds)]
    assert kept == ["log"]


def test_a_teacher_alone_keeps_an_entry_possible_in_the_pools_without_vetoes():
    log_p = [torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0]).log()]
    for row in POOL_TABLE.rows[:4]:
        for operator in row.operators:
            alive = operator.pool(log_p, torch.tensor([0.5, 0.5]).log())[1].item() > -math.inf
            assert alive == (row.name in ("linear", "power, ρ > 0")), operator.formula


# Refuted --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operator", "axiom", "cell"), cells(POOL_TABLE, Broken) + cells(SOFTENER_TABLE, Broken))
def test_a_witness_fails_and_replays(operator, axiom, cell):
    residual = cell.witness.residual(axiom, operator)
    entries = len(cell.witness.p) if isinstance(cell.witness.p[0], float) else len(cell.witness.p[0])
    assert not axiom.holds(torch.tensor(residual, dtype=torch.float64), entries)
    assert residual > 1e-8
    assert cell.witness.residual(axiom, operator) == residual


def test_the_witness_of_the_linear_pool_is_not_one_of_the_log_pool():
    witness = POOL_TABLE.row("linear").cells["A-T(a)"].witness
    log = POOL_TABLE.row("log")
    assert abs(witness.residual(log.axioms[0]["A-T(a)"], log.operators[0])) < 1e-15


# Claimed: draws -------------------------------------------------------------------------------------------------------


def distributions(rows, vocabulary, scale, domain):
    """log p [rows, V], rounded so that ties occur; with holes, the last entry kept if the domain needs a shared one."""
    logits = (torch.randn(rows, vocabulary, dtype=torch.float64) * scale).round(decimals=1)
    if domain != "positive":
        lost = torch.rand(rows, vocabulary) < 0.4
        spared = vocabulary - 1 if domain == "shared" else torch.randint(vocabulary, (rows,))
        lost[torch.arange(rows), spared] = False
        logits = logits.masked_fill(lost, -math.inf)
    return torch.log_softmax(logits, -1)


def weights(shape, domain):
    scores = torch.randn(*shape, dtype=torch.float64) * 4
    if domain != "positive" and shape[-1] > 1:
        scores[..., int(torch.randint(shape[-1], ()))] = -math.inf
    return torch.log_softmax(scores, -1)


def nearby(log_p, size):
    return torch.log_softmax(log_p + size * torch.randn_like(log_p), -1)


def pool_case(operator, axiom, domain, rows, teachers, vocabulary, scale):
    """Arguments of the axiom's residual, and the largest logarithm on the way."""
    if axiom.id == "A-C" or (domain == "all" and axiom.id == "A-T(b)"):
        domain = "positive"
    shape = (rows, vocabulary, teachers) if operator.name == "entrywise" else (rows, teachers)
    log_p = [distributions(rows, vocabulary, scale, domain) for _ in range(teachers)]
    log_w = weights(shape, domain)
    change, divisor = {}, 1.0
    if axiom.id == "A-M":
        teacher = int(torch.randint(teachers, ()))
        change = {"teacher": teacher, "amount": float(torch.rand(()) ** 2)}
    elif axiom.id in ("A-T(a)", "A-T(b)"):
        change = {"temperature": float(torch.exp(torch.randn(()) * 3))}
        divisor = min(1.0, change["temperature"])
    elif axiom.id in ("A-C", "A-C(0)"):
        size = 10.0 ** -float(torch.randint(8, ()))
        change = {"moved_log_p": [nearby(p, size) for p in log_p], "moved_log_w": nearby(log_w, size)}
        if torch.rand(()) < 0.3:
            change["moved_log_p"] = log_p
        elif torch.rand(()) < 0.3:
            change["moved_log_w"] = log_w
    seen = [x[x.isfinite()].abs().max().item() for x in [*log_p, log_w]]
    return (log_p, log_w), change, max(seen) / divisor


def assert_kept(operator, axiom, cell, arguments, change, scale, vocabulary):
    apply = operator.pool if hasattr(operator, "pool") else operator.soften
    residual = axiom.residual(apply, *arguments, **change)
    assert axiom.holds(residual, vocabulary, scale=16 + 4 * scale).all(), residual.max()


@pytest.mark.parametrize(("operator", "axiom", "cell"), cells(POOL_TABLE, Holds))
@given(
    seed=SEEDS,
    teachers=st.integers(1, 5),
    vocabulary=st.integers(1, 9),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]),
)
def test_a_pool_keeps_what_it_claims(operator, axiom, cell, seed, teachers, vocabulary, scale):
    torch.manual_seed(seed)
    arguments, change, seen = pool_case(operator, axiom, cell.domain, 40, teachers, vocabulary, scale)
    assert_kept(operator, axiom, cell, arguments, change, seen, vocabulary)


MODULI = [
    pytest.param(row.operators[number], axioms[axiom], row.cells[axiom], share, id=f"{row.name}-{number}-{axiom}")
    for row in POOL_TABLE.rows
    for number, axioms in enumerate(row.axioms)
    for axiom, share in (("A-C", 0.8), ("A-C(0)", 0.8 if row.name == "linear" else 0.1))
    # Near ρ = 0 the bound at the boundary is true and useless.
    if isinstance(row.cells[axiom], Holds) and not ("1e-06" in row.operators[number].formula and axiom == "A-C(0)")
]


@pytest.mark.parametrize(("operator", "axiom", "cell", "share"), MODULI)
def test_a_modulus_that_is_too_small_is_found(operator, axiom, cell, share):
    smaller = type(axiom)(lambda *arguments: share * axiom.modulus(*arguments))
    for seed in range(60):
        torch.manual_seed(seed)
        num_teachers, vocabulary, scale = 1 + seed % 4, 1 + seed % 7, (0.0, 0.1, 1.0, 10.0, 100.0)[seed % 5]
        arguments, change, seen = pool_case(operator, smaller, cell.domain, 40, num_teachers, vocabulary, scale)
        residual = smaller.residual(operator.pool, *arguments, **change)
        if not smaller.holds(residual, vocabulary, scale=16 + 4 * seen).all():
            return
    pytest.fail("the draws are too tame to refute it")


@pytest.mark.parametrize(("operator", "axiom", "cell", "share"), MODULI)
def test_a_modulus_vanishes_where_nothing_moves(operator, axiom, cell, share):
    (log_p, log_w), _, _ = pool_case(operator, axiom, cell.domain, 40, 3, 4, 2.0)
    assert (axiom.modulus(log_p, log_w, log_p, log_w) == 0).all()
    sizes = [axiom.modulus(log_p, log_w, [nearby(p, s) for p in log_p], nearby(log_w, s)) for s in (1e-3, 1e-9)]
    assert (sizes[1] < sizes[0]).all()
    # At the boundary a large exponent is continuous, but barely: a weight w counts as w^{1/ρ}.
    assert axiom.id == "A-C(0)" or (sizes[1] < 1e-5).all()


def softening_case(operator, axiom, domain, rows, vocabulary, scale):
    log_p = distributions(rows, vocabulary, scale, domain)
    bounded = math.isfinite(operator.softest)
    draw = (lambda: float(torch.rand(()))) if bounded else (lambda: float(torch.exp(torch.randn(()) * 2)))
    ends = {"F-I": operator.neutral, "F-U": operator.softest, "F-A": operator.sharpest}
    parameter, change = ends.get(axiom.id, draw()), {}
    if axiom.id == "F-E":
        parameter, higher = sorted((draw(), draw() if torch.rand(()) < 0.9 else operator.softest))
        change = {"higher": higher}
    elif axiom.id == "F-C":
        size = 10.0 ** -float(torch.randint(8, ()))
        change = {
            "moved_log_p": nearby(log_p, size),
            "moved_parameter": draw() if torch.rand(()) < 0.5 else parameter,
        }
    divisor = 1.0 if bounded else min(1.0, *[x for x in (parameter, *change.values()) if isinstance(x, float)]) or 1.0
    return (log_p, parameter), change, log_p[log_p.isfinite()].abs().max().item() / divisor


@pytest.mark.parametrize(("operator", "axiom", "cell"), cells(SOFTENER_TABLE, Holds))
@given(seed=SEEDS, vocabulary=st.integers(1, 9), scale=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
def test_a_softener_keeps_what_it_claims(operator, axiom, cell, seed, vocabulary, scale):
    torch.manual_seed(seed)
    vocabulary = len(operator.prior) if operator.name == "prior" else vocabulary
    arguments, change, seen = softening_case(operator, axiom, cell.domain, 40, vocabulary, scale)
    assert_kept(operator, axiom, cell, arguments, change, seen, vocabulary)


# Claimed: a search that climbs the residual ---------------------------------------------------------------------------

CLIMBED = [
    pytest.param(*cell.values, id=cell.id, marks=[pytest.mark.deep] if number % 15 else [])
    for number, cell in enumerate(cells(POOL_TABLE, Holds) + cells(SOFTENER_TABLE, Holds))
]


@pytest.mark.parametrize(("operator", "axiom", "cell"), CLIMBED)
def test_a_climb_does_not_refute_a_claim(operator, axiom, cell):
    """Adam on logits and scores from 200 starts, uphill in the residual, for cells with something to climb."""
    for attempt in range(2):
        torch.manual_seed(attempt)
        softening = hasattr(operator, "soften")
        vocabulary = len(operator.prior) if operator.name == "prior" else 3
        arguments, change, _ = (
            softening_case(operator, axiom, "positive", 200, vocabulary, 2.0)
            if softening
            else pool_case(operator, axiom, "positive", 200, 3, vocabulary, 2.0)
        )
        names = [name for name in ("moved_log_p", "moved_log_w") if name in change]
        start = [arguments[0]] if softening else [*arguments[0], arguments[1]]
        for name in names:
            start += change[name] if isinstance(change[name], list) else [change[name]]
        leaves = [x.detach().clone().requires_grad_() for x in start]

        def evaluate(leaves=leaves, change=change, arguments=arguments, softening=softening, names=names):
            rest = [torch.log_softmax(x, -1) for x in leaves]
            if softening:
                given_, rest = (rest[0], arguments[1]), rest[1:]
            else:
                given_, rest = (rest[:3], rest[3]), rest[4:]
            moved = dict(change)
            for name in names:
                size = len(change[name]) if isinstance(change[name], list) else 0
                moved[name], rest = (rest[:size], rest[size:]) if size else (rest[0], rest[1:])
            apply = operator.soften if softening else operator.pool
            return axiom.residual(apply, *given_, **moved)

        optimizer = torch.optim.Adam(leaves, lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            residual = evaluate()
            if not residual.requires_grad:
                break
            (-residual[residual.isfinite()].sum()).backward()
            for x in leaves:
                if x.grad is not None:
                    x.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimizer.step()
        largest = max(float(torch.log_softmax(x.detach(), -1).abs().max()) for x in leaves)
        hottest = min([1.0, *(v for v in change.values() if isinstance(v, float) and v > 0)])
        assert axiom.holds(evaluate().detach(), vocabulary, scale=16 + 4 * largest / hottest).all()
