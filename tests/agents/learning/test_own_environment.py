"""The lines of docs/own_environment.md: an environment that is not arithmetic, learned by PPO and by GRPO."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
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


def test_the_environment_is_short() -> None:
    assert len(ENVIRONMENT.splitlines()) <= 60
    compile(RUN, "own_environment.md", "exec")


@pytest.mark.parametrize(
    ("answer", "rewards", "is_success"),
    [
        ("123.", [0.25, 0.25, 0.25, 0.25], True),
        ("312.", [0.0, 0.0, 0.0, 0.25], False),
        ("122.", [0.25, 0.25, 0.0, 0.25], False),
        ("1.", [0.25, 0.0], False),
        ("1233.", [0.25, 0.25, 0.25, 0.0, 0.0], False),
        ("12333", [0.25, 0.25, 0.25, 0.0, 0.0], False),
        (".", [0.0], False),
    ],
)
def test_each_token_is_paid(answer: str, rewards: list[float], is_success: bool, names: dict[str, Any]) -> None:
    env = names["SortDigits"](iter([np.array([3, 1, 2])]))
    env.reset()
    paid = []
    for letter in answer:
        token = names["EOS"] if letter == "." else names["ZERO"] + int(letter)
        _, reward, ended, _, info = env.step(token)
        paid.append(reward)
    assert paid == rewards
    assert (ended, info) == (True, {"is_success": is_success})


def test_attempts_of_a_group_get_the_same_question(names: dict[str, Any]) -> None:
    questions = names["draw_questions"](digits=3, repeat=2, seed=0)
    first, second, third = (next(questions).tolist() for _ in range(3))
    assert first == second != third


def test_a_rollout_and_an_update(names: dict[str, Any]) -> None:
    with th.random.fork_rng():
        model = names["train"]("group", 1024)
    assert model.num_timesteps == 1024
    assert 0.0 <= names["accuracy"](model, questions=3) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("advantage", "steps"), [("critic", 200_000), ("group", 300_000)])
def test_it_is_solved(advantage: str, steps: int, seed: int, names: dict[str, Any]) -> None:
    assert f'"{advantage}": {steps:_}' in RUN
    started = time.process_time()
    with th.random.fork_rng():
        model = names["train"](advantage, steps, seed)
    assert time.process_time() - started < MOST_SECONDS
    assert names["accuracy"](model) >= 0.95
