"""Every term of the reward by hand, apart in the info, alike for one environment and the native vector."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.reward_terms import (
    TERMS,
    DigitCredit,
    FormatReward,
    SubAnswers,
    TokenPrice,
    agreement,
    expert_subtasks,
    is_canonical,
    make_term,
)
from o1nano.envs.core.rewards import RewardTerm
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.problems.problem import read
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import RewardWrapper, VectorRewardWrapper
from tests.helpers.paying import honest, paid, paying
from tests.helpers.play import ids
from tests.helpers.vectors import N, assert_same, half_expert

CHILD = "<think> <call> 8 9 + 5 4 </call> <think> 3 1 4 1 </think> 3 4 1 <eos>"
HONEST = f"{CHILD} </think> 1 4 3 <eos>"
ALL = list(TERMS)
CONFIG: dict[str, Any] = {"digits": (1, 2), "frame_length": 64, "depth": 6, "max_tokens": 90}


def test_the_expert_calls_these_subtasks() -> None:
    assert expert_subtasks(read("98+45")) == {bytes(ids("8 9 + 5 4"))}
    questions = ["3 5 - 4 3", "4 3 - 3 5"]
    assert expert_subtasks(read("34-53")) == {bytes(ids(question)) for question in questions}
    calls = ["2 1 * 4 3", "2 1 * 4", "2 1 * 3", "4 + 6 3"]
    assert expert_subtasks(read("12*34")) == {bytes(ids(call)) for call in calls}


def test_a_verified_sub_answer_is_paid_and_given_back_at_the_end() -> None:
    rewards, info = paid([SubAnswers(weight=0.4)], HONEST)
    returned = len(ids(CHILD)) - 1
    expected = np.zeros(len(ids(HONEST)))
    expected[returned], expected[-1] = 0.4, 1 - 0.4
    assert rewards == pytest.approx(expected)
    assert info["reward/sub_answers"] == pytest.approx(0)


def test_shaping_with_a_discount() -> None:
    rewards, info = paid([SubAnswers(weight=0.4, gamma=0.9)], HONEST)
    returned, last = len(ids(CHILD)) - 1, len(rewards) - 1
    expected = np.zeros(len(rewards))
    expected[returned] = 0.9 * 0.4
    expected[returned + 1 : last] = (0.9 - 1) * 0.4
    expected[last] = 1 - 0.4
    assert rewards == pytest.approx(expected)
    assert np.dot(rewards, 0.9 ** np.arange(len(rewards))) == pytest.approx(0.9**last)
    assert info["reward/total"] == pytest.approx(sum(rewards))


def test_the_potential_is_the_share_of_the_subtasks() -> None:
    rewards, info = honest([SubAnswers(weight=0.8)], "12*34")
    assert [reward for reward in rewards[:-1] if reward] == pytest.approx([0.2] * 4)
    assert rewards[-1] == pytest.approx(1 - 0.8)
    assert info["is_success"] and info["subtasks"] == 4


def test_wrong_trivial_and_repeated_sub_answers_are_paid_nothing() -> None:
    term = SubAnswers(weight=0.4)
    wrong = "<think> <call> 8 9 + 5 4 </call> 3 4 2 <eos>"
    trivial = "<think> <call> 1 + 1 </call> 2 <eos>"
    other_order = "<think> <call> 5 4 + 8 9 </call> 3 4 1 <eos>"
    for script in (wrong, trivial, other_order):
        assert not any(paid([term], f"{script} </think> 0 <eos>")[0])
    again = f"{CHILD} <call> 8 9 + 5 4 </call> 3 4 1 <eos> </think> 0 <eos>"
    assert [reward for reward in paid([term], again)[0] if reward] == pytest.approx([0.4, -0.4])


def test_a_tail_call_answers_the_question_that_was_asked() -> None:
    asked, first = "<think> <call> 2 + 3 * 4 </call>", "<think> <call> 3 * 4 </call> 2 1 <eos>"
    script = f"{asked} {first} <goto> 2 + 2 1 = 4 1 <eos> </think> 1 4 <eos>"
    rewards, info = paid([SubAnswers(weight=0.4)], script, "2+3*4")
    assert [reward for reward in rewards if reward] == pytest.approx([0.2, 0.2, 1 - 0.4])
    assert info["is_success"]


def test_the_price_is_of_every_hidden_token_of_a_right_answer() -> None:
    hidden = len(ids(HONEST)) - 4
    assert paid([TokenPrice(0.01)], HONEST)[0][-1] == pytest.approx(1 - 0.01 * hidden)
    assert paid([TokenPrice(0.01)], "1 4 3 <eos>")[1]["reward/token_price"] == 0.0
    assert paid([TokenPrice(0.01)], HONEST.replace("1 4 3", "1 4 4"))[1]["reward/total"] == 0.0
    assert paid([TokenPrice(0.1, most=0.3)], HONEST)[1]["reward/token_price"] == -0.3


@pytest.mark.parametrize(
    ("given", "expected", "share"),
    [
        ("1 4 3", "1 4 3", 1),
        ("1 4 4", "1 4 3", 2 / 3),
        ("4 3", "1 4 3", 2 / 3),
        ("0 1 4 3", "1 4 3", 3 / 4),
        ("3 4 1", "1 4 3", 1 / 3),
        ("- 0", "0", 1 / 2),
        ("1 9", "- 1 9", 2 / 3),
        ("1 3 9", "1 3 9 R 1 8", 3 / 5),
        ("1 3 9 R 8", "1 3 9 R 1 8", 4 / 5),
        ("1 3 9 R 1 8", "1 3 9 R 1 8", 1),
        ("7 R 7", "7", 1 / 2),
        ("1 1 1 1 1 1 1 1 1 1", "1", 1 / 10),
    ],
)
def test_agreement_by_hand(given: str, expected: str, share: float) -> None:
    assert agreement(bytes(ids(given)), bytes(ids(expected))) == pytest.approx(share)


def test_partial_credit() -> None:
    assert paid([DigitCredit(0.3)], "1 4 4 <eos>")[0] == pytest.approx([0, 0, 0, 0.2])
    assert paid([DigitCredit(0.3)], "1 4 3 <eos>")[0][-1] == pytest.approx(1.3)
    assert paid([DigitCredit(0.3)], "1 4 3 ;")[0][-1] == 0.0


@pytest.mark.parametrize(("text", "expected"), [("0", True), ("- 1 9", True), ("1 0 R 3", True), ("0 R 3", True)])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("0 ", ""), ("- 0 ", ""), ("", " R 0"), ("", " R 0 1")])
def test_canonical_answers(text: str, expected: bool, before: str, after: str) -> None:
    if (before and text[0] == "-") or (after and "R" in text):
        return
    assert is_canonical(bytes(ids(f"{before}{text}{after}"))) == (expected and not before and not after)


def test_the_format_is_paid_right_or_wrong() -> None:
    for answer, worth in (("1 4 3", 1.1), ("5", 0.1), ("0 5", 0.0), ("- 0", 0.0)):
        assert paid([FormatReward(0.1)], f"<think> </think> {answer} <eos>")[0][-1] == pytest.approx(worth)
    assert paid([FormatReward(0.1)], "1 4 3 <eos>")[0][-1] == 1.0
    assert paid([FormatReward(0.1)], "<think> 1 4 3 <eos>")[0][-1] == 0.0


def test_each_term_is_in_the_terminal_info_apart() -> None:
    terms: list[RewardTerm | str] = [DigitCredit(0.3), FormatReward(0.1), TokenPrice(0.01), SubAnswers()]
    rewards, info = paid(terms, HONEST.replace("1 4 3", "1 4 4"))
    assert {key: value for key, value in info.items() if key.startswith("reward/")} == pytest.approx(
        {"reward/true": 0, "reward/digits": 0.2, "reward/format": 0.1, "reward/token_price": 0}
        | {"reward/sub_answers": 0, "reward/total": 0.3}
    )
    assert info["is_success"] is False
    assert sum(rewards) == pytest.approx(0.3)
    assert not any(key.startswith("reward/") for key in paid([], HONEST)[1])


def test_nothing_is_left_over_for_the_next_episode() -> None:
    env = paying([SubAnswers(0.4), DigitCredit()])
    env.reset(seed=0, options={"problem": "1+1"})
    for token in ids("<think> <call> 1 + 1 </call> 2 <eos> <call> 2 + 2 </call>"):
        env.step(np.int64(token))
    env.reset(options={"problem": "98+45"})
    rewards = [float(env.step(np.int64(token))[1]) for token in ids(CHILD)]
    assert rewards[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_the_native_vector_pays_as_single_environments_do(mode: AutoresetMode) -> None:
    native: Any = ArithmeticVectorEnv(N, max_episode_steps=70, autoreset_mode=mode, **CONFIG)
    for term in ALL:
        native = VectorRewardWrapper(native, term)
    reference = SyncVectorEnv([lambda: gym.wrappers.TimeLimit(paying([*ALL], **CONFIG), 70)] * N, autoreset_mode=mode)
    observations = native.reset(seed=1)[0]
    reference.reset(seed=1)
    act, resting, shaped, ended = half_expert(0), np.zeros(N, dtype=bool), 0, set[str]()
    for _ in range(400):
        actions = act(observations, native.action_masks(), resting)
        (observations, *results, infos), (_, *expected, expected_infos) = native.step(actions), reference.step(actions)
        expected[2] &= ~expected[1]  # TimeLimit also marks what has just terminated
        for mine, other in zip((*results, infos), (*expected, expected_infos), strict=True):
            assert_same(mine, other)
        resting = (results[1] | results[2]) & (mode == AutoresetMode.NEXT_STEP)
        shaped += np.count_nonzero(results[0][~results[1]])
        ended |= {key for key in infos.get("final_info", infos) if key.startswith("reward/")}
    assert shaped > 10
    assert ended == {"reward/true", "reward/total", *(f"reward/{name}" for name in ALL)}


def test_stable_baselines3_reads_the_sums() -> None:
    env: Any = ArithmeticVectorEnv(2, autoreset_mode=AutoresetMode.SAME_STEP, operations=("addition",))
    venv = GymnasiumVecEnv(VectorRewardWrapper(env, "digits", weight=0.5))
    observations, expert, infos = venv.reset(), ExpertPolicy(env), []
    for _ in range(150):
        assert venv.env_method("action_masks")[0].shape == (VOCAB_SIZE,)
        observations, rewards, dones, step_infos = venv.step(expert.predict(observations))
        infos += [(info, rewards[i]) for i, info in enumerate(step_infos) if dones[i]]
    assert infos
    for info, reward in infos:
        assert (info["reward/digits"], info["reward/true"], info["reward/total"], reward) == (0.5, 1.0, 1.5, 1.5)


@pytest.mark.parametrize("term", ALL)
def test_masks_stay_reachable(term: str) -> None:
    env = RewardWrapper(gym.wrappers.TimeLimit(paying([]), 9), term)
    env.reset(seed=0)
    assert env.action_masks().tolist() == get_action_masks(Monitor(env)).tolist()
    venv = DummyVecEnv([lambda: Monitor(RewardWrapper(paying([]), term))] * 2)
    venv.reset()
    assert get_action_masks(venv).shape == (2, VOCAB_SIZE)


@pytest.mark.parametrize("term", ALL)
def test_a_pickled_environment_is_paid_alike(term: str) -> None:
    env: Any = paying([term], **CONFIG)
    env.reset(seed=0, options={"problem": "98+45"})
    for token in ids(CHILD)[:-1]:
        env.step(np.int64(token))
    again = pickle.loads(pickle.dumps(env))
    assert again.term is again.episodes.rewards.terms[term]
    rest = ids(HONEST)[len(ids(CHILD)) - 1 :]
    assert [e.step(np.int64(token))[1] for e in (env,) for token in rest] == [
        e.step(np.int64(token))[1] for e in (again,) for token in rest
    ]


def test_a_specification_rebuilds_the_wrapper() -> None:
    spec = RewardWrapper(gym.make("o1nano/Arithmetic-v0"), "digits", weight=0.7).spec
    assert spec is not None
    again: Any = gym.make(gym.envs.registration.EnvSpec.from_json(spec.to_json()))
    assert again.term.weight == 0.7


def test_every_environment_has_a_term_of_its_own() -> None:
    term = SubAnswers()
    first, second = (RewardWrapper(paying([]), term) for _ in range(2))
    assert len({id(term), id(first.term), id(second.term)}) == 3


@pytest.mark.parametrize(
    ("term", "arguments", "named"),
    [
        ("sub_answers", {"weight": 0}, "weight=0"),
        ("sub_answers", {"gamma": 1.1}, "gamma=1.1"),
        ("sub_answers", {"gamma": float("nan")}, "gamma=nan"),
        ("token_price", {"price": -1e-3}, "price=-0.001"),
        ("token_price", {"most": 1.0}, "most=1.0"),
        ("digits", {"weight": 1.0}, "weight=1.0"),
        ("format", {"weight": float("inf")}, "weight=inf"),
        ("format", {"wieght": 0.1}, "'wieght': 0.1"),
        ("lenght", {}, "'lenght'"),
        (DigitCredit(), {"weight": 0.1}, "'weight': 0.1"),
    ],
)
def test_senseless_arguments_are_refused_by_name(term: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}.*expected") as error:
        make_term(term, **arguments)
    assert "\n" not in str(error.value)


def test_a_term_cannot_be_paid_twice_nor_by_another_environment() -> None:
    with pytest.raises(ConfigurationError, match=r"'digits' twice; a term can be added once"):
        paying(["digits", "digits"])
    with pytest.raises(ConfigurationError, match=r"CartPole.*expected"):
        RewardWrapper(gym.make("CartPole-v1"), "digits")
    with pytest.raises(ConfigurationError, match=r"SyncVectorEnv.*expected"):
        VectorRewardWrapper(SyncVectorEnv([lambda: paying([])]), "digits")


def test_a_term_of_ones_own() -> None:
    class EveryToken(RewardTerm):
        name = "every_token"

        def __call__(self, step: Any) -> npt.NDArray[np.float64]:
            return np.full(len(step.outcome), 0.5)

    rewards, info = paid([EveryToken(), "digits"], "1 4 3 <eos>")
    assert rewards == pytest.approx([0.5, 0.5, 0.5, 1.7])
    assert info["reward/every_token"] == 2.0
