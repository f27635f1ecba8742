"""What ``docs/contributing.md`` says is done to a copy of the tree, and the new rule is there, certified and tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")


def apply(hunk: str, path: Path) -> None:
    """Replace what stands before the change (context and -) by what stands after it (context and +)."""
    lines = hunk.splitlines()
    before = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
    after = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{before!r} must stand once in {path.name}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # Coverage of the copy would count every file of the package twice.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.slow
def test_the_page_adds_a_rule_in_three_files(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    for part in ("src", "tests", "scripts", "docs", "benchmarks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".cache"))
    for name in ("pyproject.toml", "README.md", "constraints.txt", "mkdocs.yml"):
        shutil.copy(ROOT / name, copy / name)
    blocks = BLOCK.findall(PAGE)
    assert len({path for _, path, _ in blocks}) == 3, "a rule touches three files"
    for kind, path, content in blocks:
        if kind == "python":
            (copy / path).write_text(content, encoding="utf-8")
        else:
            apply(content, copy / path)

    asked = run(copy, "scripts/rules_page.py", "--row", "peak")
    assert asked.returncode == 0, asked.stderr
    assert "W-B PROVED" in asked.stderr

    printed = run(copy, "-c", "from trivium.cli import main; main()", "rules", "peak")
    assert printed.returncode == 0, printed.stderr
    assert "softmax(1·max_prob)" in printed.stdout
    assert printed.stdout.count("PROVED") == 5

    tested = run(
        copy,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--doctest-modules"),
        *("src/trivium/weighting/token/peak.py", "tests/unit/catalogue", "tests/unit/project/test_package.py"),
        *("tests/unit/testing/test_catalogue_conformance.py", "tests/unit/weighting/test_score_rules.py"),
        "tests/end_to_end/test_readme.py::test_tables_come_from_the_benchmark_files",
        *(
            "-k",
            "peak or rule_of or every or left_out or record or page or keys or max_prob or by_its_own_name or tables",
        ),
    )
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", tested.stdout).group(1)) > 20  # type: ignore[union-attr]

    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *(path for _, path, _ in blocks)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout
