"""Infos have the same keys at every step, also where a time limit cuts an episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

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


@pytest.mark.parametrize("kind", ["native", "single"])
def test_the_rate_of_success_counts_what_a_time_limit_cuts(kind: str) -> None:
    model = PPO("MlpPolicy", monitored(kind), n_steps=8, batch_size=8, device="cpu")
    model._setup_learn(1)
    assert model.env is not None
    model.env.seed(0)
    model.env.reset()
    expert, ended = ids("1 2 3 4"), []
    for step in range(40):
        # The first two rows write 1 digit and end, the others are cut while they write the second.
        actions = np.array([expert[step % 4], ids("<eos>")[0]])[[step % 2] * 4]
        actions[2:] = ids("1")[0]
        _, _, dones, infos = model.env.step(actions)
        model._update_info_buffer(infos, dones)
        ended += [info["episode"] for info, done in zip(infos, dones, strict=True) if done]
    assert len(ended) == 80 and {episode["outcome"] for episode in ended} == {"answered", "truncated"}
    rate = np.mean(model.ep_success_buffer)
    assert rate == np.mean([episode["is_success"] for episode in ended])
    assert 0 < rate <= 0.5
