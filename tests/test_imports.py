"""Imports run one way: envs <- policies <- agents <- scripts; the environment needs neither torch nor SB3."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("envs", "policies", "agents")
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
NUMPY_ONLY = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard", "matplotlib", "tyro"}
WHEN_DRAWN = {"rich", "PIL"}  # loaded by the functions that draw, not by importing the environments


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Names and relative levels of everything a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield base, node.level
            if base == "o1nano":
                yield from ((f"o1nano.{alias.name}", node.level) for alias in node.names)


def violations(path: Path, layer: str) -> list[str]:
    """What a module of a layer imports although it must not."""
    above = LAYERS[LAYERS.index(layer) + 1 :] if layer in LAYERS else ()
    found = []
    for name, level in imports(path):
        parts = name.split(".")
        relative = level > 0
        not_absolute = parts[0] in LAYERS
        upwards = parts[0] == "o1nano" and len(parts) > 1 and parts[1] in above
        heavy = layer == "envs" and parts[0] in NUMPY_ONLY
        script = parts[0] in ("train_rl", "evaluate")
        if relative or not_absolute or upwards or heavy or script:
            found.append(f"{'.' * level}{name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_imports_are_absolute_and_run_one_way(path: Path) -> None:
    assert violations(path, path.relative_to(ROOT).parts[0]) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_absolutely(path: Path) -> None:
    assert violations(path, "scripts") == []


@pytest.mark.parametrize(
    "layer, line",
    [
        ("envs", "from o1nano.policies.network.model import X"),
        ("envs", "from o1nano import agents"),
        ("envs", "import torch as th"),
        ("envs", "def f():\n    import torch.nn"),
        ("policies", "import o1nano.agents.ppo"),
        ("policies", "from . import cache"),
        ("agents", "from envs.vocab import PAD"),
        ("agents", "from train_rl import main"),
    ],
)
def test_a_violation_is_noticed(tmp_path: Path, layer: str, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert len(violations(tmp_path / "module.py", layer)) >= 1


def test_the_environment_imports_neither_torch_nor_stable_baselines3() -> None:
    code = (
        "import sys, o1nano, o1nano.envs.vector, o1nano.envs.expert, o1nano.envs.curriculum, o1nano.envs.wrappers\n"
        f"print(sorted({NUMPY_ONLY | WHEN_DRAWN} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_who_only_asks_a_model_does_not_wait_for_what_trains_one() -> None:
    code = "import sys, evaluate; print(sorted({'stable_baselines3', 'matplotlib', 'tensorboard'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
