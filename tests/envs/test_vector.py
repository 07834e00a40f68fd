"""The native vector environment is N single ones: the same seeds and actions give the same everything."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ActionError, ConfigurationError, RenderModeError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorOneHotWrapper
from tests.helpers.play import ids
from tests.helpers.vectors import N, assert_same, half_expert

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
CONFIG: dict[str, Any] = {"digits": (1, 2), "frame_length": 64, "depth": 6, "max_tokens": 60}


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
    actions = ("<think> <pad>", "; <think>", "; ;", "<think> ;")  # the second row begins again after its first step
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
    everything, everything_expected = native.reset(), reference.reset()  # the streams of all rows continue alike
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
    for mine, before in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(mine, before)


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"autoreset_mode": "bogus"}, "autoreset_mode='bogus'"),
        ({"digits": 0}, "digits=0"),
        ({"obs_dtype": "bool"}, "obs_dtype='bool'"),
    ],
)
def test_senseless_arguments_are_refused_by_name(kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*(accepted|expected)"):
        ArithmeticVectorEnv(**kwargs)


def test_there_is_one_seed_and_one_action_for_each_environment() -> None:
    native, _ = pair(AutoresetMode.SAME_STEP)
    with pytest.raises(ConfigurationError, match=r"2 seeds.*each of 4"):
        native.reset(seed=[1, 2])
    native.reset(seed=0)
    for actions in (np.array([1]), np.array([1, 2, 3, VOCAB_SIZE]), np.array([1, 2, 3, -1])):
        with pytest.raises(ActionError, match=f"4 integers from 0 to {VOCAB_SIZE - 1}"):
            native.step(actions)


@pytest.mark.parametrize("actions", [[1.0] * 4, [[1]] * 4, 3, [1, 2, 3, None], ["1"] * 4])
def test_actions_that_are_not_integers_are_refused(actions: Any) -> None:
    native, _ = pair(AutoresetMode.SAME_STEP)
    envs = VectorOneHotWrapper(native, actions=["1", "<eos>"])
    envs.reset(seed=0)
    for one in (native, envs):
        with pytest.raises(ActionError, match="expected 4 integers from 0 to"):
            one.step(np.array(actions))
    for outside in (-1, 2):
        with pytest.raises(ActionError, match=f"action {outside}; expected 4 integers from 0 to 1"):
            envs.step(np.array([0, 1, 0, outside]))


def test_disabled_automatic_resets_are_as_gymnasiums() -> None:
    native, reference = pair(AutoresetMode.DISABLED, steps=9)
    (observations, infos), expected = native.reset(seed=5), reference.reset(seed=5)
    assert_same(observations, expected[0])
    act, ends = half_expert(0), 0
    for _ in range(60):
        actions = act(observations, native.action_masks(), np.zeros(N, dtype=bool))
        (*results, infos), (*expected_results, expected_infos) = native.step(actions), reference.step(actions)
        expected_results[3] &= ~expected_results[2]  # TimeLimit also marks what has just terminated
        for mine, other in zip(results, expected_results, strict=True):
            assert_same(mine, other)
        assert_same(infos, expected_infos)
        observations, ended = results[0], results[2] | results[3]
        if ended.any():
            ends += 1
            assert native.action_masks()[ended].all()
            with pytest.raises(ActionError, match="has ended; expected a reset_mask"):
                native.step(actions)
            again = native.reset(options={"reset_mask": ended})
            expected = reference.reset(options={"reset_mask": ended.copy()})
            assert_same(again[0], expected[0])
            assert_same(again[1], expected[1])
            observations = again[0]
    assert ends > 5


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_autoreset_mode_is_an_attribute_as_gymnasiums(mode: AutoresetMode) -> None:
    native, reference = pair(mode)
    assert native.autoreset_mode == reference.autoreset_mode == native.metadata["autoreset_mode"] == mode
    assert ArithmeticVectorEnv(1, autoreset_mode=mode.value).autoreset_mode == mode


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
def test_a_vector_renders_as_gymnasiums(mode: str | None) -> None:
    for autoreset in MODES:
        kwargs = {"render_mode": mode}
        native = gym.make_vec("o1nano/Direct-v0", 2, autoreset_mode=autoreset, **kwargs)
        vector_kwargs = {"autoreset_mode": autoreset}
        reference = gym.make_vec("o1nano/Direct-v0", 2, "sync", vector_kwargs, **kwargs)
        assert native.render_mode == reference.render_mode == mode
        assert native.metadata["render_fps"] == reference.metadata["render_fps"]
        native.reset(seed=0), reference.reset(seed=0)
        for tokens in ("1 <eos>", "2 1", "<eos> <eos>"):
            native.step(np.array(ids(tokens))), reference.step(np.array(ids(tokens)))
            pictures, expected = native.render(), reference.render()
            assert isinstance(pictures, tuple) and len(pictures) == len(expected) == 2
            for mine, other in zip(pictures, expected, strict=True):
                np.testing.assert_array_equal(mine, other)


def test_a_live_display_of_a_vector_is_refused() -> None:
    with pytest.raises(RenderModeError, match="render_mode='human'; expected None, 'ansi' or 'rgb_array'"):
        gym.make_vec("o1nano/Direct-v0", 2, render_mode="human")


def test_attributes_and_methods_are_reached_as_gymnasiums() -> None:
    native, reference = pair(AutoresetMode.SAME_STEP)
    native.reset(seed=[3, 1, 4, 1]), reference.reset(seed=[3, 1, 4, 1])
    assert native.np_random_seed == reference.np_random_seed == native.get_attr("np_random_seed") == (3, 1, 4, 1)
    for name in ("render_mode", "config", "action_space", "observation_space"):
        assert native.get_attr(name) == reference.get_attr(name) == native.call(name)
    draws = [generator.random() for generator in native.np_random]
    assert draws == [generator.random() for generator in reference.np_random]
    for mine, other in zip(native.call("action_masks"), reference.call("action_masks"), strict=True):
        np.testing.assert_array_equal(mine, other)
    for name in ("get_attr", "call"):
        with pytest.raises(AttributeError, match="bogus"):
            getattr(native, name)("bogus")
    for envs in (native, reference):
        envs.set_attr("render_mode", "ansi")
        assert envs.get_attr("render_mode") == ("ansi",) * N
        envs.set_attr("render_mode", ["rgb_array"] * N)
        with pytest.raises(ValueError, match=r"3 values|`3` values"):
            envs.set_attr("render_mode", [None] * 3)
    assert native.call("render")[0].shape == reference.call("render")[0].shape
    with pytest.raises(ConfigurationError, match="expected the same for every environment"):
        native.set_attr("render_mode", ["ansi", None, None, None])


def test_a_limit_of_minus_one_is_none_as_in_gymnasium() -> None:
    assert ArithmeticVectorEnv(1, max_episode_steps=-1).max_episode_steps is None
    for limit in (0, 1.5, "9"):
        with pytest.raises(ConfigurationError, match="max_episode_steps="):
            ArithmeticVectorEnv(1, max_episode_steps=limit)  # type: ignore[arg-type]


def test_a_step_before_the_first_reset_of_a_row_is_refused() -> None:
    for mode in AutoresetMode:
        native, _ = pair(mode)
        with pytest.raises(ActionError, match="before the first reset of environment 0"):
            native.step(np.zeros(N, dtype=np.int64))
        native.reset(options={"reset_mask": np.array([True, True, False, True])})
        with pytest.raises(ActionError, match="before the first reset of environment 2"):
            native.step(np.zeros(N, dtype=np.int64))


def test_infos_that_were_returned_do_not_change_later() -> None:
    native, _ = pair(AutoresetMode.SAME_STEP)
    _, first = native.reset(seed=0)
    kept = copy.deepcopy(first)
    for _ in range(5):
        native.step(np.array(ids("<think> <eos> 1 <pad>")))
    assert_same(first, kept)
