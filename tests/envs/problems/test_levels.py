"""Levels: as people write them, and what their solutions take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Function, evaluate
from o1nano.envs.problems.countdown_solver import solvable
from o1nano.envs.problems.expert import check_demonstrable, expert_requirements
from o1nano.envs.problems.problem import Level, draw, read_level
from o1nano.envs.seeding import stream


@pytest.mark.parametrize(
    "level", [Level("addition", 12), Level("expression", 1, 3), Level("recall", 2, 4096), Level("game_of_24", 1)]
)
def test_a_level_is_read_as_it_is_written(level: Level) -> None:
    assert read_level(str(level)) == level


@pytest.mark.parametrize(
    "text",
    ["", "addition", "addition/", "addition/0", "addition/1x", "addition/1x0", "/1", "x/1", "addition/1/2", "é/1"],
)
def test_what_is_no_level_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        read_level(text)


def test_a_level_whose_frames_have_no_room_is_refused() -> None:
    check_demonstrable(Level("game_of_24", 1), 640)
    with pytest.raises(ConfigurationError, match="game_of_24/1 with frame_length=48"):
        check_demonstrable(Level("game_of_24", 1), 48)
    with pytest.raises(ConfigurationError, match="at least 90000 for it"):
        check_demonstrable(Level("maximum", 3, 90_000), 128)


@pytest.mark.parametrize("level", ["multiplication/32x32", "addition/3", "subtraction/5", "chain/1x10", "division/4x2"])
def test_requirements_are_what_the_expert_takes(level: str) -> None:
    needed = expert_requirements(read_level(level), 512, mistake_rate=0, problems=1)
    config = EnvConfig(operations=(read_level(level).family,), frame_length=512, depth=64, max_tokens=10**6)
    env = ArithmeticEnv(**vars(config))
    problem = draw(read_level(level), stream("demonstrable", read_level(level)))
    obs, _ = env.reset(options={"problem": problem.text})
    expert, done, info = ExpertPolicy(env), False, dict[str, Any]()
    while not done:
        obs, _, done, _, info = env.step(int(expert.predict(obs[None])[0]))
    assert info["is_success"]
    spent = info["reasoning_tokens"] + info["completion_tokens"] + info["subtask_tokens"]
    assert (needed.tokens, needed.depth, needed.frame) == (spent, info["depth"], info["longest_context"])


def test_numbers_of_countdown_have_one_or_two_digits() -> None:
    with pytest.raises(ConfigurationError, match="numbers of 3 digits in Countdown; expected 1 to 2"):
        draw(read_level("countdown/2x3"), np.random.default_rng(0))


@pytest.mark.parametrize(("level", "end"), [("countdown/2x1", 10), ("countdown/2x2", 100), ("countdown/3x2", 100)])
def test_uniform_draws_of_countdown_are_solvable_and_small(level: str, end: int) -> None:
    for seed in range(60):
        problem = draw(read_level(level), np.random.default_rng(seed))
        assert isinstance(problem.expr, Function)
        target, *numbers = map(evaluate, problem.expr.args)
        assert 1 <= target <= end and min(numbers) >= 1 and max(numbers) < end
        assert solvable(target, tuple(numbers), fractions=False)
