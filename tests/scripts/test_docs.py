"""Every command and every snippet of the README and the pages is run; every link leads somewhere.

A block marked ``bash`` holds commands, one marked ``python`` code: they are executed one after the other, the page on
training first, in one folder for all pages. Output that is only shown is marked ``text``, data ``json``. Training has
the flags that are written there, but a tiny network and one iteration. Tools that CI runs must be in its script.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch as th

import evaluate
import train_rl
from o1nano.agents.evaluation.held_out import held_out
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.prepare import prepare
from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# tests/scripts/test_agents_interop.py, tests/scripts/test_language_models.py, tests/envs/problems/test_new_task.py, and
# tests/agents/learning/test_own_environment.py
ELSEWHERE = {"agents.md", "language_models.md", "new_task.md", "own_environment.md"}
HERE = ["training.md", *(page.name for page in PAGES if page.name not in {*ELSEWHERE, "training.md"})]
KINDS = {"bash", "python", "text", "json", ""}


def blocks(name: str) -> list[tuple[str, str]]:
    """The marked blocks of a page: what they are marked with, and what is in them."""
    (page,) = (page for page in PAGES if page.name == name)
    return re.findall(r"^```(.*?)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    """The commands of a block, without comments and with continued lines put together."""
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [command for command in words if command]


def shrunk(config: TrainConfig, process_group: ProcessGroup | None = None) -> TrainConfig:
    """A configuration as it was given, but small."""
    config.validate()
    names = ("warm_start", "evaluation", *(() if config.init_from else ("transformer",)))
    small: dict[str, Any] = {name: getattr(SMALL_RUN, name) for name in names}
    ppo = replace(config.ppo, n_envs=6, n_steps=24, batch_size=64)
    small |= {"iterations": 1, "sum_digits": 1, "product_digits": 1}
    return prepare(replace(config, processes=None, threads=1, ppo=ppo, smoke=False, **small), process_group)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is run, with the file of problems and the models that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    (example,) = (content for kind, content in blocks("evaluation.md") if kind == "json")
    (folder / "problems.jsonl").write_text(example + "34-53\n")
    return folder


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Makes scripts do little, in that folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(train_rl, "prepare", shrunk)
    monkeypatch.setattr(
        train_rl, "with_others", lambda processes, work: work(ProcessGroup())
    )  # tests/agents/run/test_launch.py has others
    monkeypatch.setattr(train_rl, "handle_stop_signals", lambda handler: None)
    monkeypatch.setattr(evaluate, "held_out", lambda cells, n, seed: held_out(cells[:3], 1, seed))
    monkeypatch.setattr(sys, "stdin", io.StringIO("1+1\n\n"))
    return monkeypatch


def run(command: list[str], patch: pytest.MonkeyPatch) -> None:
    """Runs one command of a page."""
    tool, given = command[0], command[1:]
    if tool in ("pip", "ruff", "mypy", "pytest"):
        ci = (ROOT / ".ci" / "run").read_text()
        assert re.search(rf"^{tool}\b", ci, re.MULTILINE)
        assert all((ROOT / name).exists() for name in given if name.endswith((".txt", ".py")))
        return
    if tool == "torchrun":  # tests/agents/learning/test_distributed.py has several processes; here one reads the flags
        command = ["python", *given[given.index("train_rl.py") :]]
        tool, given = command[0], command[1:]
    patch.setattr(sys, "argv", command[1:] if tool == "python" else command)
    if tool == "tensorboard":
        from tensorboard import default, program

        program.TensorBoard(default.get_plugins()).configure(command)
    elif given[0] == "train_rl.py" or given[0] == "evaluate.py":
        script = train_rl if given[0] == "train_rl.py" else evaluate
        try:
            assert script.main() == 0
        except SystemExit as ended:  # --help
            assert not ended.code
    else:
        assert (tool, given[0]) == ("python", "-m") and given[1].startswith("benchmarks.")
        patch.setattr(sys, "argv", [given[1], "--help"])
        with pytest.raises(SystemExit) as helped:
            runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        assert not helped.value.code


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", HERE)
def test_the_page_does_what_it_says(name: str, folder: Path, small: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    with th.random.fork_rng():
        for kind, content in blocks(name):
            assert kind in KINDS, kind
            if kind == "python":
                exec(compile(content, name, "exec"), names)
            for command in commands(content) if kind == "bash" else ():
                run(command, small)
    if name == "README.md":
        assert names["terminated"] in (True, False)


def test_there_are_no_pages_that_nobody_runs() -> None:
    assert {page.name for page in PAGES} == {*HERE, *ELSEWHERE}
    assert sum(kind in ("bash", "python") for name in HERE for kind, _ in blocks(name)) >= 18


@pytest.mark.parametrize("command", ["python train_rl.py --wings 2", "python evaluate.py --ask love", "pip2 install x"])
def test_a_command_that_does_not_work_is_noticed(command: str, small: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        run(command.split(), small)


def test_every_file_that_the_documents_link_to_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
