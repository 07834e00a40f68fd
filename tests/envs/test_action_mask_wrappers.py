"""The mask that the wrappers put into infos and observations is the environment's own, step for step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

from o1nano.envs.action_mask_wrappers import ActionMaskWrapper, Place, VectorActionMaskWrapper
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import OneHotWrapper, VectorOneHotWrapper, VectorRewardWrapper

SMALL: dict[str, Any] = {"digits": 1, "frame_length": 24, "max_tokens": 20}
MODES = ("NextStep", "SameStep")
PLACES: tuple[Place, ...] = ("info", "observation")


def found(place: Place, observation: Any, info: dict[str, Any]) -> Any:
    mask = info["action_mask"] if place == "info" else observation["action_mask"]
    assert mask.dtype == np.int8
    return mask


def legal(rng: np.random.Generator, mask: Any) -> np.int64:
    """A legal action, or one time in ten any."""
    return np.int64(rng.choice(np.flatnonzero(mask)) if rng.random() < 0.9 else rng.integers(len(mask)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hot", [False, True])
def test_a_single_environment_over_random_episodes(place: Place, hot: bool) -> None:
    inner: Any = ArithmeticEnv(**SMALL)
    inner = OneHotWrapper(inner, actions=[*"0123456789-", "<think>", "</think>", "<eos>"]) if hot else inner
    env = ActionMaskWrapper(inner, place)
    rng = np.random.default_rng(0)
    ends = 0
    for seed in range(30):
        observation, info = env.reset(seed=seed)
        ended = False
        while not ended:
            mask = found(place, observation, info)
            np.testing.assert_array_equal(mask, inner.get_wrapper_attr("action_masks")())
            assert env.observation_space.contains(observation)
            observation, _, ended, _, info = env.step(legal(rng, mask))
        assert found(place, observation, info).all()
        ends += 1
    assert ends == 30


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["native", "sync", "hot", "paid"])
def test_a_vector_over_random_episodes(place: Place, mode: str, kind: str) -> None:
    inner: Any = (
        SyncVectorEnv([lambda: ArithmeticEnv(**SMALL)] * 3, autoreset_mode=mode)
        if kind == "sync"
        else ArithmeticVectorEnv(3, autoreset_mode=mode, **SMALL)
    )
    base = inner
    if kind == "hot":
        inner = VectorOneHotWrapper(inner)
    elif kind == "paid":
        inner = VectorRewardWrapper(inner, "digits")
    env = VectorActionMaskWrapper(inner, place)
    rng = np.random.default_rng(1)
    observation, info = env.reset(seed=0)
    ends = 0
    for _ in range(100):
        masks = found(place, observation, info)
        assert masks.shape == (3, VOCAB_SIZE)
        np.testing.assert_array_equal(masks, np.stack(base.call("action_masks")))
        if kind != "hot":
            assert env.observation_space.contains(observation)
        observation, _, ended, _, info = env.step(np.array([legal(rng, mask) for mask in masks]))
        ends += ended.sum()
        if place == "observation" and ended.any() and mode == "SameStep":
            final = info["final_obs"][int(np.flatnonzero(ended)[0])]
            assert env.single_observation_space.contains(final) and final["action_mask"].all()
    assert ends > 5


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.parametrize("place", PLACES)
def test_the_wrapped_environment_is_one_of_gymnasium(place: Place) -> None:
    check_env(ActionMaskWrapper(gym.make("o1nano/Direct-v0").unwrapped, place), skip_render_check=True)


def test_single_and_vector_agree() -> None:
    single = ActionMaskWrapper(ArithmeticEnv(**SMALL))
    vector = VectorActionMaskWrapper(ArithmeticVectorEnv(1, **SMALL))
    _, info = single.reset(seed=3)
    _, infos = vector.reset(seed=3)
    rng = np.random.default_rng(0)
    ended = False
    while not ended:
        np.testing.assert_array_equal(info["action_mask"], infos["action_mask"][0])
        action = np.int64(rng.choice(np.flatnonzero(info["action_mask"])))
        _, _, ended, _, info = single.step(action)
        _, _, _, _, infos = vector.step(np.array([action]))
    assert infos["_action_mask"].all()


def test_masks_are_copies() -> None:
    env = ActionMaskWrapper(ArithmeticEnv(**SMALL))
    _, info = env.reset(seed=0)
    info["action_mask"][:] = 0
    assert env.action_masks().any()


def test_what_has_no_mask_or_no_such_place_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="action_masks"):
        ActionMaskWrapper(gym.make("CartPole-v1"))
    with pytest.raises(ConfigurationError, match="into='reward'"):
        ActionMaskWrapper(ArithmeticEnv(), "reward")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="into='reward'"):
        VectorActionMaskWrapper(ArithmeticVectorEnv(2), "reward")  # type: ignore[arg-type]


def test_a_mask_of_another_size_is_refused() -> None:
    hot = VectorOneHotWrapper(ArithmeticVectorEnv(2), actions=[*"0123456789"])
    with pytest.raises(ConfigurationError, match=f"mask of {VOCAB_SIZE} actions"):
        VectorActionMaskWrapper(VectorRewardWrapper(hot, "digits"))
