"""How long does a fit take once the teachers were read, and how does its memory grow?

Fits 100,000 tokens of eight teachers with eight features (penalty and budget chosen, curves, intervals, gains on
held-out documents), and bounds their headroom; then less, each in a process of its own, for the growth of its memory.
Wall-clock seconds are of the machine as it was; CPU seconds are what the fit itself took.

    python benchmarks/fit_speed.py            # writes benchmarks/results/fit_speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch

from trivium.fitting import Family, Observations, fit, headroom, weighed
from trivium.jsontext import json_text, write_json

HERE = Path(__file__).resolve().parent
TOKEN = ("entropy", "max_prob", "margin", "disagreement")
CONTEXT = ("recent_log_prob_50", "recent_log_prob_90", "recent_log_prob_97", "prefix_log_prob")
TEACHERS, SIZES = 8, (25_000, 50_000, 100_000)


def made(tokens: int, seed: int) -> Observations:
    """Documents of 300 tokens in three domains; each has a teacher that is best at it, as its evidence tells."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    document = torch.arange(tokens) // 300
    domain = document % 3
    knows = torch.nn.functional.one_hot(document % TEACHERS, TEACHERS).double()
    log_p = (-2.5 - normal(tokens, TEACHERS).abs() + 1.2 * knows).clamp_max(-0.01)
    features = {name: torch.rand(tokens, TEACHERS, generator=draw, dtype=torch.float64) for name in TOKEN}
    features["entropy"] = (3 - 0.4 * log_p + 0.5 * normal(tokens, TEACHERS)).clamp(0, 12)
    features |= {name: (-20 + 2 * knows + 2 * normal(tokens, TEACHERS)).clamp_max(0) for name in CONTEXT}
    names = tuple(f"t{k}" for k in range(TEACHERS))
    task = (domain > 0).long()
    return Observations(log_p, features, document, domain, task, names, ("a", "b", "c"), ("x", "y"))


def once(tokens: int) -> dict[str, float]:
    """One fit and its headroom, in this process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data, judged = made(tokens, 0), made(tokens // 4, 1)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = fit(Family(TOKEN, CONTEXT, True, 4.0, floor=0.001), data, judged, limit=8.0)
    fitted = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    bounds = headroom(data, {"fitted": weighed(found.scheme, data)})
    return {
        "tokens": tokens,
        "fit_seconds": fitted["wall"],
        "fit_cpu_seconds": fitted["cpu"],
        "headroom_seconds": time.perf_counter() - wall,
        "headroom_cpu_seconds": time.process_time() - cpu,
        "worst_gap": max(bound.duality_gap for bound in bounds.bounds.values()),
        "data_megabytes": (held - before) / 1024,
        "more_megabytes": (peak - held) / 1024,
        "gain": found.gains["all"].mean,
    }


def held(runs: list[dict[str, float]]) -> bool:
    """Whether the largest was quick enough, and twice the tokens never took more than twice the memory."""
    linear = all(after["more_megabytes"] <= 2 * before["more_megabytes"] for before, after in pairwise(runs))
    return linear and runs[-1]["fit_cpu_seconds"] < 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, help="run this size alone, and print it")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "fit_speed.json")
    options = parser.parse_args()
    if options.tokens:
        print(json_text(once(options.tokens)))
        return
    runs = []
    for tokens in SIZES:
        command = [sys.executable, __file__, "--tokens", str(tokens)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(runs[-1], flush=True)
    result = {
        "claim": "100,000 tokens of 8 teachers with 8 features are fitted in under 20 seconds of one core, and memory "
        "grows with tokens times teachers",
        "held": held(runs),
        "runs": [{name: float(f"{value:.4g}") for name, value in run.items()} for run in runs],
        "setting": {
            "teachers": TEACHERS,
            "features": len(TOKEN) + len(CONTEXT),
            "threads": 1,
            "load_average": [round(number, 1) for number in os.getloadavg()],
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
