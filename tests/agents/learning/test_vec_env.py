"""The adapter gives what Stable-Baselines3's own vector of single environments gives."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.expert import ExpertPolicy
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorCurriculumWrapper
from tests.helpers.tiny import SMALL_ENV, random_legal, vec_env


def single(max_steps: int | None) -> gym.Env[Any, Any]:
    env = ArithmeticEnv(**SMALL_ENV)
    return env if max_steps is None else TimeLimit(env, max_steps)


@pytest.mark.parametrize("max_steps", [None, 9])
def test_same_seeds_and_actions_give_the_same_as_single_environments(max_steps: int | None) -> None:
    ours: VecEnv = vec_env(4, max_episode_steps=max_steps)
    theirs = DummyVecEnv([lambda: single(max_steps)] * 4)
    expert, rng, ends = ExpertPolicy(), np.random.default_rng(0), 0
    for env in (ours, theirs):
        env.seed(7)
    observations, expected = ours.reset(), theirs.reset()
    assert [info["problem"] for info in ours.reset_infos] == [info["problem"] for info in theirs.reset_infos]
    for _ in range(120):
        assert np.array_equal(observations, expected) and observations.dtype == expected.dtype
        masks = np.stack(ours.env_method("action_masks"))
        assert np.array_equal(masks, np.stack(theirs.env_method("action_masks")))
        actions = random_legal(masks, rng)
        actions[:2] = expert.predict(observations[:2])
        observations, rewards, dones, infos = ours.step(actions)
        expected, their_rewards, their_dones, their_infos = theirs.step(actions)
        assert np.array_equal(rewards, their_rewards) and rewards.dtype == their_rewards.dtype
        assert np.array_equal(dones, their_dones)
        for index in np.flatnonzero(dones):
            ends += 1
            terminal = their_infos[index].pop("terminal_observation")
            assert np.array_equal(infos[index].pop("terminal_observation"), terminal)
            assert their_infos[index].items() <= infos[index].items()
            # Where a TimeLimit cuts a single environment, that one has nothing to say; the vector still reports usage.
            assert their_infos[index] == infos[index] or their_infos[index]["TimeLimit.truncated"]
    assert ends > 10


def test_terminal_infos_are_plain_python() -> None:
    env = vec_env(2, digits=1, operations=("addition",))
    observations, expert = env.reset(), ExpertPolicy()
    for _ in range(200):
        observations, rewards, dones, infos = env.step(expert.predict(observations))
        if dones[0]:
            break
    assert infos[0]["is_success"] is True and rewards[0] == 1
    assert type(infos[0]["depth"]) is int and type(infos[0]["answer"]) is str


def test_a_method_is_called_for_the_environments_asked_for() -> None:
    env = vec_env(3)
    env.reset()
    masks = env.env_method("action_masks")
    assert len(masks) == 3 and masks[0].dtype == bool
    chosen = env.env_method("action_masks", indices=[2, 0])
    assert np.array_equal(chosen, [masks[2], masks[0]])


def test_a_missing_attribute_is_no_error() -> None:
    env = vec_env(3)
    assert env.get_attr("no_such_attribute") == [None] * 3
    assert env.get_attr("num_envs", indices=[0, 1]) == [3, 3]
    assert len(env.get_attr("render_mode")) == 3


def test_attributes_can_be_set() -> None:
    env = vec_env(2)
    env.set_attr("mark", 5)
    assert env.get_attr("mark") == [5, 5]


def test_wrappers_are_found_and_a_curriculum_is_reached() -> None:
    curriculum = AdaptiveCurriculum({"addition": 1}, {"addition": 3})
    inner = ArithmeticVectorEnv(2, autoreset_mode="SameStep", **SMALL_ENV)
    env = GymnasiumVecEnv(VectorCurriculumWrapper(inner, curriculum))
    assert env.env_is_wrapped(VectorCurriculumWrapper) == [True, True]
    assert env.env_is_wrapped(VecMonitor) == [False, False]
    other = AdaptiveCurriculum({"subtraction": 2}, {"subtraction": 3})
    env.env_method("set_curriculum", other)
    assert inner.episodes.levels is other
    assert env.env_method("action_masks")[0].shape == (env.action_space.n,)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_is_used_once(num_envs: int, seed: int) -> None:
    def problems() -> tuple[list[str], list[str]]:
        env = vec_env(num_envs, digits=6)
        env.seed(seed)
        env.reset()
        first = [info["problem"] for info in env.reset_infos]
        env.reset()
        return first, [info["problem"] for info in env.reset_infos]

    first, second = problems()
    assert problems() == (first, second)
    assert first != second
    assert len(set(first)) == num_envs


def test_options_are_used_for_the_next_reset() -> None:
    env = vec_env(2)
    env.set_options({"problem": "98+45"})
    env.reset()
    assert [info["problem"] for info in env.reset_infos] == ["98+45"] * 2
    env.reset()
    assert [info["problem"] for info in env.reset_infos] != ["98+45"] * 2


def test_options_that_differ_are_refused() -> None:
    env = vec_env(2)
    env.set_options([{"problem": "1+2"}, {"problem": "3+4"}])
    with pytest.raises(ConfigurationError, match="the same for every environment"):
        env.reset()


def test_another_autoreset_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SAME_STEP"):
        GymnasiumVecEnv(ArithmeticVectorEnv(2, autoreset_mode="NextStep", **SMALL_ENV))


def test_it_closes() -> None:
    env = vec_env(2)
    env.close()
    assert env.env.closed
