"""A reset that is refused changes nothing: not the episodes, not the random streams, not the curriculum."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.errors import O1NanoError
from o1nano.envs.wrappers import (
    CurriculumWrapper,
    OneHotWrapper,
    RewardWrapper,
    VectorCurriculumWrapper,
    VectorOneHotWrapper,
    VectorRewardWrapper,
)
from tests.helpers.play import ids

DIRECT = "o1nano/Direct-v0"
REFUSED: list[dict[str, Any]] = [
    {"options": {"problem": "gcd(6, 4)"}},
    {"options": {"problem": "gcd(6, 4)"}, "seed": 5},
    {"options": {"problem": "12345678+12345678"}},
    {"options": {"problem": "what"}},
    {"options": {"level": "gcd/1"}},
    {"options": {"level": "addition/9"}},
    {"options": {"level": "bogus/1"}},
    {"options": {"problme": "1+1"}},
]


def easy() -> AdaptiveCurriculum:
    return AdaptiveCurriculum({"addition": 1}, {"addition": 1})


def of_functions() -> AdaptiveCurriculum:
    return AdaptiveCurriculum({"gcd": 1}, {"gcd": 1})


@pytest.mark.parametrize("refused", REFUSED, ids=str)
def test_a_refused_reset_of_one_environment_changes_nothing(refused: dict[str, Any]) -> None:
    histories = []
    for disturb in (True, False):
        state = easy()
        env = OneHotWrapper(RewardWrapper(CurriculumWrapper(gym.make(DIRECT), state), "digits"))
        env.reset(seed=1, options={"problem": "3+4"})
        history = [env.step(np.int64(ids("7")[0]))[0].tolist()]
        if disturb:
            with pytest.raises(O1NanoError, match=r"accepted|expected"):
                env.reset(**refused)
        observation, reward, terminated, _, info = env.step(np.int64(ids("<eos>")[0]))
        assert (terminated, info["is_success"], info["problem"]) == (True, True, "3+4")
        history += [observation.tolist(), reward, info, state.state_dict()]
        history += [env.reset()[1]["problem"] for _ in range(3)]
        histories.append(history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("refused", [*REFUSED, {"seed": [1, 2]}, {"options": {"reset_mask": [False] * 3}}], ids=str)
@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_refused_reset_of_a_vector_changes_no_row(refused: dict[str, Any], mode: str) -> None:
    histories = []
    for disturb in (True, False):
        state = easy()
        native = gym.make_vec(DIRECT, 3, autoreset_mode=mode)
        envs = VectorOneHotWrapper(VectorRewardWrapper(VectorCurriculumWrapper(native, state), "digits"))
        envs.reset(seed=1)
        history = [envs.step(np.array(ids("7 1 2")))[0].tolist()]
        if disturb:
            with pytest.raises(O1NanoError, match=r"accepted|expected"):
                envs.reset(**refused)
        observations, rewards, _, _, infos = envs.step(np.array(ids("<eos> <eos> 3")))
        history += [observations.tolist(), rewards.tolist(), str(infos), state.state_dict()]
        history += [envs.reset()[1]["problem"].tolist() for _ in range(3)]
        histories.append(history)
    assert histories[0] == histories[1]


def test_a_problem_of_the_curriculum_is_checked_first_too() -> None:
    envs = VectorCurriculumWrapper(gym.make_vec(DIRECT, 2, autoreset_mode="SameStep"), easy())
    envs.reset(seed=0, options={"problem": "3+4"})
    envs.step(np.array(ids("7 1")))
    envs.set_curriculum(of_functions())
    with pytest.raises(O1NanoError, match="asks for a function"):
        envs.reset()
    envs.set_curriculum(easy())
    _, rewards, _, _, _ = envs.step(np.array(ids("<eos> <eos>")))
    assert rewards.tolist() == [1.0, 0.0]


def test_an_episode_is_reported_once_however_often_it_is_stepped() -> None:
    state = easy()
    env = CurriculumWrapper(gym.make(DIRECT), state)
    env.reset(seed=0)
    last = env.step(np.int64(ids("<eos>")[0]))  # illegal here
    for _ in range(40):  # more than the frame is long
        observation, reward, terminated, truncated, info = env.step(np.int64(ids("7")[0]))
        assert (reward, terminated, truncated, info) == (0.0, True, False, last[4])
        assert np.array_equal(observation, last[0])
    assert state.state_dict()["results"] == [["addition", 1, [False]]]
