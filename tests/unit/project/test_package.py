"""What holds of the package as a whole: a light import, a page for each room, one version, files of readable size."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import FunctionType

import pytest

import trivium
from trivium.aggregation import POOLS
from trivium.weighting import RULES

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "src" / "trivium"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_importing_trivium_pulls_torch_and_nothing_heavier() -> None:
    # torch itself may bring some packages along: what counts is what trivium adds.
    code = "import sys, torch; had = set(sys.modules); import trivium; print(*(set(sys.modules) - had))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = {name.partition(".")[0] for name in done.stdout.split()}
    assert "trivium" in added
    assert added <= {"trivium", "torch", "numpy"} | set(sys.stdlib_module_names)


def test_each_room_has_its_page_in_the_reference() -> None:
    rooms = ["trivium", "errors", "jsontext", *ROOMS]
    named = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [room for room in rooms if not (ROOT / "docs" / "api" / f"{room}.md").is_file()] == []
    assert [room for room in rooms if f"api/{room}.md" not in named] == []


@pytest.mark.parametrize("room", ["trivium", "rules"])
def test_each_public_name_leads_from_its_page_to_where_it_is_explained(room: str) -> None:
    page = (ROOT / "docs" / "api" / f"{room}.md").read_text(encoding="utf-8")
    module = trivium if room == "trivium" else trivium.rules
    for name in module.__all__:
        found = getattr(module, name)
        if isinstance(found, type | FunctionType):
            assert f"[`{name}`][{found.__module__}.{found.__qualname__}]" in page
        else:
            assert f"`{name}`" in page


def test_the_installed_version_is_the_declared_one() -> None:
    declared = PROJECT["version"]
    assert importlib.metadata.version("trivium") == trivium.__version__ == declared
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_folder_of_modules_is_a_package() -> None:
    """One without ``__init__`` imports from the tree and is missing from the wheel."""
    assert [path for path in PACKAGE.rglob("*.py") if not path.with_name("__init__.py").is_file()] == []


def test_annotations_are_announced() -> None:
    assert Path(trivium.__file__).with_name("py.typed").is_file()


def test_a_file_can_be_read_at_one_sitting() -> None:
    files = [path for folder in ("src", "scripts", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {path: count for path, count in lines.items() if count > 420} == {}


def test_every_pin_is_exact_and_names_no_host() -> None:
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line[:1] not in ("", "#")
    ]
    assert all(line.count("==") == 1 and "/" not in line for line in pins)


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    names = {name.split(">")[0].split("[")[0].strip().lower().replace("_", "-") for name in wanted}
    assert names <= pinned


def test_what_the_tests_install_is_light() -> None:
    """Tools that take minutes to install, or need a GPU, serve benchmarks and integrations, not `make test`."""
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["dev"]]
    names = {re.split(r"[\[>=<!~ ;]", line, maxsplit=1)[0].lower().replace("_", "-") for line in wanted}
    assert not names & {"ray", "trl", "triton", "lm-eval", "vllm", "deepspeed"}


#: Of rules the catalogue holds hand-computed cases, which a test asks for each.
def test_every_pool_appears_in_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    named = {name: rf"\b{type(pool).__name__}\b|[\"']{name}[\"']" for name, pool in POOLS.items()}
    assert [name for name, pattern in named.items() if not re.search(pattern, tests)] == []


def test_each_file_of_a_rule_is_in_the_catalogue() -> None:
    files = {f"{path.parent.name}.{path.stem}" for path in (PACKAGE / "weighting").glob("*/[a-z]*.py")}
    assert {f"trivium.weighting.{name}" for name in files} <= {rule.__module__ for rule in RULES.values()}
