"""From finished cells to the numbers that tables quote: means, paired differences, damage, ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.study.arms import Arm, arms
from benchmarks.study.corruption import CONDITIONS, victim_of
from benchmarks.study.harness import Loader
from benchmarks.study.plan import Plan, Shape, block
from benchmarks.study.setting import Setting
from benchmarks.study.statistics import Draws, Ranks, draw, friedman, interval, mean, replicates
from benchmarks.study.store import Store, array

CLAIM = "with a corrupted teacher the conforming scheme loses at most a third of what uniform loses"
CONFORMING, UNIFORM = "three scales, conforming", "uniform"
#: The schemes that the claim is put to by name; of every other arm its verdicts are counted. The first was named before
#: anything was run, the second made and the third picked after a first run had shown that reading labels helps; the
#: fitted ones came when strengths could be fitted.
SCHEMES = (
    CONFORMING,
    "three scales with labels, conforming",
    "nemo_rl, conforming",
    "fitted, conforming",
    "fitted with labels, conforming",
)
#: Metric → what a cell calls it. The loss is nats a label, or bits a byte where the setting is text.
METRICS = {"loss": "nats", "error": "wrong"}
#: What is ranked: all rules on all blocks, on those of one condition, and those rules that see no training label.
PARTS = ("all", *CONDITIONS, "without labels")


@dataclass(frozen=True)
class Table:
    """One setting's finished blocks: values [arms, seeds, units] by (condition, metric)."""

    setting: Setting
    arms: Mapping[str, Arm]
    names: list[str]
    seeds: list[int]
    values: Mapping[tuple[str, str], np.ndarray]
    lines: Mapping[tuple[str, str, int], dict[str, Any]]
    failed: Mapping[str, str]
    drawn: Draws

    @property
    def metrics(self) -> list[str]:
        return ["loss"] if self.setting.metric == "bits" else list(METRICS)

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        split = self.setting.splits["test"]
        return split.size.numpy(), split.stratum.numpy()

    def means(self, condition: str, metric: str) -> np.ndarray:
        """[arms, seeds]."""
        return mean(self.values[condition, metric], *self.units)

    @cached_property
    def draws(self) -> Mapping[tuple[str, str], np.ndarray]:
        """[arms, draws] by (condition, metric), paired over arms, conditions and metrics."""
        return {key: replicates(values, *self.units, self.drawn) for key, values in self.values.items()}


def table_of(shape: Shape, plan: Plan, store: Store, load: Loader) -> Table | None:
    """The seeds whose blocks are finished in both conditions; None without one."""
    lines: dict[tuple[str, str, int], dict[str, Any]] = {}
    seeds = []
    for seed in range(plan.seeds[shape.name]):
        cells = [cell for c in CONDITIONS for cell in block(shape, c, seed, plan.steps[shape.name])]
        if all(cell in store for cell in cells):
            seeds.append(seed)
            lines |= {(cell.condition, cell.arm, seed): store[cell] for cell in cells}
    if not seeds:
        return None
    setting = load(shape.name, "clean", shape.corruption)
    listed = arms(setting)[0]
    failed = {name: line["failed"] for (_, name, _), line in lines.items() if "failed" in line}
    both = [name for name in shape.formulas["clean"] if name in shape.formulas["corrupted"] and name not in failed]
    values = {
        (condition, metric): np.stack(
            [[array(lines[condition, name, seed]["student"][what]) for seed in seeds] for name in both]
        )
        for condition in CONDITIONS
        for metric, what in METRICS.items()
    }
    drawn = draw(setting.splits["test"].stratum.numpy(), len(seeds))
    return Table(setting, listed, both, seeds, values, lines, failed, drawn)


def summary(tables: list[Table], earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything the tables need, plain values.

    Args:
        earlier: a result whose other settings stay as they are. Its means have five digits, which is what they are
            ranked by.
    """
    settings = dict(earlier["settings"]) if earlier else {}
    settings |= {table.setting.name: _setting(table) for table in tables}
    fresh = {table.setting.name for table in tables}
    claims = [_claim(table, metric) for table in tables for metric in table.metrics]
    claims += [claim for claim in (earlier or {}).get("claims", []) if claim["setting"] not in fresh]
    order = list(settings)
    return {
        "claim": CLAIM,
        "settings": settings,
        "claims": sorted(claims, key=lambda claim: order.index(claim["setting"])),
        "ranks": {
            metric: {part: found for part in PARTS if (found := _ranks(settings, metric, part))} for metric in METRICS
        },
    }


def _setting(table: Table) -> dict[str, Any]:
    s = table.setting
    return {
        "title": s.title,
        "unit": "bits per byte" if s.metric == "bits" else "nats a label",
        "teachers": list(s.teacher_names),
        "corruption": s.corruption,
        "corrupted_teacher": s.teacher_names[victim_of(s)],
        "seeds": len(table.seeds),
        "train": len(s.splits["train"]),
        "validation": len(s.splits["validation"]),
        "test": len(s.splits["test"]),
        "units": len(s.splits["test"].size),
        "failed": dict(table.failed),
        "listed": {name: {"kind": arm.kind, "labels": arm.labels} for name, arm in table.arms.items()},
        "arms": {name: _arm(table, row, name) for row, name in enumerate(table.names)},
    }


def _arm(table: Table, row: int, name: str) -> dict[str, Any]:
    arm, base = table.arms[name], table.names.index(UNIFORM)
    ours = table.names.index(CONFORMING)
    found: dict[str, Any] = {"kind": arm.kind, "labels": arm.labels, "formula": arm.scheme.formula()}
    for condition in CONDITIONS:
        part: dict[str, Any] = {}
        for metric in table.metrics:
            means, drawn = table.means(condition, metric), table.draws[condition, metric]
            part[metric] = {
                "mean": means[row].mean(),
                "interval": interval(drawn[row]),
                "seeds": means[row].tolist(),
                "minus_uniform": _difference(means, drawn, row, base),
                "conforming_minus_this": _difference(means, drawn, ours, row),
            }
        part |= _record(table, condition, name)
        found[condition] = part
    found["damage"] = {metric: _damage(table, metric, row) for metric in table.metrics}
    found["third"] = {metric: _third(table, metric, row) for metric in table.metrics}
    return found


def _difference(means: np.ndarray, drawn: np.ndarray, a: int, b: int) -> dict[str, Any]:
    return {"difference": means[a].mean() - means[b].mean(), "interval": interval(drawn[a] - drawn[b])}


def _damage(table: Table, metric: str, row: int) -> dict[str, Any]:
    means = table.means("corrupted", metric) - table.means("clean", metric)
    drawn = table.draws["corrupted", metric] - table.draws["clean", metric]
    return {"mean": means[row].mean(), "interval": interval(drawn[row])}


def _record(table: Table, condition: str, name: str) -> dict[str, Any]:
    lines = [table.lines[condition, name, seed] for seed in table.seeds]
    broken: dict[str, float] = {}
    for line in lines:
        for axiom, residual in line["train"]["broken"].items():
            broken[axiom] = max(broken.get(axiom, 0.0), residual)
    found: dict[str, Any] = {
        "shares": np.mean([line["train"]["shares"] for line in lines], 0).tolist(),
        "undefined": float(np.mean([line["train"]["undefined"] for line in lines])),
        "broken": broken,
    }
    if "mixture" in lines[0]:  # it has no seed; the first cell has it
        found["mixture"] = {
            metric: float(mean(array(lines[0]["mixture"][METRICS[metric]]), *table.units)) for metric in table.metrics
        }
    return found


def _third(table: Table, metric: str, row: int) -> dict[str, Any]:
    """The claim for one arm: D_arm − D_uniform/3 with its paired interval, and what it says."""
    base = table.names.index(UNIFORM)
    means = (table.means("corrupted", metric) - table.means("clean", metric)).mean(-1)
    drawn = table.draws["corrupted", metric] - table.draws["clean", metric]
    excess = interval(drawn[row] - drawn[base] / 3)
    verdict = "holds" if excess[1] <= 0 else "fails" if excess[0] > 0 else "open"
    return {"value": means[row] - means[base] / 3, "interval": excess, "verdict": verdict}


def _claim(table: Table, metric: str) -> dict[str, Any]:
    """The claim in one setting by one metric, for the schemes that are named."""
    uniform = _damage(table, metric, table.names.index(UNIFORM))
    schemes = {
        name: {"damage": _damage(table, metric, row), "third": _third(table, metric, row)}
        for row, name in enumerate(table.names)
        if name in SCHEMES
    }
    return {
        "setting": table.setting.name,
        "metric": metric,
        "uniform": uniform,
        "harmless": uniform["interval"][0] <= 0,  # then there is nothing that a scheme could save
        "schemes": schemes,
    }


def _ranks(settings: Mapping[str, Any], metric: str, part: str) -> dict[str, Any]:
    """Ranks of the arms that all settings share and that know nothing a rule may not; a failed arm comes last."""
    used = [about for about in settings.values() if any(metric in arm["clean"] for arm in about["arms"].values())]
    if not used:
        return {}
    conditions = (part,) if part in CONDITIONS else CONDITIONS
    common = [
        name
        for name, arm in used[0].get("listed", used[0]["arms"]).items()
        if arm["kind"] != "reference"
        and not (arm["labels"] and part == "without labels")
        and all(name in about["arms"] or name in about["failed"] for about in used)
    ]
    if len(common) < 2:
        return {}
    blocks, by_setting = [], []
    for about in used:
        for condition in conditions:
            last = np.full(about["seeds"], np.inf)
            rows = np.stack(
                [
                    np.array(about["arms"][name][condition][metric]["seeds"]) if name in about["arms"] else last
                    for name in common
                ]
            )
            blocks += list(rows.T)
            by_setting.append(rows.mean(-1))
    fine, coarse = friedman(np.stack(blocks)), friedman(np.stack(by_setting))
    return {"arms": common, "seeds_as_blocks": _plain(fine), "settings_as_blocks": _plain(coarse)}


def _plain(ranks: Ranks) -> dict[str, Any]:
    return ranks._asdict()
