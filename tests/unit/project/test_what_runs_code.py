"""SECURITY.md, held to: only a file that is named runs, and nothing that is read is unpickled as code.

Another test reads models and checkpoints for what they say; these read ones that were made to do harm.
"""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_world import World
from trivium.errors import InputError
from trivium.teachers.huggingface import load_model

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted((ROOT / "src" / "trivium").rglob("*.py"))
#: What a call must say for nothing of a file to run; None: must not be called at all.
SAFE: dict[str, tuple[str, object] | None] = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "from_pretrained": ("trust_remote_code", False),
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "eval": None,
    "exec": None,
}
UNPICKLERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def unsafe(source: str) -> list[str]:
    """The calls and imports of a module by which reading a file could run it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [name for name in names if name.partition(".")[0] in UNPICKLERS]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called if called in SAFE else called.rpartition(".")[2] if "from_pretrained" in called else ""
        if name in SAFE:
            wanted = SAFE[name]
            given = {word.arg: word.value for word in node.keywords}
            value = given.get(wanted[0]) if wanted else None
            if wanted is None or not (isinstance(value, ast.Constant) and value.value is wanted[1]):
                found.append(ast.unparse(node))
    return found


def test_no_module_reads_a_file_by_running_it() -> None:
    found = {path.name: unsafe(path.read_text(encoding="utf-8")) for path in MODULES}
    assert {name: calls for name, calls in found.items() if calls} == {}
    assert len(MODULES) > 100


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "AutoModel.from_pretrained(f)",
        "made.from_pretrained(f, trust_remote_code=trust)",
        "yaml.load(f, Loader)",
        "import pickle",
        "from joblib import load",
        "eval('1')",
    ],
)
def test_a_module_that_did_would_be_found(source: str) -> None:
    assert unsafe(source)


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.mark, "ran")


def poison(file: Path, mark: Path) -> None:
    torch.save({"state": Trap(mark)}, file)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_a_models_own_code_is_refused_without_asking(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(world.folder / "sums", folder)
    code = f"from pathlib import Path\nPath({str(mark)!r}).write_text('ran')\n"
    (folder / "mine.py").write_text(code, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked whether to run the code"))
    with pytest.raises(InputError, match="must hold a model"):
        load_model(folder)
    assert not mark.exists()


def test_pickled_weights_are_not_run(world: World, tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(world.folder / "sums", folder)
    (folder / "model.safetensors").unlink()
    poison(folder / "pytorch_model.bin", mark)
    with pytest.raises(InputError, match="must hold a model"):
        load_model(folder)
    assert not mark.exists()


def test_a_checkpoint_is_not_run(world: World, tmp_path: Path) -> None:
    from trivium.training.run import distill

    recipe, run, mark = world.recipe(train={"steps": 4}), tmp_path / "run", tmp_path / "mark"
    prepared_run = world.prepared_run(recipe)
    distill(recipe, prepared_run, run)
    files = sorted(file for file in run.rglob("*") if file.suffix in (".pt", ".pth"))
    assert {file.name for file in files} >= {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    for file in files:
        whole = file.read_bytes()
        poison(file, mark)
        with pytest.raises(Exception, match=r"(?i)weights.?only|as it was written"):
            distill(recipe, prepared_run, run, resume=True)
        assert not mark.exists()
        file.write_bytes(whole)


RULE = """\
import torch
import trivium as tv


@tv.rule(scale="token", features={{"entropy": (0.0, 12.0)}})
def mine(entropy):
    return torch.softmax(-0.1 * entropy, dim=-1)
{}"""


@pytest.mark.parametrize("command", ["verify", "replay"])
@pytest.mark.parametrize("target", ["mine.py:mine", "recipe.yaml"])
def test_a_rule_that_changed_since_it_was_certified_does_not_run(
    command: str, target: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trivium.cli import work

    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(RULE.format(""), encoding="utf-8")
    recipe = world.content(scheme={"token": [{"rule": "mine.py:mine"}], "budget": None, "floor": 0.0, "cap": 1.0})
    Path("recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    asked = {
        "num_teachers": None if target == "recipe.yaml" else 2,
        "names": None,
        "floor": None,
        "cap": None,
        "order_margin": 0.0,
    }
    asked |= {"influence": None, "lipschitz": None, "pareto": False}
    order = "sums > tales" if target == "recipe.yaml" else "a > b"
    certificate = work.certified(target, {}, {**asked, "order": order}, None, 0.1, 0)
    Path("c.json").write_text(json.dumps(certificate), encoding="utf-8")

    code = "\nfrom pathlib import Path\nPath('mark').write_text('ran')\n"
    Path("mine.py").write_text(RULE.format(code), encoding="utf-8")
    if command == "verify":
        assert "mine.py has changed since it was certified" in work.verified("c.json", 0.1, None)["refusals"][0]
    else:
        with pytest.raises(InputError, match=r"mine\.py has changed since it was certified"):
            work.replayed("c.json")
    assert not Path("mark").exists()
