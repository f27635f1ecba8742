"""Paired bootstrap: identical runs differ by exactly nothing, closed cases come out, intervals cover."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trivium.data.rows import Rows
from trivium.errors import InputError
from trivium.training.compare import Replicates, bootstrap, comparison

LN2 = math.log(2)


def make_rows(documents: list[tuple[int, str, int]], domains: tuple[str, ...] = ("x", "y")) -> Rows:
    """Rows of (domain, document, bytes)."""
    count = len(documents)
    return Rows(
        input_ids=torch.zeros(count, 1, dtype=torch.long),
        labels=torch.zeros(count, 1, dtype=torch.long),
        bytes=torch.tensor([size for _, _, size in documents]),
        domain=torch.tensor([domain for domain, _, _ in documents]),
        task=torch.tensor([domain for domain, _, _ in documents]),
        document=tuple(name for _, name, _ in documents),
        domains=domains,
        tasks=domains,
    )


def many(documents: int) -> Rows:
    return make_rows([(d, f"{n}", 10 + n % 3) for d in (0, 1) for n in range(documents) for _ in range(2)])


def nll(rows: Rows) -> Tensor:
    return torch.rand(len(rows), dtype=torch.float64) * 20


def test_estimates_are_means_over_domains_of_summed_nats_over_summed_bytes() -> None:
    rows = make_rows([(0, "a", 4), (0, "a", 6), (0, "b", 10), (1, "c", 5)])
    values = torch.tensor([1.0, 2.0, 3.0, 10.0], dtype=torch.float64)
    found = bootstrap({"run": values}, rows, draws=50)
    assert found.domains["run"] == pytest.approx({"x": 6 / 20 / LN2, "y": 10 / 5 / LN2})
    assert found.estimates["run"] == pytest.approx((6 / 20 + 2) / 2 / LN2)


def test_two_documents_give_the_closed_distribution() -> None:
    """Documents with 0 and 1 bits a byte: the mean of two draws is 0, ½ or 1 with probability ¼, ½, ¼."""
    rows = make_rows([(0, "a", 8), (0, "b", 8)], ("x",))
    found = bootstrap({"run": torch.tensor([0.0, 8 * LN2], dtype=torch.float64)}, rows)
    values = found.values["run"]
    for point, probability in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
        share = float(((values - point).abs() < 1e-9).double().mean())
        assert share == pytest.approx(probability, abs=0.03)  # over 4 standard errors of 4,000 draws
    assert found.interval("run") == pytest.approx([0.0, 1.0])
    assert found.estimates["run"] == pytest.approx(0.5)


def test_rows_of_one_document_are_drawn_together() -> None:
    """All rows in one document a domain: nothing to resample, so no spread."""
    rows = make_rows([(0, "a", 5), (0, "a", 7), (1, "a", 3), (1, "a", 9)])
    found = bootstrap({"run": nll(rows)}, rows, draws=200)
    low, high = found.interval("run")
    assert low == pytest.approx(high)
    assert low == pytest.approx(found.estimates["run"])


def test_identical_runs_differ_by_exactly_zero() -> None:
    rows = many(9)
    values = nll(rows)
    found = bootstrap({"a": values, "b": values.clone()}, rows, draws=300)
    assert found.difference("a", "b") == {"a": "a", "b": "b", "difference": 0.0, "interval": [0.0, 0.0]}


def test_draws_are_paired() -> None:
    """A constant offset a byte cancels in every draw, however wide each run's own interval is."""
    rows = many(9)
    values = nll(rows)
    found = bootstrap({"a": values + 0.25 * LN2 * rows.bytes, "b": values}, rows, draws=300)
    difference = found.difference("a", "b")
    assert difference["difference"] == pytest.approx(0.25)
    assert difference["interval"] == pytest.approx([0.25, 0.25])
    low, high = found.interval("a")
    assert high - low > 0.05
    swapped = found.difference("b", "a")
    assert swapped["difference"] == pytest.approx(-0.25)


def test_the_same_seed_gives_the_same_draws() -> None:
    rows = many(5)
    values = nll(rows)
    first, second = (bootstrap({"a": values}, rows, draws=100) for _ in range(2))
    other = bootstrap({"a": values}, rows, draws=100, seed=1)
    assert torch.equal(first.values["a"], second.values["a"])
    assert not torch.equal(first.values["a"], other.values["a"])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rows = make_rows([(0, f"{n}", 10) for n in range(40)], ("x",))
    generator = torch.Generator().manual_seed(3)
    hits, trials = 0, 200
    for _ in range(trials):
        values = 5.0 + torch.randn(40, dtype=torch.float64, generator=generator)
        low, high = bootstrap({"a": values}, rows, draws=400).interval("a")
        hits += low <= 5.0 / 10 / LN2 <= high
    assert 0.88 <= hits / trials <= 0.99  # nominal 0.95, less for a percentile interval of 40


def test_seeds_are_resampled_with_the_documents() -> None:
    rows = make_rows([(0, "a", 8)], ("x",))
    two_seeds = torch.tensor([[0.0], [8 * LN2]], dtype=torch.float64)
    found = bootstrap({"a": two_seeds, "b": two_seeds + 8 * LN2}, rows)
    assert found.estimates["a"] == pytest.approx(0.5)
    assert found.interval("a") == pytest.approx([0.0, 1.0])
    assert found.difference("b", "a")["interval"] == pytest.approx([1.0, 1.0])  # the same seeds in both


def test_runs_that_cannot_be_paired_are_refused() -> None:
    rows = many(3)
    values = nll(rows)
    with pytest.raises(InputError, match="must share seeds and rows"):
        bootstrap({"a": values, "b": torch.stack([values, values])}, rows)
    with pytest.raises(InputError, match="must be one a row"):
        bootstrap({"a": values[:-1]}, rows)


def test_a_comparison_has_the_shape_that_the_report_reads() -> None:
    rows = many(4)
    runs = {"full": nll(rows), "uniform": nll(rows)}
    content = comparison(
        {"mixture": runs, "student": {"full": runs["full"]}},
        rows,
        {"full": "full scheme", "uniform": "uniform weights"},
        [("full", "uniform")],
        "a note",
    )
    assert content["unit"] == "bits per byte"
    assert content["domains"] == ["x", "y"]
    assert content["note"] == "a note A domain has 4 documents only, so intervals are too narrow."
    assert [(row["name"], row["what"], row["label"]) for row in content["rows"]] == [
        ("full", "mixture", "full scheme"),
        ("uniform", "mixture", "uniform weights"),
        ("full", "student", "full scheme"),
    ]
    for row in content["rows"]:
        assert row["mean"] == pytest.approx(sum(row["bits_per_byte"].values()) / 2)
        assert row["interval"][0] <= row["mean"] <= row["interval"][1]
    (difference,) = content["differences"]  # the student of `uniform` is missing
    assert (difference["what"], difference["a"], difference["b"]) == ("mixture", "full", "uniform")
    assert difference["difference"] == pytest.approx(content["rows"][0]["mean"] - content["rows"][1]["mean"])


def test_an_interval_is_95_percent() -> None:
    values = torch.arange(1001, dtype=torch.float64) / 1000
    assert Replicates({"a": values}, {"a": 0.5}, {}).interval("a") == pytest.approx([0.025, 0.975])
