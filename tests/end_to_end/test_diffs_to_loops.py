"""The changes to a loop of one's own, as the first page shows them: applied to the loops, and both run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from reference.distilled import answers, dense
from tiers import first

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEACHERS = ("code", "prose", "cpp")


def patched(name: str) -> str:
    """A script with its diff applied; every line that the diff names must stand where it says."""
    before = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    found, place = [], 0
    for line in (EXAMPLES / f"{name}.diff").read_text(encoding="utf-8").splitlines()[2:]:
        if head := re.match(r"@@ -(\d+)(?:,(\d+))?", line):
            begin = int(head[1]) - (head[2] != "0")  # after a line where nothing is removed, at it otherwise
            found += before[place:begin]
            place = begin
        elif line.startswith("+"):
            found.append(line[1:])
        else:
            assert before[place] == line[1:]
            found += [line[1:]] if line[0] == " " else []
            place += 1
    return "\n".join([*found, *before[place:], ""])


def run(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "small_models", raising=False)  # fresh models each time
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "loop.py", "exec"), names)
    sys.modules.pop("small_models")
    return names


@pytest.mark.parametrize("name", first(["plain_loop", "trainer"]))
def test_a_diff_of_at_most_fifteen_lines_makes_a_loop_distil(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len((EXAMPLES / f"{name}.diff").read_text(encoding="utf-8").splitlines()) <= 15
    plain = run((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"), tmp_path, monkeypatch)
    names = run(patched(name), tmp_path, monkeypatch)
    student, distiller = names["student"], names["distiller"]
    states = [names["student"].state_dict(), plain["student"].state_dict()]
    assert any(not torch.equal(value, states[1][key]) for key, value in states[0].items())
    record = distiller.record()
    assert sum(record["share"]["all"].values()) == pytest.approx(1.0, abs=1e-5)
    # What the loop trained on is the dense sum of float64 numbers, here of the trained student at rest.
    rows = names["data"] if name == "trainer" else names["loader"].dataset
    batch = {key: torch.stack([row[key] for row in rows[:8]]) for key in rows[0]}
    logits = student.eval()(**batch).logits
    known = answers({teacher: names[teacher] for teacher in TEACHERS}, batch)
    expected = dense(logits, known, batch["labels"], strength=1.0, budget=4.0, floor=0.01)
    assert distiller(logits, batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_patch_program_reads_the_diffs_too(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("patch") is None:
        pytest.skip("no program of that name here")
    for name in ("plain_loop", "trainer"):
        shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
        with (EXAMPLES / f"{name}.diff").open(encoding="utf-8") as diff:
            subprocess.run(["patch", "-p0", "-s"], stdin=diff, cwd=tmp_path, check=True)
        assert (tmp_path / f"{name}.py").read_text(encoding="utf-8") == patched(name)
