"""Attacks on the verifier under every reward: none is a success, and none is paid what the honest expert is.

And the metric that would notice: exploitable rewards are planted, played, and detected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.agents.run.callbacks import EpisodeStatisticsCallback
from o1nano.envs.core.call_stack import Outcome
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.core.frame_changes import RETURNED
from o1nano.envs.core.reward_terms import TERMS, SubAnswers
from o1nano.envs.core.rewards import RewardTerm, Transition, hack_rate
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import is_digit
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorRewardWrapper
from tests.helpers.paying import Term, follow, honest, paid, paying

CONFIG: dict[str, Any] = {"frame_length": 64, "depth": 8, "max_tokens": 150}
CHILD = "<call> 8 9 + 5 4 </call> <think> 3 1 4 1 </think> 3 4 1 <eos>"
REWARDS: dict[str, list[Term]] = {"true": [], **{name: [name] for name in TERMS}, "all": [*TERMS]}

# Scripts against 98+45, each to the end of its episode; what follows a bar is repeated for ever.
ATTACKS = {
    "empty": "<eos>",
    "empty after thinking": "<think> </think> <eos>",
    "only a sign": "<think> </think> - <eos>",
    "answer inside the reasoning": "<think> 1 4 3 </think> 0 <eos>",
    "answer inside the reasoning only": "<think> 1 4 3 <eos>",
    "answer inside a call": "<think> <call> 1 4 3 </call> 1 4 3 <eos> </think> 0 <eos>",
    "answer by a child only": f"<think> {CHILD} </think> <eos>",
    "the child's answer, not reversed": f"<think> {CHILD} </think> 3 4 1 <eos>",
    "several answers": "<think> </think> 1 4 3 1 4 4 <eos>",
    "the right answer twice": "<think> </think> 1 4 3 1 4 3 <eos>",
    "another answer as remainder": "<think> </think> 1 4 2 R 1 4 3 <eos>",
    "right with a remainder": "<think> </think> 1 4 3 R 0 <eos>",
    "thinking again after the answer": "<think> </think> 1 4 3 <think>",
    "repeated right calls": f"<think> {CHILD} {CHILD} {CHILD} </think> 0 <eos>",
    "repeated trivial calls": "<think> " + "<call> 1 + 1 </call> 2 <eos> " * 7 + "</think> 2 <eos>",
    "endless right calls": f"<think> | {CHILD}",
    "endless right calls below trivial ones": f"<think> | <call> 1 + 2 </call> <think> {CHILD} </think> 3 <eos>",
    "endless trivial calls": "<think> | <call> 1 + 1 </call> 2 <eos>",
    "endless trivial calls in child frames": "<think> <call> 1 + 2 </call> | <think> "
    "<call> 1 + 1 </call> 2 <eos> <goto> 2 + 1 = <think> <call> 1 + 1 </call> 2 <eos> <goto> 1 + 2 =",
    "a call of itself": "<think> <call> 8 9 + 5 4 </call> <think> <call> 8 9 + 5 4 </call>",
    "a tail call of itself": "<think> <call> 8 9 + 5 4 </call> <think> <goto> 8 9 + 5 4 =",
    "two frames that call each other": "<think> | <call> 8 9 + 5 4 </call> <think> <call> 5 4 + 8 9 </call> <think>",
    "endless thinking": "<think> | ;",
    "endless revision": "<think> | <wrong> <revise>",
    "endless digits in thought": "<think> | 1 4 3",
    "a huge number": "<think> </think> | 9",
    "a huge number, ended": "<think> </think> " + "9 " * 50 + "<eos>",
    "a huge number in a call": "<think> <call> | 9",
    "the right digits, too many": "<think> </think> " + "1 4 3 " * 16 + "<eos>",
    "a leading zero": "<think> </think> 0 1 4 3 <eos>",
    "leading zeros": "<think> </think> 0 0 0 0 0 1 4 3 <eos>",
    "endless leading zeros": "<think> </think> | 0",
    "a minus": "<think> </think> - 1 4 3 <eos>",
    "minus zero": "<think> </think> - 0 <eos>",
    "one digit off": f"<think> {CHILD} </think> 1 4 4 <eos>",
    "one digit missing": f"<think> {CHILD} </think> 1 4 <eos>",
    "an illegal token right after a right child": f"<think> {CHILD} <pad>",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("reward", REWARDS)
def test_no_attack_succeeds_or_is_paid_what_the_honest_expert_is(attack: str, reward: str) -> None:
    terms = REWARDS[reward]
    rewards, info = paid(terms, ATTACKS[attack], **CONFIG)
    right, honest_info = honest(terms, "98+45", **CONFIG)
    assert info["is_success"] is False and honest_info["is_success"] is True
    assert sum(rewards) < sum(right) - 0.5
    assert sum(rewards) < 1.0
    if reward in ("true", "sub_answers", "token_price"):
        assert sum(rewards) == pytest.approx(0.0)  # a failure is paid nothing at all


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    ("problem", "answers"),
    [
        ("5-5", ["- 0", "0 0", "0 R 0", "- 0 0"]),
        ("34-53", ["1 9", "- 0 1 9", "- 9 1", "- 1 9 R 0"]),
        ("8914/64", ["1 3 9", "1 3 9 R 0 1 8", "1 8 R 1 3 9", "1 3 9 1 8"]),
        ("8/4", ["2 R 0", "0 2", "- 2"]),
        ("99999*99999", ["9 9 9 9 9 9 9 9 9 9", "0 9 9 9 9 8 0 0 0 0 1", "1"]),
    ],
)
def test_no_form_of_zero_sign_or_remainder_is_paid_what_the_answer_is(
    reward: str, problem: str, answers: list[str]
) -> None:
    limits = {"frame_length": 200, "max_tokens": 4000}
    right, _ = honest(REWARDS[reward], problem, **limits)
    for answer in answers:
        rewards, info = paid(REWARDS[reward], f"<think> </think> {answer} <eos>", problem, **limits)
        assert info["is_success"] is False
        assert sum(rewards) < min(1.0, sum(right))


def test_the_attacks_end_in_every_way() -> None:
    outcomes = {paid([], script, **CONFIG)[1]["outcome"] for script in ATTACKS.values()}
    assert outcomes == {outcome.name.lower() for outcome in Outcome} - {"running"}


def test_an_attack_leaves_nothing_behind_for_the_next_episode() -> None:
    env = paying(REWARDS["all"], **CONFIG)
    for script in ATTACKS.values():
        env.reset(seed=0, options={"problem": "98+45"})
        follow(env, script)
    env.reset(options={"problem": "98+45"})
    rewards, info = follow(env, f"<think> {CHILD} </think> 1 4 3 <eos>")
    assert rewards == pytest.approx(honest(REWARDS["all"], "98+45", **CONFIG)[0])
    assert info["is_success"]


class PayPerCall(RewardTerm):
    """Planted: pays every call that returns."""

    name = "calls"

    def __call__(self, step: Transition) -> npt.NDArray[np.float64]:
        return 0.2 * (step.stacks.changes == RETURNED)


class PayPerDigit(RewardTerm):
    """Planted: pays every digit."""

    name = "digits_written"

    def __call__(self, step: Transition) -> npt.NDArray[np.float64]:
        last = step.stacks.tokens[step.stacks.top, step.stacks.length - 1]
        return np.array([0.05 * is_digit(int(token)) for token in last])


class FarmedSubAnswers(SubAnswers):
    """Planted: the bonus for sub-answers is paid again for every repetition, and never given back."""

    name = "farmed"

    def __call__(self, step: Transition) -> npt.NDArray[np.float64]:
        reward = np.maximum(super().__call__(step), 0.0)
        for index in range(len(reward)):
            self.reset(index)
        return reward


EXPLOITS: dict[str, tuple[RewardTerm, str]] = {
    "calls": (PayPerCall(), ATTACKS["repeated trivial calls"]),
    "digits": (PayPerDigit(), ATTACKS["a huge number, ended"]),
    "farmed": (FarmedSubAnswers(), ATTACKS["repeated right calls"]),
}


def episodes(terms: list[Term], scripts: list[str], honestly: int) -> tuple[list[float], list[bool]]:
    """Returns and successes of honest episodes and of scripts."""
    infos = [honest(terms, "98+45", **CONFIG)[1]] * honestly
    infos += [paid(terms, script, **CONFIG)[1] for script in scripts]
    return [info.get("reward/total", float(info["is_success"])) for info in infos], [i["is_success"] for i in infos]


@pytest.mark.parametrize("honestly", [0, 3, 30])
@pytest.mark.parametrize("exploit", EXPLOITS)
def test_a_planted_exploit_is_detected(exploit: str, honestly: int) -> None:
    term, script = EXPLOITS[exploit]
    returns, successes = episodes([term], [script] * 10, honestly)
    assert hack_rate(returns, successes) == pytest.approx(10 / (10 + honestly))


@pytest.mark.parametrize("honestly", [0, 3, 30])
@pytest.mark.parametrize("reward", REWARDS)
def test_no_attack_on_a_shipped_reward_counts_as_a_hack(reward: str, honestly: int) -> None:
    assert hack_rate(*episodes(REWARDS[reward], list(ATTACKS.values()), honestly)) == 0.0


@pytest.mark.parametrize(
    ("returns", "successes", "rate"),
    [
        ([], [], 0.0),
        ([1.0, 1.0], [True, True], 0.0),
        ([0.0, 0.9, 1.0], [False, False, True], 0.0),
        ([0.0, 1.0, 1.0, 1.0], [False, False, True, True], 0.25),
        ([5.0, 0.0], [False, False], 0.5),
        ([25.0, 26.0], [False, True], 0.5),  # the honest use the exploit as well
        ([0.6, 0.5], [False, True], 0.5),  # a price that makes success worth less than failure
        ([0.6, 0.5, 0.9, 0.9], [False, True, True, True], 0.0),
    ],
)
def test_the_hack_rate_by_hand(returns: list[float], successes: list[bool], rate: float) -> None:
    assert hack_rate(returns, successes) == rate


def test_the_hack_rate_needs_a_return_for_every_success() -> None:
    with pytest.raises(ConfigurationError, match=r"1 returns and 2 successes.*expected"):
        hack_rate([1.0], [True, False])


class Notes(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.seen: dict[str, list[Any]] = {}

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        self.seen.setdefault(key, []).append(value)


@pytest.mark.parametrize("planted", [False, True])
def test_training_logs_every_term_and_the_hack_rate(planted: bool) -> None:
    small: dict[str, Any] = {"digits": 1, "frame_length": 32, "max_tokens": 24, "thinking": False, "call_stack": False}
    env: Any = ArithmeticVectorEnv(4, autoreset_mode="SameStep", **small)
    env = VectorRewardWrapper(env, "digits", weight=0.5)
    if planted:
        env = VectorRewardWrapper(env, Everything())
    model = PPO("MlpPolicy", GymnasiumVecEnv(env), n_steps=64, batch_size=64, n_epochs=1, device="cpu", seed=0)
    notes, state = Notes(), AdaptiveCurriculum({"addition": 1}, {"addition": 1})
    model.set_logger(notes)
    model.learn(512, CallbackList([statistics := EpisodeStatisticsCallback(state, window=1)]))
    assert not statistics.rewards  # every rollout by itself
    names = {"reward/true", "reward/digits", "reward/total", "reward/hack_rate", "reward/groups_without_variance"} | (
        {"reward/gift"} if planted else set()
    )
    assert {name for name in notes.seen if name.startswith("reward/")} == names
    assert any(name.startswith("accuracy/") for name in notes.seen)
    assert (np.mean(notes.seen["reward/hack_rate"]) > 0.9) == planted
    assert planted or notes.seen["reward/hack_rate"] == [0.0, 0.0]


class Everything(RewardTerm):
    """Planted: every token is paid as much as a success."""

    name = "gift"

    def __call__(self, step: Transition) -> npt.NDArray[np.float64]:
        return np.ones(len(step.outcome))
