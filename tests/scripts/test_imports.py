"""Imports run one way, inside the packages too; the environment needs neither torch nor Stable-Baselines3."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

LAYERS = ("envs", "policies", "agents", "playground")
# A module may import from its own line and from the lines above it. A name stands for a module, or for a folder.
ORDER = (
    ("envs.errors", "envs.caching", "envs.ranges", "envs.seeding"),
    ("envs.language",),
    ("envs.problems",),
    ("envs.core",),
    ("envs",),
    ("policies.device", "policies.serialization", "policies.forms", "policies.record"),
    ("policies.network",),
    ("policies.decoding",),
    ("policies.model_file", "policies.actor_critic"),
    ("policies.search",),
    ("policies",),
    ("agents.learning",),
    ("agents.evaluation",),
    ("agents.run",),
    ("agents",),
    ("playground",),
)
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
NUMPY_ONLY = {"torch", "numba", "stable_baselines3", "sb3_contrib", "tensorboard", "matplotlib", "tyro"}
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
            elif base.startswith("o1nano."):  # a name may be a module of the package
                yield from ((f"{base}.{alias.name}", node.level) for alias in node.names)


def rank(name: str) -> int:
    """The line of ``ORDER`` with the longest entry that a module belongs to; -1 for other packages' modules."""
    best, found = "", -1
    for line, entries in enumerate(ORDER):
        for entry in entries:
            inside = name == entry or name.startswith(entry + ".")
            if inside and len(entry) > len(best):
                best, found = entry, line
    return found


def violations(path: Path, module: str) -> list[str]:
    """What a module (``envs.core.grammar``; empty for a script) imports although it must not."""
    found = []
    for name, level in imports(path):
        top = name.split(".")[0]
        relative = level > 0
        not_absolute = top in LAYERS
        own = module != "" and rank(name.removeprefix("o1nano.")) > rank(module)
        heavy = module.startswith("envs") and top in NUMPY_ONLY
        script = top in ("train_rl", "evaluate")
        if relative or not_absolute or own or heavy or script:
            found.append(f"{'.' * level}{name}")
    return found


def module_of(path: Path) -> str:
    """The dotted name of a module's file; a package's ``__init__`` has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_imports_are_absolute_and_run_one_way(path: Path) -> None:
    assert violations(path, module_of(path)) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_absolutely(path: Path) -> None:
    assert violations(path, "") == []


@pytest.mark.parametrize(
    "module, line",
    [
        ("envs", "from o1nano.policies.network.model import X"),
        ("envs.language.vocab", "from o1nano.envs.problems.family import Family"),
        ("envs.problems.family", "from o1nano.envs.core import grammar"),
        ("policies.network.model", "from o1nano.policies.decoding.decoder import Decoder"),
        ("agents.learning.ppo", "from o1nano.agents.run.config import TrainConfig"),
        ("envs", "from o1nano import agents"),
        ("envs", "import torch as th"),
        ("envs", "def f():\n    import torch.nn"),
        ("policies", "import o1nano.agents.learning.ppo"),
        ("policies", "from . import cache"),
        ("agents", "from envs.vocab import PAD"),
        ("agents", "from train_rl import main"),
        ("agents.run.run", "from o1nano.playground.app import create_app"),
    ],
)
def test_a_violation_is_noticed(tmp_path: Path, module: str, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert len(violations(tmp_path / "module.py", module)) >= 1


def test_the_environment_imports_neither_torch_nor_stable_baselines3() -> None:
    code = (
        "import sys, o1nano, o1nano.envs.vector, o1nano.envs.problems.expert, o1nano.envs.wrappers\n"
        "import o1nano.envs.text, o1nano.envs.text_env, o1nano.envs.action_mask_wrappers, o1nano.envs.adapters.trl\n"
        f"print(sorted({NUMPY_ONLY | WHEN_DRAWN} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_who_only_asks_a_model_does_not_wait_for_what_trains_one() -> None:
    trainers = {"stable_baselines3", "matplotlib", "tensorboard", "starlette"}
    code = f"import sys, evaluate; print(sorted({trainers} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_test_imports_another_test() -> None:
    # Shared code is in tests/helpers, and fixtures in conftest.py.
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for name, level in imports(path):
            is_shared = name == "tests.helpers" or name.startswith("tests.helpers.")
            if level or (name.split(".")[0] == "tests" and not is_shared):
                found.append(f"{path.relative_to(ROOT)} imports {name or '.'}")
    assert not found
