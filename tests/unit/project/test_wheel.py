"""The wheel holds everything that the tree does, and works where there is no tree.

Every other test runs the package from its sources, where no file can be forgotten.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[3]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build writes beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", ".", "-w", "dist", cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def run(*command: str, cwd: Path, **environment: str) -> str:
    # Coverage would count the installed copy beside the tree.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        command, cwd=cwd, env={**unmeasured, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "src" / "trivium"
    files = {
        str(Path("trivium") / path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = {name.partition("/")[2]: name for name in names if ".dist-info/" in name}
        metadata = archive.read(about["METADATA"]).decode()
        commands = archive.read(about["entry_points.txt"]).decode()
    assert names - set(about.values()) == files
    assert "licenses/LICENSE" in about
    assert "trivium = trivium.cli:main" in commands
    assert (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[2] in metadata


def test_it_works_where_there_is_no_tree(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    run(*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=tmp_path)
    shutil.copy(ROOT / "examples" / "own_rule" / "my_rule.py", tmp_path)

    def trivium(*arguments: str) -> str:
        code = "import trivium.cli; print(trivium.__file__); trivium.cli.main()"
        return run(sys.executable, "-c", code, *arguments, cwd=tmp_path, PYTHONPATH=str(target), COLUMNS="120")

    told = trivium("certify", "my_rule.py:by_entropy", "--teachers", "3", "--floor", "0.01", "--seconds", "1")
    assert told.startswith(str(target))
    assert "1 PROVED, 3 VERIFIED" in told
    assert "W-B      PROVED" in trivium("rules", "entropy")
    recipe = trivium("recipe")
    assert "scheme:" in recipe
