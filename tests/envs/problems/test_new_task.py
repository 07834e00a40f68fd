"""``docs/new_task.md`` does what it says: its files are written, its program is run, its output is the one it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "new_task.md").read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", PAGE, re.DOTALL)
NAMES = re.findall(r"Save this as `(\w+\.py)`", PAGE)


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the page. Another process: what it registers must not reach the other tests."""
    paths = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.run(
        [sys.executable, program], cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    codes = [code for kind, code in BLOCKS if kind == "python"]
    assert len(NAMES) == len(codes) == 2
    for name, code in zip(NAMES, codes, strict=True):
        (tmp_path / name).write_text(code)
    return tmp_path


def test_the_page_does_what_it_says(folder: Path) -> None:
    done = run(folder, "try_it.py")
    (shown,) = [text for kind, text in BLOCKS if kind == "text"]
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def test_a_wrong_expert_does_not_pass(folder: Path) -> None:
    family = folder / "lcm.py"
    family.write_text(family.read_text().replace("math.lcm(*numbers)", "numbers[0] * numbers[1]"))
    program = folder / "try_it.py"
    program.write_text(program.read_text().replace("range(50)", "range(5)"))
    done = run(folder, "try_it.py")
    assert done.returncode == 0 and "f(4, 6) = 24" in done.stdout


def test_the_module_prefix_registers_the_family(folder: Path) -> None:
    program = (
        "import gymnasium as gym; env = gym.make('lcm:o1nano/Arithmetic-v0', operations=('lcm',)); env.reset(seed=0)"
    )
    (folder / "prefix.py").write_text(f"import o1nano\n{program}\nprint('made')\n")
    assert run(folder, "prefix.py").stdout == "made\n"


@pytest.mark.slow
def test_the_policy_that_the_page_names_has_the_grammar_of_the_environment(folder: Path) -> None:
    program = """
import gymnasium as gym
import lcm
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
env = ArithmeticVectorEnv(4, autoreset_mode="SameStep", operations=("lcm",), digits=1, frame_length=64, depth=8)
small = {"embedding": 16, "heads": 2, "layers": 1, "feed_forward": 32}
model = FramePPO(ReasoningPolicy, GymnasiumVecEnv(env), n_steps=64, batch_size=64,
                 policy_kwargs={"transformer": small})
assert model.policy.grammar == env.config.grammar == model.rollout_buffer.grammar
model.learn(512)
print("trained")
"""
    (folder / "train.py").write_text(program)
    done = run(folder, "train.py")
    assert done.stdout == "trained\n", done.stderr
