"""The lines of docs/language_models.md: those that need no other library are run here, the others are well formed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.agents.run import HERE, PAGES, Block, blocks
from tests.helpers.paths import ROOT

BLOCKS = [block for page in PAGES if page.name == "language_models.md" for block in blocks(page.read_text())]
HERE_TOO = [block for block in BLOCKS if block.group == "text"]


@pytest.mark.parametrize("block", HERE_TOO, ids=lambda block: f"{block.title}, {block.language}")
def test_the_lines_run(block: Block, tmp_path: Path) -> None:
    program = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euc"]
    folder = Path(sys.executable).parent
    environment = {**os.environ, "LOGS": str(tmp_path / "logs"), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*program, block.source], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if block.language == "bash":
        assert len((tmp_path / "logs.jsonl").read_text().splitlines()) == 1000


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.title}, {block.language}")
def test_every_group_has_its_requirements_and_its_lines_are_python(block: Block) -> None:
    assert (HERE / f"{block.group}.txt").is_file()
    if block.language == "python":
        compile(block.source, block.title, "exec")


def test_there_are_lines_for_every_adapter() -> None:
    adapters = {path.stem for path in (ROOT / "envs" / "adapters").glob("*.py")} - {"__init__"}
    assert adapters <= {block.group for block in BLOCKS}
