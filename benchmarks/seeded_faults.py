"""Do the tests notice? Fifty faults, each put into a copy of ``src`` by itself, and the first test that fails.

``python -m benchmarks.seeded_faults`` runs, for each fault of :mod:`benchmarks.faults`, the tests that the table names
for it: those of ``make test``, and where none of them fails, those of ``make test-deep``. Results go to
``benchmarks/results/seeded_faults.json``, fault by fault, and what is there is not run again.

``--column before --tree FOLDER`` does the same in another checkout, into another column of the table; a test of the
first column's that is there too is tried first. ``--only NAME`` runs one fault, again.

A fault is a small, plausible mistake: a sign, a bound that is off by one, a clamp or a check that is missing, a wrong
tolerance, a part left out of an identity.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "seeded_faults.json"
#: Seconds a file of tests may take; what has not failed then has not noticed.
LIMIT = 900
#: A failure is enough: no smaller example of it is looked for.
PLUGIN = """
from hypothesis import HealthCheck, Phase, settings
settings.register_profile(
    "faults", derandomize=True, deadline=None, database=None, max_examples=50,
    suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.generate],
)
"""


def planted(fault: Fault, source: Path) -> tuple[Path, str]:
    """The fault's file, or where its room has the text if the file is called otherwise in that tree, and its text with
    the fault in it; raises ValueError where the text does not stand there once."""
    path = source / "trivium" / fault.file
    room = source / "trivium" / fault.file.partition("/")[0]
    for file in [path] if path.exists() else sorted(room.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if text.count(fault.old) == 1:
            return file, text.replace(fault.old, fault.new)
    raise ValueError(f"{fault.name!r}: {fault.old!r} must stand once in {fault.file}")


def run(tree: Path, source: Path, test: str, mark: str) -> tuple[str | None, float]:
    """What fails first of a file, folder or name with the package from ``source``, or None, and processor seconds."""
    if not (tree / test.partition("::")[0]).exists():
        return None, 0.0
    environment = {
        **os.environ,
        "PYTHONPATH": f"{source}{os.pathsep}{source.parent}",
        "HYPOTHESIS_PROFILE": "faults",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = ["-x", "-q", "-p", "faults_plugin", "-p", "no:cacheprovider", "--tb=no", "-m", mark]
    command = [sys.executable, "-m", "pytest", test, *options]
    begun = os.times()
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None, float(LIMIT)
    now = os.times()
    seconds = now.children_user + now.children_system - begun.children_user - begun.children_system
    if done.returncode in (0, 4, 5):  # all passed; a test that this tree lacks; none with the mark
        return None, seconds
    if done.returncode < 0:
        raise SystemExit(f"the tests were ended from outside, by signal {-done.returncode}")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return (failed[1] if failed else done.stdout.strip().splitlines()[-1][:200]), seconds


def judged(fault: Fault, tree: Path, known: str | None) -> dict[str, Any]:
    """The tier and the test that notices, in a tree."""
    named = [f"tests/{test}" for test in fault.tests]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(tree / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        (source.parent / "faults_plugin.py").write_text(PLUGIN, encoding="utf-8")
        file, text = planted(fault, source)
        file.write_text(text, encoding="utf-8")
        spent = 0.0
        first = [] if known is None else [("test", known, "not deep"), ("deep", known, "deep")]
        tiers = [(tier, test, mark) for tier, mark in (("test", "not deep"), ("deep", "deep")) for test in named]
        for tier, test, mark in [*first, *tiers]:
            noticed, seconds = run(tree, source, test, mark)
            spent += seconds
            if noticed is not None:
                return {"tier": tier, "test": noticed, "seconds": round(spent, 1)}
    return {"tier": None, "test": None, "seconds": round(spent, 1)}


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many faults each column notices, by tier; ``missed``: by all tests that the table names."""
    found: dict[str, dict[str, int]] = {}
    for column in ("before", "now"):
        judgements = [row[column] for row in rows.values() if column in row]
        tiers = [judgement["tier"] for judgement in judgements]
        found[column] = {"faults": len(tiers), "test": tiers.count("test"), "deep": tiers.count("deep")}
        found[column]["missed"] = tiers.count(None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--column", choices=["before", "now"], default="now")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--only", default=None, help="the name of a fault, or a part of it")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    if RESULTS.exists():
        rows = {row["name"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))["faults"]}
    for number, fault in enumerate(FAULTS, 1):
        row = rows.setdefault(fault.name, {"name": fault.name, "file": fault.file})
        again = arguments.only is not None and arguments.only in fault.name
        if not again and (arguments.only is not None or arguments.column in row):
            continue
        known = (row.get("now") or {}).get("test") if arguments.column == "before" else None
        known = known if known is not None and known.startswith("tests/") else None
        begun = time.monotonic()
        row[arguments.column] = judged(fault, arguments.tree.resolve(), known)
        print(
            f"{number}/{len(FAULTS)} {fault.name}: {row[arguments.column]} ({time.monotonic() - begun:.0f} s)",
            flush=True,
        )
        listed = [rows[name] for name in (fault.name for fault in FAULTS) if name in rows]
        content = {"summary": summary(rows), "faults": [row for row in listed if len(row) > 2]}
        RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")  # noqa: TID251


if __name__ == "__main__":
    main()
