"""The lines of docs/own_environment.md: an environment that is not arithmetic, learned by PPO and by GRPO."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import torch as th

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "own_environment.md").read_text()
ENVIRONMENT, TRAINING, RUN = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MOST_SECONDS = 120


@pytest.fixture
def names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in (ENVIRONMENT, TRAINING):
        exec(compile(block, "own_environment.md", "exec"), names)
    return names


def test_the_environment_is_short_and_right(names: dict[str, Any]) -> None:
    assert len(ENVIRONMENT.splitlines()) <= 60
    compile(RUN, "own_environment.md", "exec")
    env = names["SortDigits"](digits=3, seed=0)
    env.reset()
    for token in env.goal:
        _, reward, ended, _, info = env.step(token)
    assert (reward, ended, info) == (1.0, True, {"is_success": True})
    env.reset()
    for token in [*env.goal[:-1], env.goal[0], names["EOS"]]:
        _, reward, ended, _, info = env.step(token)
    assert (reward, ended, info) == (0.0, True, {"is_success": False})


def test_a_rollout_and_an_update(names: dict[str, Any]) -> None:
    with th.random.fork_rng():
        model = names["train"]("group", 1024)
    assert model.num_timesteps == 1024
    assert 0.0 <= names["accuracy"](model, questions=3) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("advantage", "steps"), [("critic", 200_000), ("group", 300_000)])
def test_it_is_solved(advantage: str, steps: int, names: dict[str, Any]) -> None:
    assert f'"{advantage}": {steps:_}' in RUN
    started = time.process_time()
    with th.random.fork_rng():
        model = names["train"](advantage, steps)
    assert time.process_time() - started < MOST_SECONDS
    assert names["accuracy"](model) > 0.9
