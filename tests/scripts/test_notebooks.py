"""The notebooks run in a fresh kernel, and are committed with what they showed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 100_000


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: Any) -> list[set[str]]:
    """The kinds of output of each cell, such as text or a picture. Figures and words may differ from run to run."""
    return [{output.output_type for output in cell.outputs} for cell in code_cells(notebook)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_executed_in_order(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not any("error" in kinds for kinds in shown(notebook))


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["any_agent", "ask_and_look_inside", "own_task"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Any]:
    """All notebooks, run side by side: each kernel is a process with one thread.

    They run in a folder of their own, because a notebook needs no file of the checkout but the package.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    notebooks = {path: read(path) for path in NOTEBOOKS}
    for notebook in notebooks.values():
        for cell in code_cells(notebook):
            cell.outputs = []

    async def run_all() -> None:
        resources = {"metadata": {"path": str(folder)}}
        clients = [NotebookClient(notebook, timeout=900, resources=resources) for notebook in notebooks.values()]
        await asyncio.gather(*(client.async_execute() for client in clients))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        asyncio.run(run_all())
    return notebooks


@pytest.mark.integration
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_showed(path: Path, executed: dict[Path, Any]) -> None:
    assert shown(executed[path]) == shown(read(path))


@pytest.mark.integration
def test_the_model_learns_the_task_of_its_notebook(executed: dict[Path, Any]) -> None:
    text = str(executed[ROOT / "notebooks" / "own_task.ipynb"].cells)
    before, after = (int(share) for share in re.findall(r"solved: (\d+)%", text))
    assert before < 10 and after > 50
