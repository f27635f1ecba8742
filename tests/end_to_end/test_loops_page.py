"""The page about loops, done: its diffs are those of the examples, and its programs run on their models.

That the loops before and after the diffs run, and what they compute, is tested beside the distiller.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/loops.md")}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["plain_loop.diff", "trainer.diff"])
def test_the_diffs_are_those_of_the_examples(page: str, name: str) -> None:
    quoted = re.findall(r"```diff.*?\n(.*?)```", PAGES[page], re.DOTALL)
    assert (EXAMPLES / name).read_text(encoding="utf-8") in quoted


def test_the_programs_of_the_page_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGES["docs/loops.md"], re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    path = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\{'code': 0\.\d+, 'prose': 0\.\d+, 'cpp': 0\.\d+\}", done.stdout)
    assert "W-B PROVED" in done.stdout
    assert (tmp_path / "certificate.json").is_file()
