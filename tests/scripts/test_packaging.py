"""The package as an installation sees it: a wheel with nothing but ``o1nano``."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PROBE = """
import sys
import gymnasium as gym
import o1nano, o1nano.agents.learning.ppo, o1nano.policies.actor_critic
print(o1nano.envs.__file__)
env = gym.make("o1nano/Arithmetic-v0")
env.reset(seed=0)
assert not {"envs", "agents", "policies"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w"]
    subprocess.run([*command, str(folder)], check=True)
    return next(folder.glob("*.whl"))


def probe(folder: Path, path: str) -> str:
    """Imports the package in a fresh interpreter, away from the checkout, and returns where it was found."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.integration
def test_the_wheel_holds_only_o1nano_with_all_its_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"o1nano"}
    for module in (
        "envs/core/call_stack.py",
        "envs/problems/division.py",
        "policies/network/transformer.py",
        "agents/learning/ppo.py",
        "py.typed",
    ):
        assert f"o1nano/{module}" in names
    assert not any("test" in name or "train_rl" in name for name in names)


@pytest.mark.integration
def test_it_is_importable_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    assert probe(tmp_path, str(installed)).startswith(str(installed / "o1nano" / "envs"))


@pytest.mark.integration
def test_it_is_importable_from_the_checkout_without_installation(tmp_path: Path) -> None:
    assert probe(tmp_path, str(ROOT)) == str(ROOT / "envs" / "__init__.py")


def test_the_requirements_are_exact_and_cover_what_setup_cfg_asks_for() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    assert {"torch", "gymnasium", "stable-baselines3", "numpy", "tensorboard", "matplotlib", "rich", "tyro"} <= pinned
