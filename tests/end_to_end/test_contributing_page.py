"""What ``docs/contributing.md`` says is done to a copy of the tree: a new rule and a new wrapper are there, certified
and tested."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.deep

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
RULE, WRAPPER = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8").split("\n# A wrapper of your own\n")
RECIPE = """
student: {model: student}
teachers: [{name: code, model: code}, {name: prose, model: prose}, {name: law, model: law}]
data: {domains: [{name: mixed, train: train.txt, validation: validation.txt}]}
scheme: {token: [{rule: entropy, temper: 3.0, budget: 2.5}, {rule: margin, temper: 0.5}], floor: 0.01}
"""


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


def performed(page: str, copy: Path) -> list[str]:
    """The files that a part of the page touches, in a copy of the tree where it was performed."""
    for part in ("src", "tests", "scripts", "docs", "benchmarks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".cache"))
    for name in ("pyproject.toml", "README.md", "constraints.txt", "mkdocs.yml"):
        shutil.copy(ROOT / name, copy / name)
    blocks = BLOCK.findall(page)
    for kind, path, content in blocks:
        if kind == "python":
            (copy / path).write_text(content, encoding="utf-8")
        else:
            apply(content, copy / path)
    touched = list(dict.fromkeys(path for _, path, _ in blocks))
    for command in (("check",), ("format", "--check")):
        linted = run(copy, "-m", "ruff", *command, *touched)
        assert linted.returncode == 0, linted.stdout
    return touched


def trivium(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(copy, "-c", "from trivium.cli import main; main()", *arguments)


def test_the_page_adds_a_rule_in_three_files(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    assert len(performed(RULE, copy)) == 3

    asked = run(copy, "scripts/rules_page.py", "--row", "peak")
    assert asked.returncode == 0, asked.stderr
    assert "W-B PROVED" in asked.stderr

    printed = trivium(copy, "rules", "peak")
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


def test_the_page_adds_a_wrapper_in_two_files(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    file, registry = performed(WRAPPER, copy)
    assert (file, registry) == ("src/trivium/scheme/temper.py", "src/trivium/scheme/__init__.py")

    (copy / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert "temper: null  # temperature τ of its weights: w^(1/τ)" in trivium(copy, "recipe").stdout
    certified = trivium(copy, "certify", "recipe.yaml", "--seconds", "0.3", "--json", "certificate.json")
    assert certified.returncode == 0, certified.stdout + certified.stderr
    assert "limit([2] | β ≤ 2.5)" in certified.stdout
    assert "T2: influence is divided: 12/3 = 4 nats" in certified.stdout
    certificate = json.loads((copy / "certificate.json").read_text(encoding="utf-8"))
    assert {result["verdict"] for result in certificate["results"]} == {"PROVED"}
    assert "limit(temper(softmax(−1·entropy) | τ = 3) | β ≤ 2.5)" in certificate["formula"]
    verified = trivium(copy, "verify", "certificate.json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (copy / "wrong.yaml").write_text(RECIPE.replace("temper: 0.5", "temper: 0"), encoding="utf-8")
    wrong = trivium(copy, "certify", "wrong.yaml")
    assert wrong.returncode == 2
    assert "'scheme.token.1.temper': Input should be greater than 0" in wrong.stderr

    tested = run(
        copy,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--doctest-modules", file),
        *("tests/unit/scheme/test_earlier_certificates.py", "tests/unit/training/test_training_recipe.py"),
        *("tests/unit/certification/test_calculus.py", "tests/unit/project/test_arguments_of_any_kind.py"),
        *("-k", "temper or Temper or certified_recipe or template or digest or exceeds or normalized"),
    )
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", tested.stdout).group(1)) > 8  # type: ignore[union-attr]

    # Constants that say too much are found by the search, and the certificate from before is refused.
    code = (copy / file).read_text(encoding="utf-8")
    assert code.count("lower_log(part.log_ratio / self.tau)") == 1
    (copy / file).write_text(
        code.replace("part.log_ratio / self.tau", "part.log_ratio / self.tau / 2"), encoding="utf-8"
    )
    found = trivium(copy, "certify", "recipe.yaml", "--seconds", "0.3", "--influence", "3.3")
    assert found.returncode == 1, found.stdout
    assert "constants.influence" in found.stdout
    refused = trivium(copy, "verify", "certificate.json")
    assert refused.returncode == 1
    assert "derivation is not as certified" in refused.stdout + refused.stderr
