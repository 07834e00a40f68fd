"""Playing scripts against environments that pay more terms than the true reward."""

from __future__ import annotations

from itertools import chain, cycle
from typing import Any

import gymnasium as gym
import numpy as np

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.rewards import RewardTerm
from o1nano.envs.problems.expert import ExpertPolicy
from o1nano.envs.wrappers import RewardWrapper
from tests.helpers.play import ids

Term = RewardTerm | str


def paying(terms: list[Term], **config: Any) -> gym.Env[Any, Any]:
    """An environment with one wrapper a term."""
    env: gym.Env[Any, Any] = ArithmeticEnv(**config)
    for term in terms:
        env = RewardWrapper(env, term)
    return env


def paid(terms: list[Term], script: str, problem: str = "98+45", **config: Any) -> tuple[list[float], dict[str, Any]]:
    """Plays a script to the end of its episode. Returns the reward of every token, and the terminal info."""
    env = paying(terms, **config)
    env.reset(seed=0, options={"problem": problem})
    return follow(env, script)


def follow(env: gym.Env[Any, Any], script: str) -> tuple[list[float], dict[str, Any]]:
    """Emits a script; what follows a bar in it is repeated until the episode ends, otherwise its last token ends it."""
    once, _, again = script.partition("|")
    rewards: list[float] = []
    for token in chain(ids(once), cycle(ids(again))):
        _, reward, terminated, _, info = env.step(np.int64(token))
        rewards.append(float(reward))
        if terminated:
            assert again or len(rewards) == len(ids(once)), f"ended after {len(rewards)} tokens: {info}"
            return rewards, info
    raise AssertionError(f"the script leaves the episode unfinished: {script}")


def honest(terms: list[Term], problem: str, **config: Any) -> tuple[list[float], dict[str, Any]]:
    """Has the expert solve a problem. Returns the reward of every token, and the terminal info."""
    env = paying(terms, **config)
    observation, info = env.reset(seed=0, options={"problem": problem})
    expert, rewards, terminated = ExpertPolicy(), [], False
    while not terminated:
        observation, reward, terminated, _, info = env.step(expert.predict(observation[None])[0])
        rewards.append(float(reward))
    return rewards, info
