"""No path leads from a file to code: a crafted pickle in every place that is read does nothing but an error."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th

import evaluate
import train_rl
from o1nano.policies import model_file as checkpoint
from o1nano.policies.serialization import _MARK
from tests.helpers.paths import ROOT
from tests.helpers.runs import small_run


class Attack:
    """What a crafted file would make its reader do: make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has just begun, with a model."""
    run = small_run(tmp_path_factory.mktemp("safety") / "begun")
    run.save()
    return run.folder


def sealed(content: Any) -> bytes:
    """A file with a checksum that agrees: whoever crafts a file can compute one."""
    buffer = io.BytesIO()
    th.save(content, buffer)
    return buffer.getvalue() + _MARK + hashlib.sha256(buffer.getvalue()).hexdigest().encode()


def bare(content: Any, attack: Attack) -> bytes:
    return pickle.dumps(attack)


def alone(content: Any, attack: Attack) -> bytes:
    return sealed(attack)


def in_a_field(content: Any, attack: Attack) -> bytes:
    return sealed({**content, "version": attack})


def in_a_field_that_nobody_reads(content: Any, attack: Attack) -> bytes:
    return sealed({**content, "more": [{"deep": attack}]})


def among_the_weights(content: Any, attack: Attack) -> bytes:
    return sealed({**content, "weights": {"a": attack}, "state": {"model": attack}})


CRAFTS = (bare, alone, in_a_field, in_a_field_that_nobody_reads, among_the_weights)


@pytest.mark.parametrize("craft", CRAFTS)
@pytest.mark.parametrize("place", ["model", "folder", "problems", "resume"])
def test_a_crafted_file_does_nothing_but_an_error(
    begun: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    craft: Callable[[Any, Attack], bytes],
) -> None:
    folder, target = tmp_path / "begun", tmp_path / "attacked"
    shutil.copytree(begun, folder)
    model, (state,) = folder / "o1_model.pth", (folder / "checkpoints").iterdir()
    crafted = {"model": model, "folder": model, "problems": tmp_path / "problems.txt", "resume": state}[place]
    source = crafted if crafted.exists() else model
    content = craft(th.load(source, weights_only=True), Attack(target))
    crafted.write_bytes(content)
    script, given = {
        "model": (evaluate, [model, "--ask", "1+1"]),
        "folder": (evaluate, [folder, "--ask", "1+1"]),
        "problems": (evaluate, [begun, "--problems", crafted]),
        "resume": (train_rl, ["--resume", folder]),
    }[place]
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, given)])
    assert script.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not target.exists()
    # The test means something: an unsafe reader would have been attacked.
    pickle.loads(content) if craft is bare else th.load(io.BytesIO(content), weights_only=False)
    assert target.exists()


def test_the_exported_zip_is_no_model(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``o1_model.zip`` is pickled by Stable-Baselines3: neither script reads it."""
    target, path = tmp_path / "attacked", tmp_path / "o1_model.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", pickle.dumps(Attack(target)))
        file.writestr("data", pickle.dumps(Attack(target)))
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(path), "--ask", "1+1"])
    assert evaluate.main() == 2
    assert "not a checkpoint" in capsys.readouterr().err
    assert not target.exists()


FORBIDDEN = {"eval", "exec", "compile", "__import__"}  # not network.eval(), not re.compile()
REACHED = {"system", "popen", "loads", "import_module"}
SOURCES = [*(ROOT / "agents").glob("*.py"), *(ROOT / "policies").glob("*.py"), *(ROOT / "envs").rglob("*.py")]
SOURCES += [ROOT / "train_rl.py", ROOT / "evaluate.py", ROOT / "o1nano" / "__init__.py"]


def dangers(source: str) -> list[str]:
    """Calls that could turn data into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.split(".")[-1]
        safe = any(keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
        if name == "json.loads" or name in ("checkpoint.load", "load", "Solver.load"):
            continue  # JSON; our own reader of models
        if name in FORBIDDEN or (last in REACHED and last != name) or (last == "load" and not safe):
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_sources_have_no_unsafe_reader(path: Path) -> None:
    assert dangers(path.read_text()) == []


@pytest.mark.parametrize(
    "line", ["pickle.load(f)", "th.load(p)", "th.load(p, weights_only=False)", "np.load(p)", "PPO.load(p)", "eval(x)"]
)
def test_an_unsafe_reader_is_noticed(line: str) -> None:
    assert dangers(line)
    assert checkpoint.load.__name__ == "load"
