"""Every wrapper around every registered id, and every kind of vector of it: iterated, so that none can escape."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorStatistics
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import o1nano
from o1nano.envs import wrappers
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.core.reward_terms import TERMS
from o1nano.envs.wrappers import CurriculumWrapper, OneHotWrapper, RewardWrapper

assert o1nano.__version__  # importing the package registers the ids
ALL_IDS = sorted(name for name in gym.registry if name.startswith("o1nano/"))
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


def one_level(env: gym.Env[Any, Any]) -> CurriculumWrapper:
    """A curriculum with one level: with several, the same seed may pose another problem after other results."""
    level = env.unwrapped.config.levels[0]  # type: ignore[attr-defined]
    return CurriculumWrapper(env, AdaptiveCurriculum({level.family: level.size}, {level.family: level.size}))


WRAPPERS: dict[str, Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = {
    "curriculum": one_level,
    "one-hot": OneHotWrapper,
    "statistics": RecordEpisodeStatistics,
    **{f"reward {name}": lambda env, name=name: RewardWrapper(env, name) for name in TERMS},
}


def test_every_wrapper_is_in_the_matrix() -> None:
    ours = {
        wrapper
        for module in (wrappers,)
        for _, wrapper in inspect.getmembers(module, inspect.isclass)
        if issubclass(wrapper, gym.Wrapper) and wrapper.__module__ == module.__name__
    }
    env = gym.make("o1nano/Arithmetic-v0")
    assert {type(wrap(env)) for wrap in WRAPPERS.values()} >= ours
    assert len(ours) >= 3


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")  # that is what is tested here
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ALL_IDS)
def test_every_wrapper_around_every_id_passes_both_checkers(name: str, wrapper: str) -> None:
    wrap = WRAPPERS[wrapper]
    check_env(wrap(gym.make(name, disable_env_checker=True)), skip_render_check=True)
    sb3_check_env(wrap(gym.make(name, disable_env_checker=True)), warn=True)
    env = pickle.loads(pickle.dumps(wrap(gym.make(name))))
    env.reset(seed=0)
    assert env.get_wrapper_attr("action_masks")().any()


def play(envs: Any, steps: int) -> tuple[list[Any], int]:
    """Observations and rewards of seeded random play, and how many episodes have ended."""
    rng = np.random.default_rng(0)
    history, ended = [envs.reset(seed=0)[0].tolist()], 0
    for _ in range(steps):
        actions = rng.integers(envs.single_action_space.n, size=envs.num_envs)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        history += [observations.tolist(), rewards.tolist(), terminated.tolist(), truncated.tolist()]
        ended += int((terminated | truncated).sum())
    return history, ended


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ALL_IDS)
def test_native_and_synchronous_vectors_play_alike_and_are_recorded(name: str, mode: AutoresetMode) -> None:
    native = VectorStatistics(gym.make_vec(name, 3, autoreset_mode=mode))
    kwargs = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    synchronous = VectorStatistics(gym.make_vec(name, 3, **kwargs))  # type: ignore[arg-type]
    played = play(native, 40)
    assert played == play(synchronous, 40)
    assert played[1] > 10
    assert native.episode_count == synchronous.episode_count > 0


@pytest.mark.parametrize("mode", MODES)
def test_asynchronous_vectors_play_alike(mode: AutoresetMode) -> None:
    kwargs = {"vectorization_mode": "async", "vector_kwargs": {"autoreset_mode": mode, "context": "fork"}}
    asynchronous = gym.make_vec("o1nano/Arithmetic-v0", 2, **kwargs)  # type: ignore[arg-type]
    native = gym.make_vec("o1nano/Arithmetic-v0", 2, autoreset_mode=mode)
    assert play(asynchronous, 30) == play(native, 30)
    asynchronous.close()
