"""Do fitted strengths predict better than those set by hand? The demo's own teachers, no student.

Fits the demo's scheme to its validation text and measures the mixtures (linear pool) of uniform weights, the hand-set
full scheme, the oracle that is told the domain, and the fitted scheme on test text that was never fitted, in one run.

    python benchmarks/fitted_mixture.py            # writes benchmarks/results/fitted_mixture.json
    python benchmarks/fitted_mixture.py --ship     # and the fitted recipe that `trivium demo` runs, with its fit.json
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.resources import files
from pathlib import Path

import torch

from trivium.certification import certify
from trivium.cli.progress import shown
from trivium.cli.subject import of_recipe
from trivium.jsontext import write_json
from trivium.training.arms import baselines
from trivium.training.build import build_scheme
from trivium.training.compare import bootstrap
from trivium.training.evaluate import mixture_nats
from trivium.training.fitting import fit_recipe, headroom_of
from trivium.training.recipe import load_recipe
from trivium.training.run import prepare

HERE = Path(__file__).resolve().parent
DEMO = Path(str(files("trivium"))) / "assets" / "first_light" / "recipe.yaml"
HEAD = "# Written by benchmarks/fitted_mixture.py --ship, as by `trivium fit recipe.yaml`; fit.json is its record.\n"
PAIRS = [("fitted", "full"), ("fitted", "oracle"), ("fitted", "uniform"), ("full", "uniform")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE / ".cache" / "fitted_mixture")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "fitted_mixture.json")
    parser.add_argument("--ship", action="store_true", help="write what the demo runs: fitted.yaml and fit.json")
    options = parser.parse_args()
    full = load_recipe(DEMO)
    with shown() as progress:
        prepared_run = prepare(full, Path(), options.folder / "cache", progress, cached=("validation", "test"))
    start, spent = time.perf_counter(), time.process_time()
    found = fit_recipe(full, prepared_run)
    if options.ship:
        shipped = found.recipe.model_copy(update={"name": "fitted"})
        (DEMO.parent / "fitted.yaml").write_text(HEAD + shipped.to_yaml(), encoding="utf-8")
        write_json(DEMO.parent / "fit.json", found.to_data() | {"unit": "nats a token"})
    seconds = {"wall": time.perf_counter() - start, "cpu": time.process_time() - spent}
    start = time.perf_counter()
    headroom, _ = headroom_of(full, prepared_run)
    seconds["headroom"] = time.perf_counter() - start
    base = baselines(full, prepared_run.validation_loss)
    arms = {"uniform": base["uniform"], "oracle": base["oracle"], "full": full, "fitted": found.recipe}
    rows, source = prepared_run.held_out
    losses = prepared_run.validation_loss
    nll = {name: mixture_nats(build_scheme(recipe), source, rows, losses).unsqueeze(0) for name, recipe in arms.items()}
    replicates = bootstrap(nll, rows)
    subject = of_recipe(found.recipe, Path())
    specification = subject.claims(len(subject.teacher_names), subject.teacher_names)
    certificate = certify(subject.operator, specification, seconds=3.0, source=subject.source, name=subject.name)
    result = {
        "claim": "the fitted mixture is at least .03 bits a byte below the hand-set full scheme, and below the oracle",
        "unit": "held-out bits per byte of the mixture, mean of domains",
        "mixture": {
            name: {
                "mean": replicates.estimates[name],
                "interval": replicates.interval(name),
                "domains": replicates.domains[name],
            }
            for name in arms
        },
        "differences": [replicates.difference(a, b) for a, b in PAIRS],
        "scheme": found.recipe.scheme.model_dump(exclude_defaults=True),
        "fit": found.fitted.to_data(),
        "headroom": headroom.to_data(),
        "certificate": {result.axiom: result.verdict for result in certificate.results},
        "setting": {
            "seconds_after_reading": seconds,
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "interval": "95 % percentile bootstrap over documents, paired",
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, short(result))
    for row in result["differences"]:
        low, high = row["interval"]
        print(f"{row['a']} − {row['b']:<8} {row['difference']:+.4f} [{low:+.4f}, {high:+.4f}] bits a byte")
    print(headroom.advice)
    print(f"written to {options.output}")


def short(value: object) -> object:
    """Six significant digits are more than the intervals bear."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
