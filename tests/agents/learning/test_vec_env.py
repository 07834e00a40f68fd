"""The adapter gives what Stable-Baselines3's own vector of single environments gives."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorRecordEpisodeStatistics
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorCurriculumWrapper, VectorOneHotWrapper
from tests.helpers.tiny import SMALL_ENV, random_legal, vec_env


def single(max_steps: int | None = None, **config: Any) -> gym.Env[Any, Any]:
    env = ArithmeticEnv(**{**SMALL_ENV, **config})
    return env if max_steps is None else TimeLimit(env, max_steps)


def sync(make_env: Any, num_envs: int = 4) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(SyncVectorEnv([make_env] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP))


@pytest.mark.parametrize("kind", ["native", "sync"])
@pytest.mark.parametrize("max_steps", [None, 9])
def test_same_seeds_and_actions_give_the_same_as_single_environments(kind: str, max_steps: int | None) -> None:
    ours: VecEnv = vec_env(4, max_episode_steps=max_steps) if kind == "native" else sync(lambda: single(max_steps))
    theirs = DummyVecEnv([lambda: single(max_steps)] * 4)
    expert, rng, ends = ExpertPolicy(ours), np.random.default_rng(0), 0
    for env in (ours, theirs):
        env.seed(7)
    observations, expected = ours.reset(), theirs.reset()
    assert ours.reset_infos == theirs.reset_infos
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
        assert infos == their_infos
        assert ours.reset_infos == theirs.reset_infos
    assert ends > 10


class Clock(gym.Wrapper[Any, Any, Any, Any]):
    """Says in every info how many steps it has taken, and at the end of an episode that it is the end."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {**info, "steps": self.steps, "end": terminated or truncated}

    def tick(self, steps: int) -> int:
        self.steps += steps
        return self.steps


def test_infos_of_running_steps_pass_through() -> None:
    env = sync(lambda: Clock(single(3)), 2)
    env.reset()
    seen = [
        env.step(random_legal(np.stack(env.env_method("action_masks")), np.random.default_rng(0)))[3] for _ in "123"
    ]
    assert [infos[1]["steps"] for infos in seen] == [1, 2, 3]
    assert [infos[1]["end"] for infos in seen] == [False, False, True]
    assert not any("steps" in info for info in env.reset_infos)


@pytest.mark.parametrize("around", ["vector", "single"])
def test_infos_of_wrappers_pass_through(around: str) -> None:
    if around == "vector":
        inner = ArithmeticVectorEnv(2, autoreset_mode="SameStep", max_episode_steps=3, **SMALL_ENV)
        env = GymnasiumVecEnv(VectorRecordEpisodeStatistics(inner))
    else:
        env = sync(lambda: RecordEpisodeStatistics(single(3)), 2)
    env.reset()
    masks = np.stack(env.env_method("action_masks"))
    for step in range(3):
        infos = env.step(random_legal(masks, np.random.default_rng(0)))[3]
        masks = np.stack(env.env_method("action_masks"))
        assert all(("episode" in info) == (step == 2) for info in infos)
    assert [int(info["episode"]["l"]) for info in infos] == [3, 3]


@pytest.mark.parametrize("kind", ["native", "sync"])
def test_reset_infos_are_those_of_the_running_episodes(kind: str) -> None:
    env = vec_env(3, max_episode_steps=2) if kind == "native" else sync(lambda: single(2), 3)
    env.reset()
    first = [info["problem"] for info in env.reset_infos]
    for _ in range(2):
        env.step(random_legal(np.stack(env.env_method("action_masks")), np.random.default_rng(0)))
    assert all(old != info["problem"] for old, info in zip(first, env.reset_infos, strict=True))


def test_terminal_infos_are_plain_python() -> None:
    env = vec_env(2, digits=1, operations=("addition",))
    observations, expert = env.reset(), ExpertPolicy(env)
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


@pytest.mark.parametrize("make_env", [lambda: vec_env(3), lambda: sync(single, 3)], ids=["native", "sync"])
def test_a_missing_attribute_is_an_attribute_error(make_env: Any) -> None:
    env = make_env()
    assert not env.has_attr("no_such_attribute") and env.has_attr("action_masks")
    with pytest.raises(AttributeError, match="no_such_attribute"):
        env.get_attr("no_such_attribute")
    with pytest.raises(AttributeError, match="no_such_method"):
        env.env_method("no_such_method")
    assert env.get_attr("render_mode", indices=[0, 1]) == [None, None]
    assert env.get_attr("observation_space") == [env.observation_space] * 3


def test_masks_are_found_where_there_are_some() -> None:
    plain = gym.make_vec("CartPole-v1", 2, "sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})
    assert not is_masking_supported(GymnasiumVecEnv(plain))
    for env in (vec_env(2), sync(single, 2)):
        env.reset()
        assert is_masking_supported(env) and get_action_masks(env).shape == (2, env.action_space.n)


@pytest.mark.parametrize("kind", ["native", "sync"])
def test_masks_of_a_smaller_alphabet_are_found_around_every_vector(kind: str) -> None:
    inner = (vec_env(2) if kind == "native" else sync(single, 2)).env
    env = GymnasiumVecEnv(VectorOneHotWrapper(inner, actions=["1", "<think>", "<call>"]))
    env.reset()
    assert get_action_masks(env).tolist() == [[True, True, False]] * 2


def test_attributes_can_be_set() -> None:
    env = vec_env(2)
    env.set_attr("mark", 5)
    assert env.get_attr("mark") == [5, 5]
    with pytest.raises(ConfigurationError, match=r"indices=\[1\] for 'mark'; expected all of 2"):
        env.set_attr("mark", 6, indices=1)


def test_single_environments_are_reached_one_by_one() -> None:
    env = sync(lambda: Clock(single()), 3)
    env.set_attr("steps", 7, indices=[1])
    assert env.get_attr("steps") == [0, 7, 0]
    assert env.env_method("tick", 2, indices=[2, 1]) == [2, 9]
    assert env.get_attr("steps", indices=[1, 2]) == [9, 2]
    assert env.env_is_wrapped(Clock) == [True] * 3 and env.env_is_wrapped(TimeLimit) == [False] * 3


def test_a_method_of_other_processes_is_called_once() -> None:
    env = GymnasiumVecEnv(AsyncVectorEnv([lambda: Clock(single())] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    assert env.env_method("tick", 2) == [2, 2]
    assert env.get_attr("steps") == [2, 2]
    with pytest.raises(ConfigurationError, match=r"indices=\[1\] for 'tick'; expected all of 2 environments"):
        env.env_method("tick", 2, indices=[1])
    env.close()


def test_pictures_are_those_of_the_environments() -> None:
    env = sync(lambda: single(render_mode="rgb_array"), 2)
    env.reset()
    images = env.get_images()
    assert len(images) == 2 and images[0].shape == images[1].shape
    tiled = env.render()
    assert tiled is not None and tiled.shape[0] * tiled.shape[1] >= 2 * images[0].shape[0] * images[0].shape[1]
    with pytest.warns(UserWarning, match="render_mode=None; expected 'rgb_array'"):
        assert sync(single, 2).get_images() == [None, None]


def test_wrappers_are_found_and_a_curriculum_is_reached() -> None:
    curriculum = AdaptiveCurriculum({"addition": 1}, {"addition": 3})
    inner = ArithmeticVectorEnv(2, autoreset_mode="SameStep", **SMALL_ENV)
    env = GymnasiumVecEnv(VectorCurriculumWrapper(inner, curriculum))
    assert env.env_is_wrapped(VectorCurriculumWrapper) == [True, True]
    assert env.env_is_wrapped(VecMonitor) == [False, False]
    other = AdaptiveCurriculum({"subtraction": 2}, {"subtraction": 3})
    env.env_method("set_curriculum", other)
    assert inner.episodes.level_sampler is other
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
