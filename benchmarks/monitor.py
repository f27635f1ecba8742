"""Does watching the axioms cost at most 2 % of a training step at V = 32000?

Whole optimizer steps (student forward, features, weights, streamed loss, backward, AdamW) of a two-layer llama with a
tied head against three given teachers, in one process on one thread: without a monitor, with every axiom watched and
every share recorded, and with a monitor that repairs every batch. The three take turns in every round, so that what
else runs on the machine meets all of them; CPU time stands beside wall time for the same reason.

Two answers: the ratio of a monitored to an unmonitored step, and the time that ``Monitor.watch`` and ``Shares.add``
take inside the monitored steps. The second is the sharper: the first compares two noisy numbers that nearly agree.

    python benchmarks/monitor.py            # writes benchmarks/results/monitor.json
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.axioms import AXIOMS
from trivium.data.rows import IGNORE
from trivium.jsontext import write_json
from trivium.scheme import Scheme, compose
from trivium.training.collect import Batch
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, MonitorSection
from trivium.training.shares import Shares
from trivium.training.step import distillation_step
from trivium.weighting import Entropy, PrefixPosterior, Skill, Static

HERE = Path(__file__).resolve().parent
TEACHERS = ("a", "b", "c")
LIMIT = 0.02
#: What the repairing monitor asks for; the scheme promises less, so every batch breaks it.
REPAIR = MonitorSection(on_violation="repair", floor=0.2, cap=0.5, order="c > b > a")
CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
#: (steps, rows, tokens a row): B·T of 256 and 1024, and the cheapest step there is, of which any cost is the most.
CASES = (("full", 2, 128), ("full", 4, 256), ("cheapest", 2, 128))
Times = dict[str, dict[str, list[float]]]  # seconds: part of a step → clock → rounds


class Blind(Monitor):
    """No monitor: the weights as they come."""

    def watch(self, log_weights: Tensor, mask: Tensor, teacher_mask: Tensor | None = None) -> Tensor:
        return log_weights


class Stopwatch:
    """Adds up the seconds between entering and leaving, on every clock."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(CLOCKS, 0.0)

    def __enter__(self) -> None:
        self.started = {name: clock() for name, clock in CLOCKS.items()}

    def __exit__(self, *_: object) -> None:
        for name, clock in CLOCKS.items():
            self.seconds[name] += clock() - self.started[name]

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            with self:
                return function(*arguments)

        return timed


def make_scheme(steps: str) -> tuple[Scheme, LossSection]:
    """With floor, cap and safety order, so that every axiom is watched that can be. ``full``: all three scales.
    ``cheapest``: weights that read nothing and a log pool, so that the teachers' logits are read once."""
    bounds: dict[str, Any] = {"floor": 0.01, "cap": 0.9, "order": "a > b > c", "order_margin": 0.05}
    if steps == "cheapest":
        return compose(TEACHERS, task=[Static((3.0, 2.0, 1.0))], **bounds), LossSection(pool="log")
    scheme = compose(
        TEACHERS,
        token=[Entropy(strength=0.5)],
        task=[Skill()],
        context=[PrefixPosterior()],
        budget={"token": 1.5, "task": 1.5, "context": 4.0},
        **bounds,
    )
    return scheme, LossSection(temperature=2.0)


def make_batch(rows: int, tokens: int, vocabulary: int) -> tuple[Tensor, Batch]:
    """Random text and random teachers, one sharper than the other; the last position of a row predicts nothing."""
    text = torch.randint(vocabulary, (rows, tokens + 1))
    labels = text[:, 1:].clone()
    labels[:, -1] = IGNORE
    logits = [sharpness * torch.randn(rows, tokens, vocabulary) for sharpness in (1.0, 2.0, 3.0)]
    domain = torch.arange(rows) % 2
    return text[:, :-1], Batch(labels, logits, domain, domain, {})


def make_student(vocabulary: int, tokens: int) -> Any:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=tokens,
        tie_word_embeddings=True,
    )
    return AutoModelForCausalLM.from_config(config).train()


def measure(steps: str, rows: int, tokens: int, vocabulary: int, rounds: int) -> dict[str, Any]:
    """Everything about one kind of step and one shape of batch."""
    torch.manual_seed(0)
    scheme, loss = make_scheme(steps)
    text, batch = make_batch(rows, tokens, vocabulary)
    student = make_student(vocabulary, tokens)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    validation_loss = torch.tensor([[3.9, 6.1, 3.7], [3.8, 3.7, 4.7]])
    watched, repaired = MonitoredBounds.of(scheme, MonitorSection()), MonitoredBounds.of(scheme, REPAIR)
    arms: dict[str, Monitor] = {
        "unmonitored": Blind(watched, "raise"),
        "monitored": Monitor(watched, "raise"),
        "repairing": Monitor(repaired, "repair"),
    }
    shares = Shares(scheme)

    def step(arm: str) -> dict[str, Stopwatch]:
        parts = {name: Stopwatch() for name in ("step", "watch", "shares")}
        monitor = arms[arm]
        original = monitor.watch
        monitor.watch = parts["watch"].timing(original)  # type: ignore[method-assign]
        with parts["step"]:
            logits = student(input_ids=text).logits
            output = distillation_step(logits, batch, scheme, loss, validation_loss, monitor)
            if arm != "unmonitored":
                parts["shares"].timing(shares.add)(output, batch.mask)
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        del monitor.watch
        return parts

    for name in arms:  # first calls allocate and load kernels
        step(name)
        arms[name].take_violations()
    times: dict[str, Times] = {name: defaultdict(lambda: defaultdict(list)) for name in arms}
    order = list(arms)
    for turn in range(rounds):
        order = order[1:] + order[:1]
        for name in order if turn % 2 else order[::-1]:
            for part, stopwatch in step(name).items():
                for clock, seconds in stopwatch.seconds.items():
                    times[name][part][clock].append(seconds)
            # A check of what is measured: nothing to repair in one arm, every batch in the other.
            assert bool(arms[name].take_violations()) == (name == "repairing"), name
    assert set(arms["monitored"].take_worst()) == {"W-N", "W-P", "W-B", "W-S"}
    return {
        "steps": steps,
        "scheme": str(scheme).splitlines(),
        "pool": loss.pool,
        "rows": rows,
        "tokens_a_row": tokens,
        "positions": rows * tokens,
        "step_ms": {name: {c: spread(t["step"][c], 1e3) for c in CLOCKS} for name, t in times.items()},
        "ratio_to_unmonitored": {
            name: {c: ratio(times[name]["step"][c], times["unmonitored"]["step"][c]) for c in CLOCKS}
            for name in ("monitored", "repairing")
        },
        "inside": {name: inside(times[name]) for name in ("monitored", "repairing")},
    }


def inside(times: Times) -> dict[str, Any]:
    """What the parts took inside the steps: milliseconds, and the share of the step they stood in."""
    parts = {"watch": ("watch",), "shares": ("shares",), "both": ("watch", "shares")}
    found: dict[str, Any] = {}
    for name, members in parts.items():
        found[name] = {}
        for clock in CLOCKS:
            spent = torch.tensor([times[member][clock] for member in members], dtype=torch.float64).sum(0)
            share = spent / torch.tensor(times["step"][clock], dtype=torch.float64)
            found[name][clock] = {"ms": spread(spent.tolist(), 1e3), "share": spread(share.tolist())}
    return found


def spread(values: list[float], unit: float = 1.0) -> dict[str, float]:
    """Median and the 5 and 95 % quantiles over rounds."""
    quantiles = (
        torch.tensor(values, dtype=torch.float64)
        .mul(unit)
        .quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
    )
    low, middle, high = quantiles.tolist()
    return {"median": middle, "low": low, "high": high}


def ratio(above: list[float], below: list[float], draws: int = 4000) -> dict[str, Any]:
    """The ratio of medians, with a 95 % percentile bootstrap over rounds, paired."""
    pair = torch.tensor([above, below], dtype=torch.float64)
    picks = torch.randint(len(above), (draws, len(above)), generator=torch.Generator().manual_seed(0))
    # ``quantile`` averages the two middle values, ``median`` takes the lower one.
    medians = pair[:, picks].quantile(0.5, dim=-1)
    interval = (medians[0] / medians[1]).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    middle = pair.quantile(0.5, dim=-1)
    return {"ratio": float(middle[0] / middle[1]), "interval": interval.tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "monitor.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [measure(*case, options.vocabulary, options.rounds) for case in CASES]
    result = {
        "claim": f"the monitor costs at most {LIMIT:.0%} of a training step",
        "limit": LIMIT,
        "setting": {
            "vocabulary": options.vocabulary,
            "teachers": len(TEACHERS),
            "student": "llama, 2 layers, hidden 128, tied head, float32",
            "axioms": {name: AXIOMS[name].name for name in ("W-N", "W-P", "W-B", "W-S")},
            "repair": "floor 0.2, cap 0.5 and an order against the scheme's: every batch is projected",
            "rounds": options.rounds,
            "threads": torch.get_num_threads(),
            "load": "other processes share the machine: CPU time of this process beside wall time, arms in turn",
            "spread": "median, 5 % and 95 % quantiles over rounds",
            "interval": "95 % percentile bootstrap over rounds, paired, of the ratio of medians",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        },
        "cases": cases,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, _short(result))
    for case in cases:
        print(f"{case['steps']} steps, {case['positions']} positions, CPU time")
        for name in ("monitored", "repairing"):
            found, part = case["ratio_to_unmonitored"][name]["cpu"], case["inside"][name]
            low, high = found["interval"]
            print(f"  {name:>10}: ratio {found['ratio']:.4f} [{low:.4f}, {high:.4f}]")
            for what in ("watch", "shares", "both"):
                ms, share = part[what]["cpu"]["ms"]["median"], part[what]["cpu"]["share"]
                print(f"  {what:>10}: {ms:.2f} ms, {share['median']:.2%} [{share['low']:.2%}, {share['high']:.2%}]")
    print(f"written to {options.output}")


def _short(value: object) -> object:
    """Four significant digits are more than the spread bears."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
