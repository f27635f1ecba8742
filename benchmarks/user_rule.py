"""Does a user's rule cost at most 1.1 times as much as a graph as it did as written, in a step of the demo's size?

Two measurements, each with arms that take turns in one process on one thread, CPU time, ratios of medians with a paired
bootstrap: a call of the rule on 2,048 rows, and a whole optimizer step (student, features, weights, loss, backward,
AdamW) whose scheme holds the README's rule ``by_entropy`` beside the prefix posterior. Arms: the rule as its captured
graph under ``vmap``, and the same function as it is written, on the batch. Before anything is timed the weights of both
are compared.

    python benchmarks/user_rule.py            # writes benchmarks/results/user_rule.json
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.monitor import TEACHERS, make_batch, make_student, ratio, spread
from trivium.jsontext import write_json
from trivium.scheme import compose
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, MonitorSection
from trivium.training.step import distillation_step
from trivium.weighting import PrefixPosterior, UserRule, rule

HERE = Path(__file__).resolve().parent
LIMIT = 1.1


def by_entropy(entropy: Tensor) -> Tensor:
    """The README's rule."""
    return 0.85 * torch.softmax(-entropy, dim=-1) + 0.05


class AsWritten(UserRule):
    """The same rule without its graph."""

    def _outputs(self, features: Any) -> tuple[Tensor, Tensor]:
        return self._logged(self.as_written(features))


def turns(arms: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each arm, a round each in turn, after two calls that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 2):
        for name in list(arms)[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            arms[name]()
            if turn >= 2:
                times[name].append(time.process_time() - started)
    return times


def told(times: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "ms": {name: spread(seconds, 1e3) for name, seconds in times.items()},
        "graph_to_written": ratio(times["graph"], times["written"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "user_rule.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph = rule("token", ["entropy"])(by_entropy)
    written = AsWritten(by_entropy, graph.scale, graph.features, graph.name)
    rows = {"entropy": 12 * torch.rand(8, 256, 3)}
    with torch.no_grad():
        difference = float((graph.weights(rows) - written.weights(rows)).abs().max())
    rules: dict[str, UserRule] = {"graph": graph, "written": written}
    calls = {name: lambda r=r: [r.log_weights(rows) for _ in range(20)] for name, r in rules.items()}
    result: dict[str, Any] = {
        "claim": f"a step with a user's rule as a graph takes at most {LIMIT} times one with the rule as written",
        "limit": LIMIT,
        "largest_difference_of_weights": difference,
        "twenty_calls_of_2048_rows": told(turns(calls, options.rounds)),
        "step": told(turns(steps(rules), options.rounds)),
        "setting": {
            "vocabulary": 1024,
            "positions": 8 * 255,
            "student": "llama, 2 layers, hidden 128, tied head, float32",
            "threads": 1,
            "rounds": options.rounds,
            "spread": "median, 5 % and 95 % quantiles over rounds; 95 % paired bootstrap of the ratio of medians",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        },
    }
    write_json(options.output, result)
    for name in ("twenty_calls_of_2048_rows", "step"):
        found = result[name]["graph_to_written"]
        print(f"{name}: graph / written {found['ratio']:.3f} {found['interval']}")
    print(f"weights differ by {difference:.3g}; written to {options.output}")


def steps(rules: dict[str, UserRule]) -> dict[str, Callable[[], None]]:
    """One optimizer step of the demo's shape (8 rows of 256 tokens, 1,024 entries) for each rule."""
    text, batch = make_batch(8, 255, 1024)
    validation_loss = torch.tensor([[3.9, 6.1, 3.7], [3.8, 3.7, 4.7]])

    def make(user: UserRule) -> Callable[[], None]:
        scheme = compose(TEACHERS, token=[user], context=[PrefixPosterior(budget=3.0)], floor=0.001)
        student = make_student(1024, 256)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
        monitor = Monitor(MonitoredBounds.of(scheme, MonitorSection()), "raise")

        def step() -> None:
            output = distillation_step(
                student(input_ids=text).logits, batch, scheme, LossSection(), validation_loss, monitor
            )
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return {name: make(user) for name, user in rules.items()}


if __name__ == "__main__":
    main()
