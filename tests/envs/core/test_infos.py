"""Infos have the same keys at every step, also where a time limit cuts an episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.wrappers import RewardWrapper, VectorRewardWrapper
from tests.helpers.play import ids

DIRECT = "o1nano/Direct-v0"


def shape(info: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in info.items()}


@pytest.mark.parametrize("script", ["7 <eos>", "<eos>", "1 1 1"])  # answered, illegal, cut
def test_one_environment_says_the_same_things_at_every_step(script: str) -> None:
    env = RewardWrapper(gym.make(DIRECT, max_episode_steps=3), "digits")
    _, info = env.reset(seed=0, options={"problem": "3+4"})
    expected = shape(info)
    ended = False
    for token in ids(script):
        assert not ended
        _, _, terminated, truncated, info = env.step(np.int64(token))
        ended = terminated or truncated
        assert shape(info) == expected
    assert ended
    outcome = {"7 <eos>": "answered", "<eos>": "illegal_token", "1 1 1": "truncated"}[script]
    assert (info["outcome"], info["is_success"]) == (outcome, script == "7 <eos>")


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_vector_says_the_same_things_of_every_row_at_every_step(mode: str) -> None:
    envs = VectorRewardWrapper(gym.make_vec(DIRECT, 3, autoreset_mode=mode, max_episode_steps=4), "digits")
    _, first = envs.reset(seed=0)
    everywhere = {name: column.dtype for name, column in first.items()}
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(60):
        actions = rng.choice(ids("1 1 1 1 2 3 <eos>"), 3)
        _, _, terminated, truncated, infos = envs.step(actions)
        for name, dtype in everywhere.items():
            assert infos[name].dtype == dtype and infos[name].shape == (3,)
            assert not name.startswith("_") or infos[name].all()
        ended = terminated | truncated
        finals = infos.get("final_info", infos)
        assert set(everywhere) <= set(finals)
        if ended.any():
            outcomes |= set(finals["outcome"][ended])
        if "final_info" in infos:
            assert set(finals) == set(everywhere) and (finals["_outcome"] == ended).all()
        assert (finals["outcome"][truncated] == "truncated").all()
    assert {"truncated", "answered", "illegal_token"} <= outcomes


def test_a_truncated_episode_tells_what_it_has_spent() -> None:
    single = TimeLimit(ArithmeticEnv(), 3)
    envs = gym.make_vec("o1nano/Arithmetic-v0", 1, autoreset_mode="SameStep", max_episode_steps=3)
    single.reset(options={"problem": "3+4"})
    envs.reset(options={"problem": "3+4"})
    for token in ids("<think> 1 1"):
        _, _, _, truncated, info = single.step(np.int64(token))
        infos = envs.step(np.array([token]))[4]
    assert truncated and infos["final_info"]["reasoning_tokens"].tolist() == [info["reasoning_tokens"]] == [2]


def monitored(kind: str) -> VecEnv:
    """Four environments under a time limit in which two-token answers are cut."""
    if kind == "native":
        envs = gym.make_vec(DIRECT, 4, autoreset_mode="SameStep", max_episode_steps=2)
        return VecMonitor(GymnasiumVecEnv(envs), info_keywords=("is_success", "outcome"))
    keywords = ("is_success", "outcome")
    return DummyVecEnv([lambda: Monitor(gym.make(DIRECT, max_episode_steps=2), info_keywords=keywords)] * 4)


class Scripted(VecEnvWrapper):
    """Ignores the agent: the first two rows write a digit and end, the others are cut while they write the second."""

    def __init__(self, envs: VecEnv) -> None:
        super().__init__(envs)
        self.steps = 0
        self.ended: list[dict[str, Any]] = []

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        digit = ids("1 2 3 4")[self.steps // 2 % 4]
        scripted = np.full(4, ids("1")[0])
        scripted[:2] = ids("<eos>")[0] if self.steps % 2 else digit
        self.steps += 1
        self.venv.step_async(scripted)

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        self.ended += [info["episode"] for info, done in zip(infos, dones, strict=True) if done]
        return observations, rewards, dones, infos


@pytest.mark.parametrize("kind", ["native", "single"])
def test_the_rate_of_success_counts_what_a_time_limit_cuts(kind: str) -> None:
    envs = Scripted(monitored(kind))
    envs.seed(0)
    model = PPO("MlpPolicy", envs, n_steps=40, batch_size=40, n_epochs=1, device="cpu")
    model.learn(160)
    assert len(envs.ended) == 80
    assert {episode["outcome"] for episode in envs.ended} == {"answered", "truncated"}
    assert model.ep_success_buffer is not None
    rate = np.mean(model.ep_success_buffer)
    assert rate == np.mean([episode["is_success"] for episode in envs.ended])
    assert 0 < rate <= 0.5
