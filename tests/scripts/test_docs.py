"""Every command and every snippet of the README and the pages is run; every link leads somewhere.

A block marked ``bash`` holds commands, one marked ``python`` code. They are executed one after the other, the page on
training first, in one folder for all pages. Output that is only shown is marked ``text``, data ``json``.

Commands are executed as they are written, with flags appended that make a training or a table small; of a flag that is
given twice the last one counts. Tools that the gate runs (.ci/run) are only looked up there, benchmarks print their
help, and a command for torchrun is executed by one process.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch as th

import evaluate
import train_rl
from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN, flags

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
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


SMALL_TABLE = ["--problems-per-level", "1", "--sum-digits", "1", "--product-digits", "1"]
INSTALLED = {"o1nano-train": "train_rl.py", "o1nano-evaluate": "evaluate.py"}
GATE_TOOLS = ("pip", "ruff", "mypy", "pytest")


def small_flags(given: list[str]) -> list[str]:
    """The flags that make a command of ``train_rl.py`` or ``evaluate.py`` small."""
    if given[0] == "evaluate.py":
        answers = {"--ask", "--interactive", "--problems", "--serve"} & set(given)
        return [] if answers else SMALL_TABLE
    if {"--resume", "--help"} & set(given):
        return []

    small = replace(SMALL_RUN, name="", iterations=1)
    extra = ["--processes", "1", *flags(small)]
    # What the command is about stays: a model's architecture, a warm start without steps, the length of a frame.
    kept = ["--frame-length", "--seed"]
    if "--init-from" in given:
        kept += [flag for flag in extra if flag.startswith("--transformer.")]
    if given[-2:] == ["--warm-start.steps", "0"]:
        kept.append("--warm-start.steps")
    for flag in kept:
        if flag in extra:
            at = extra.index(flag)
            after = next((i for i in range(at + 1, len(extra)) if extra[i].startswith("--")), len(extra))
            del extra[at:after]
    return extra


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is run, with the file of problems and the models that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    (example,) = (content for kind, content in blocks("evaluation.md") if kind == "json")
    (folder / "problems.jsonl").write_text(example + "34-53\n")
    return folder


@pytest.fixture
def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Puts commands into that folder, with something to read, and restores what they do with signals."""
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {stop: signal.getsignal(stop) for stop in stops}
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1+1\n\n"))
    yield monkeypatch
    for stop, handler in handlers.items():
        signal.signal(stop, handler)


def run(command: list[str], patch: pytest.MonkeyPatch) -> None:
    """Runs one command of a page."""
    tool, *given = command
    if tool in GATE_TOOLS:
        gate = (ROOT / ".ci" / "run").read_text()
        assert re.search(rf"^{tool}\b", gate, re.MULTILINE)
        assert all((ROOT / name).exists() for name in given if name.endswith((".txt", ".py")))
    elif tool == "tensorboard":
        from tensorboard import default, program

        program.TensorBoard(default.get_plugins()).configure(command)
    elif tool == "torchrun":
        run_script(given[given.index("train_rl.py") :], patch)
    elif tool in INSTALLED:
        run_script([INSTALLED[tool], *given], patch)
    elif given[0] in ("train_rl.py", "evaluate.py"):
        run_script(given, patch)
    else:
        assert (tool, given[0]) == ("python", "-m") and given[1].startswith("benchmarks.")
        # A process of its own would not have it imported already, as another test may have.
        patch.delitem(sys.modules, given[1], raising=False)
        patch.setattr(sys, "argv", [given[1], "--help"])
        with pytest.raises(SystemExit) as helped:
            runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        assert not helped.value.code


def run_script(given: list[str], patch: pytest.MonkeyPatch) -> None:
    """Runs ``train_rl.py`` or ``evaluate.py`` in this process."""
    patch.setattr(sys, "argv", [*given, *small_flags(given)])
    # The page would be served for ever. Its own tests open it.
    patch.setattr(evaluate, "serve", lambda options: None)
    script = train_rl if given[0] == "train_rl.py" else evaluate
    try:
        assert script.main() == 0
    except SystemExit as ended:  # --help
        assert not ended.code


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", HERE)
def test_the_page_does_what_it_says(name: str, at_home: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    with th.random.fork_rng():
        for kind, content in blocks(name):
            assert kind in KINDS, kind
            if kind == "python":
                exec(compile(content, name, "exec"), names)
            for command in commands(content) if kind == "bash" else ():
                run(command, at_home)
    if name == "README.md":
        assert names["terminated"] in (True, False)


def test_every_page_is_run_somewhere() -> None:
    assert {page.name for page in PAGES} == {*HERE, *ELSEWHERE}


@pytest.mark.parametrize("command", ["python train_rl.py --wings 2", "python evaluate.py --ask love", "pip2 install x"])
def test_a_command_that_does_not_work_is_noticed(command: str, at_home: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        run(command.split(), at_home)


def test_every_file_that_the_documents_link_to_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
