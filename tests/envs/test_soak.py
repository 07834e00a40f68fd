"""Random actions, by the thousand in the fast tier and by the million in the slow one, break no invariant of any id."""

from __future__ import annotations

from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import o1nano
from o1nano.envs.core.call_stack import Outcome
from o1nano.envs.language.vocab import ID, VOCAB_SIZE
from o1nano.envs.problems.problem import Level, Problem
from o1nano.envs.registration import IDS
from o1nano.envs.vector import ArithmeticVectorEnv

assert o1nano.__version__  # importing the package registers the ids
ALL_IDS = sorted(name for name in gym.registry if name.startswith("o1nano/"))
SHARES = [0.0, 0.02, 0.3]  # of structural tokens that a random agent would hardly ever write in the right order


def random_actions(env: ArithmeticVectorEnv, rng: np.random.Generator, masked: bool, share: float) -> np.ndarray:
    """Random tokens; with a mask, legal ones, a share of them drawn from those that open, call, return and end."""
    if not masked:
        return rng.integers(VOCAB_SIZE, size=env.num_envs)
    scores = rng.random((env.num_envs, VOCAB_SIZE)) * env.action_masks()
    structural = [ID[token] for token in ("<think>", "<call>", "</call>", "<goto>", "</think>", "=")]
    scores[:, structural] *= np.where(rng.random((env.num_envs, 1)) < share, 50, 1)
    return scores.argmax(1)


def reuse_problems(env: ArithmeticVectorEnv, most: int = 2_000) -> None:
    """Draws this number of problems, then poses them again: of unmasked actions nearly every one ends an episode."""
    episodes, drawn = env.episodes, list[Problem]()
    draw = episodes.draw_problem

    def draw_or_reuse(level: Level, rng: np.random.Generator) -> Problem:
        if len(drawn) < most:
            drawn.append(draw(level, rng))
            return drawn[-1]
        return drawn[int(rng.random() * most)]

    episodes.draw_problem = draw_or_reuse  # type: ignore[method-assign]


def soak(name: str, seed: int, masked: bool, actions: int, num_envs: int, share: float) -> int:
    """Plays that many random actions, checks every invariant after each step, and returns the number of episodes."""
    env = gym.make_vec(name, num_envs, autoreset_mode="SameStep", obs_dtype="uint8")
    assert isinstance(env, ArithmeticVectorEnv)
    reuse_problems(env)
    rng, stacks, limits = np.random.default_rng(seed), env.episodes.stacks, env.config.limits
    observations, _ = env.reset(seed=seed)
    episodes, spent = 0, np.zeros(num_envs, dtype=np.int64)
    for _ in range(actions // num_envs):
        legal = env.action_masks()
        assert legal.any(1).all()
        chosen = random_actions(env, rng, masked, share)
        was_legal = legal[np.arange(num_envs), chosen]
        observations, rewards, terminated, truncated, infos = env.step(chosen)
        spent += 1
        assert env.observation_space.contains(observations)
        assert set(rewards.tolist()) <= {0.0, 1.0} and not truncated.any()
        assert (rewards <= terminated).all()
        assert (~was_legal <= terminated).all()
        length = (observations > 0).sum(1)
        assert (length == stacks.length).all() and (length < limits.frame_length).all()
        assert (observations[np.arange(num_envs), length - 1] > 0).all()  # no holes in a frame
        assert (stacks.depth < limits.depth).all() and (stacks.depth >= 0).all()
        assert (spent <= limits.max_tokens).all()
        assert (terminated == infos.get("_final_info", np.zeros(num_envs, dtype=bool))).all()
        if terminated.any():
            info = {key: values[terminated] for key, values in infos["final_info"].items()}
            assert (info["is_success"] == (rewards[terminated] == 1.0)).all()
            tokens = info["reasoning_tokens"] + info["completion_tokens"] + info["subtask_tokens"]
            assert (tokens == spent[terminated]).all()
            assert ((info["outcome"] == Outcome.ILLEGAL_TOKEN.name.lower()) == ~was_legal[terminated]).all()
            assert ((info["answer"] != "") == (info["outcome"] == "answered")).all()
            spent[terminated] = 0
            episodes += int(terminated.sum())
    return episodes


@pytest.mark.parametrize("name", ALL_IDS)
def test_random_actions_break_nothing(name: str) -> None:
    cases = enumerate(product((True, False), SHARES))
    played = [soak(name, seed, masked, actions=1360, num_envs=34, share=share) for seed, (masked, share) in cases]
    assert sum(played) > 0


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", ALL_IDS)
def test_a_million_random_actions_break_nothing(name: str, masked: bool) -> None:
    played = [soak(name, seed, masked, actions=340_000, num_envs=512, share=share) for seed, share in enumerate(SHARES)]
    assert sum(played) > 1_000
    assert name in IDS
