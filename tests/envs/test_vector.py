"""The native vector environment is N single ones: the same seeds and actions give the same everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ActionError, ConfigurationError
from o1nano.envs.language.vocab import THINK, VOCAB_SIZE
from o1nano.envs.problems.expert import ExpertPolicy
from o1nano.envs.vector import ArithmeticVectorEnv
from tests.helpers.play import ids

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
N = 4
CONFIG: dict[str, Any] = {"digits": (1, 2), "frame_length": 64, "depth": 6, "max_tokens": 60}
Actor = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]], npt.NDArray[np.int64]]


def pair(mode: AutoresetMode, steps: int | None = None, **config: Any) -> tuple[ArithmeticVectorEnv, SyncVectorEnv]:
    """A native vector and Gymnasium's vector of single environments."""

    def single() -> Any:
        env = ArithmeticEnv(**{**CONFIG, **config})
        return env if steps is None else TimeLimit(env, steps)

    native = ArithmeticVectorEnv(N, max_episode_steps=steps, autoreset_mode=mode, **{**CONFIG, **config})
    return native, SyncVectorEnv([single] * N, autoreset_mode=mode)


def test_every_action_is_legal_where_the_next_step_is_a_reset() -> None:
    """A masked policy of anybody's needs one: of no legal action its probabilities are no numbers."""
    envs = pair(AutoresetMode.NEXT_STEP)[0]
    envs.reset(seed=0)
    terminated = envs.step(np.full(N, ids("<eos>")[0]))[2]  # illegal at the beginning
    assert terminated.all() and envs.action_masks().all()
    envs.step(np.zeros(N, dtype=np.int64))
    assert envs.action_masks().any(1).all() and not envs.action_masks().all()


def half_expert(seed: int) -> Actor:
    """The first half of the rows plays like the expert, the others at random, sometimes illegally."""
    expert, rng = ExpertPolicy(), np.random.default_rng(seed)

    def act(
        observations: npt.NDArray[Any], masks: npt.NDArray[np.bool_], resting: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        actions = np.zeros(N, dtype=np.int64)
        actions[: N // 2] = expert.predict(observations[: N // 2])
        for row in range(N // 2, N):
            if masks[row, THINK]:
                actions[row] = THINK  # otherwise most episodes would be a short wrong answer
            elif not resting[row] and rng.random() > 0.01:
                actions[row] = rng.choice(np.flatnonzero(masks[row]))
        return actions

    return act


def assert_same(native: Any, reference: Any) -> None:
    """Deep equality of what two vectors return, element types included."""
    if isinstance(reference, dict):
        assert set(native) == set(reference)
        for key, value in reference.items():
            assert_same(native[key], value)
    elif reference.dtype == object:
        assert native.dtype == object
        for mine, other in zip(native, reference, strict=True):
            assert type(mine) is type(other)
            np.testing.assert_array_equal(mine, other)
    else:
        assert native.dtype == reference.dtype
        np.testing.assert_array_equal(native, reference)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_native_is_gymnasiums_vector_of_single_environments(mode: AutoresetMode, dtype: str) -> None:
    native, reference = pair(mode, obs_dtype=dtype)
    (observations, infos), (expected, expected_infos) = native.reset(seed=5), reference.reset(seed=5)
    assert_same(observations, expected)
    assert_same(infos, expected_infos)
    act, resting = half_expert(0), np.zeros(N, dtype=bool)
    rewards, outcomes = 0.0, set[str]()
    for _ in range(400):
        masks = native.action_masks()
        np.testing.assert_array_equal(masks[~resting], np.stack(reference.call("action_masks"))[~resting])
        actions = act(observations, masks, resting)
        result, expected_result = native.step(actions), reference.step(actions)
        for mine, other in zip(result, expected_result, strict=True):
            assert_same(mine, other)
        observations, reward, terminated, truncated, infos = result
        assert not truncated.any()
        resting = terminated & (mode == AutoresetMode.NEXT_STEP)
        rewards += reward.sum()
        ended = infos.get("final_info", {}) if mode == AutoresetMode.SAME_STEP else infos
        outcomes |= set(ended.get("outcome", [])) - {None}
    assert rewards >= 10  # the comparison has seen successes,
    assert {"answered", "illegal_token", "out_of_tokens"} <= outcomes  # and several kinds of failure


@pytest.mark.parametrize("mode", MODES)
def test_max_episode_steps_truncates_as_a_time_limit_does(mode: AutoresetMode) -> None:
    native, reference = pair(mode, steps=9)
    (observations, _), _ = native.reset(seed=2), reference.reset(seed=2)
    act, resting, seen = half_expert(1), np.zeros(N, dtype=bool), np.zeros(2, dtype=int)
    for _ in range(100):
        actions = act(observations, native.action_masks(), resting)
        (*results, infos), (*expected_results, expected_infos) = native.step(actions), reference.step(actions)
        expected_results[3] &= ~expected_results[2]  # TimeLimit also marks what has just terminated
        for mine, other in zip(results, expected_results, strict=True):
            assert_same(mine, other)
        observations, rewards, terminated, truncated = results
        assert not rewards[truncated].any()
        resting = (terminated | truncated) & (mode == AutoresetMode.NEXT_STEP)
        seen += terminated.sum(), truncated.sum()
        assert_same(infos, expected_infos)
    assert (seen >= 5).all()


def test_termination_at_the_last_step_is_not_truncation() -> None:
    envs = ArithmeticVectorEnv(1, max_episode_steps=2, autoreset_mode=AutoresetMode.SAME_STEP, **CONFIG)
    envs.reset(seed=0, options={"problem": "1+1"})
    _, _, terminated, truncated, _ = envs.step(np.array(ids("2")))
    assert not terminated[0] and not truncated[0]
    _, reward, terminated, truncated, _ = envs.step(np.array(ids("<eos>")))
    assert (reward[0], terminated[0], truncated[0]) == (1.0, True, False)


def test_an_episode_has_its_own_count_of_steps() -> None:
    envs = ArithmeticVectorEnv(2, max_episode_steps=3, autoreset_mode=AutoresetMode.SAME_STEP, **CONFIG)
    envs.reset(seed=0)
    actions = ("<think> <pad>", "; <think>", "; ;", "<think> ;")  # the second row begins anew after its first step
    history = [envs.step(np.array(ids(pair_)))[3].tolist() for pair_ in actions]
    assert history == [[False, False], [False, False], [True, False], [False, True]]


@pytest.mark.parametrize("mode", MODES)
def test_given_problems_are_for_the_explicit_reset_only(mode: AutoresetMode) -> None:
    native, _ = pair(mode, digits=2)
    _, infos = native.reset(seed=0, options={"problem": "123456+1"})
    assert infos["problem"].tolist() == ["123456+1"] * N
    native.step(np.zeros(N, dtype=np.int64))
    native.step(np.zeros(N, dtype=np.int64))
    assert all(problem.text != "123456+1" for problem in native.episodes.problems if problem)


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_mask_resets_and_seeds_only_the_rows_it_names(mode: AutoresetMode) -> None:
    native, reference = pair(mode)
    native.reset(seed=5), reference.reset(seed=5)
    actions = np.array(ids("<think> <think> 1 1"))
    native.step(actions), reference.step(actions)
    mask = np.array([True, False, True, False])
    result = native.reset(seed=9, options={"reset_mask": mask})
    expected = reference.reset(seed=9, options={"reset_mask": mask.copy()})
    assert_same(result[0], expected[0])
    assert_same(result[1], expected[1])
    everything, everything_expected = native.reset(), reference.reset()  # the streams of all rows go on alike
    assert_same(everything[0], everything_expected[0])


def test_seeds_may_be_given_one_by_one() -> None:
    native, reference = pair(AutoresetMode.SAME_STEP)
    assert_same(native.reset(seed=[3, 1, 4, 1])[0], reference.reset(seed=[3, 1, 4, 1])[0])
    first, second = native.reset(seed=[7, None, 7, None])[0][[0, 2]]
    np.testing.assert_array_equal(first, second)


def test_rows_have_different_problems() -> None:
    native, _ = pair(AutoresetMode.SAME_STEP, digits=3)
    assert len(set(native.reset(seed=0)[1]["problem"])) == N


@pytest.mark.parametrize("mode", MODES)
def test_what_is_returned_does_not_change_later(mode: AutoresetMode) -> None:
    native, _ = pair(mode, obs_dtype="uint8")
    kept = [native.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for token in ("<think>", ";", "<pad>", "<think>", ";"):
        result = native.step(np.array(ids(" ".join([token] * N))))
        kept += result[:4]
        copies += [part.copy() for part in result[:4]]
    for mine, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(mine, copy)


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"autoreset_mode": AutoresetMode.DISABLED}, "Disabled"),
        ({"autoreset_mode": "bogus"}, "autoreset_mode='bogus'"),
        ({"digits": 0}, "digits=0"),
        ({"obs_dtype": "bool"}, "obs_dtype='bool'"),
    ],
)
def test_senseless_arguments_are_refused_by_name(kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*accepted"):
        ArithmeticVectorEnv(**kwargs)


def test_there_is_one_seed_and_one_action_for_each_environment() -> None:
    native, _ = pair(AutoresetMode.SAME_STEP)
    with pytest.raises(ConfigurationError, match=r"2 seeds.*each of 4"):
        native.reset(seed=[1, 2])
    native.reset(seed=0)
    for actions in (np.array([1]), np.array([1, 2, 3, VOCAB_SIZE]), np.array([1, 2, 3, -1])):
        with pytest.raises(ActionError, match=f"4 integers from 0 to {VOCAB_SIZE - 1}"):
            native.step(actions)
