"""Advantages against a group instead of a critic, and the problems that make groups."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from o1nano.agents.learning.credit import Advantage, group_advantages, group_statistics
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.rollout_buffer import FrameRolloutBuffer
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import spell
from o1nano.envs.problems.problem import Level
from o1nano.envs.vector import ArithmeticVectorEnv
from tests.helpers.frames import CollectingPPO, frame_ppo, rollouts
from tests.helpers.scripted import CALL, RIGHT_CHILD, WRONG_CHILD
from tests.helpers.states import through_a_file
from tests.helpers.tiny import SMALL_ENV, ids, random_legal

ESTIMATORS: tuple[Advantage, ...] = ("group", "leave_one_out")
every = pytest.mark.parametrize("estimator", ESTIMATORS)
CHAINS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 3)), min_size=1, max_size=20)


def split(chains: list[tuple[str, int]]) -> tuple[np.ndarray, list[str]]:
    return np.array([paid for _, paid in chains], dtype=np.float64), [group for group, _ in chains]


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # Group a was paid 1, 0, 0: mean 1/3, deviation sqrt(2)/3; the means of the others are 0, 1/2 and 1/2.
        ("group", {"a": [2**0.5, -(0.5**0.5), -(0.5**0.5)], "b": [0, 0], "c": [0]}),
        ("leave_one_out", {"a": [1, -0.5, -0.5], "b": [0, 0], "c": [0]}),
    ],
)
def test_advantages_by_hand(estimator: Advantage, expected: dict[str, list[float]]) -> None:
    order = "abacba"
    paid = {"a": iter([1.0, 0.0, 0.0]), "b": iter([1.0, 1.0]), "c": iter([1.0])}
    found = group_advantages(np.array([next(paid[group]) for group in order]), order, estimator)
    for group, values in expected.items():
        mine = [value for value, member in zip(found, order, strict=True) if member == group]
        assert mine == pytest.approx(values, abs=1e-5)


@every
@given(chains=CHAINS)
def test_advantages_of_a_group_sum_to_zero(estimator: Advantage, chains: list[tuple[str, int]]) -> None:
    returns, groups = split(chains)
    found = group_advantages(returns, groups, estimator)
    assert found.dtype == np.float32
    for group in set(groups):
        mine = found[[member == group for member in groups]]
        assert mine.sum() == pytest.approx(0, abs=1e-5)
        assert len(mine) > 1 or mine[0] == 0
        own = returns[[member == group for member in groups]]
        assert (mine.astype(bool) == (own != own.mean())).all()


@every
@given(chains=CHAINS, shift=st.floats(-5, 5), scale=st.floats(0.5, 4))
def test_a_constant_reward_makes_no_difference(
    estimator: Advantage, chains: list[tuple[str, int]], shift: float, scale: float
) -> None:
    returns, groups = split(chains)
    plain = group_advantages(returns, groups, estimator)
    assert group_advantages(returns + shift, groups, estimator) == pytest.approx(plain, abs=1e-4)
    wider = group_advantages(scale * returns, groups, estimator)
    assert wider == pytest.approx(plain if estimator == "group" else scale * plain, abs=1e-4)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_leaving_the_own_reward_out_keeps_the_policy_gradient_unbiased(size: int) -> None:
    """One action, right with probability p = sigmoid(t): the gradient of p is p (1 - p), the score x - p."""
    p, gradient = 0.3, {"group": 0.0, "leave_one_out": 0.0}
    for outcome in product((0.0, 1.0), repeat=size):
        right = np.array(outcome)
        probability = float(np.prod(np.where(right == 1, p, 1 - p)))
        for estimator in ESTIMATORS:
            advantage = group_advantages(right, "g" * size, estimator)
            gradient[estimator] += probability * float(np.mean(advantage * (right - p)))
    assert gradient["leave_one_out"] == pytest.approx(p * (1 - p), rel=1e-5)
    # Normalised it is not; for groups of two both are the same.
    assert (gradient["group"] == pytest.approx(p * (1 - p), rel=0.05)) == (size == 2)


def test_groups_compared_by_hand() -> None:
    found = group_statistics(np.array([1, 0, 1, 0.9, 1, 0.9, 0.9]), "aabcdcc")
    assert found == pytest.approx({"alone": 2 / 7, "size": 2.5, "without_variance": 0.5})
    assert group_statistics(np.array([1.0]), "a") == {"alone": 1.0}


def test_rewards_that_differ_by_rounding_are_equal() -> None:
    price = np.full(3, 0.9)  # their mean is not quite 0.9
    assert np.abs(group_advantages(price, "aaa", "group")).max() < 1e-6


# Frames in groups.


def together(scripts: list[str], **kwargs: Any) -> dict[str, list[tuple[float, float]]]:
    """Plays scripts of one length against 98+45 side by side; rewards and advantages of the frames by prompt."""
    count = len(scripts)
    env = ArithmeticVectorEnv(count, autoreset_mode="SameStep", obs_dtype="uint8", frame_length=64)
    spaces = env.single_observation_space, env.single_action_space
    buffer = FrameRolloutBuffer(100, *spaces, "cpu", n_envs=count, grammar=env.config.grammar, **kwargs)
    observation, _ = env.reset(seed=0, options={"problem": "98+45"})
    start = np.ones(count, dtype=bool)
    for actions in np.array([*map(ids, scripts)]).T:
        following, reward, start_next, _, _ = env.step(actions)
        buffer.add(observation, actions, reward, start, th.full((count,), 0.3), th.full((count,), -1.0))
        observation, start = following, start_next
    assert start.all()
    buffer.add(observation, np.full(count, ids("<think>")[0]), np.zeros(count), start, th.zeros(count), th.zeros(count))
    buffer.compute_returns_and_advantage(th.zeros(count), start)
    found: dict[str, list[tuple[float, float]]] = {}
    for frame in buffer.frames:
        assert len(set(frame.advantages)) == 1  # the same for every action
        assert frame.returns == pytest.approx(np.full(len(frame.positions), frame.returns[0]))
        told = float(frame.returns[0]), float(frame.advantages[0])
        found.setdefault(spell(frame.tokens[1 : len(frame.prompt) - 1]), []).append(told)
    return found


SCRIPTS = [CALL + answer + "</think> 1 4 3 <eos>" for answer in (RIGHT_CHILD, WRONG_CHILD, RIGHT_CHILD)]


def test_frames_with_the_same_prompt_are_a_group() -> None:
    assert together([SCRIPTS[0][:-7] + "4 <eos>", *SCRIPTS[1:]], credit="frame", advantage="leave_one_out") == {
        "8 9 + 5 4": [(1, 0.5), (0, -1), (1, 0.5)],
        "9 8 + 4 5": [(0, -1), (1, 0.5), (1, 0.5)],
    }


def test_frames_that_are_left_out_are_in_no_group() -> None:
    found = together(SCRIPTS[:2], credit="blame", advantage="leave_one_out")
    assert found == {"8 9 + 5 4": [(1, 1), (0, -1)], "9 8 + 4 5": [(1, 0)]}  # the other root was misled


def test_with_credit_by_episodes_whole_episodes_are_compared() -> None:
    scripts = [SCRIPTS[0], SCRIPTS[1][:-7] + "4 <eos>"]
    found = together(scripts, credit="episode", advantage="leave_one_out")
    assert found == {"8 9 + 5 4": [(1, 1), (0, -1)], "9 8 + 4 5": [(1, 1), (0, -1)]}


def grouped(estimator: Advantage, **kwargs: Any) -> CollectingPPO:
    return frame_ppo(48, 48, advantage=estimator, env={"digits": 1, "group_size": 4}, **kwargs)


@every
def test_a_minibatch_scales_advantages_and_shifts_none(estimator: Advantage) -> None:
    model = grouped(estimator)
    rollouts(model, 4)  # an untrained policy is seldom right: in this one, some groups differ
    buffer = model.rollout_buffer
    assert 0 < buffer.group_statistics["alone"] < 1 and buffer.group_statistics["without_variance"] < 1
    (samples,) = buffer.get(normalize=True)
    advantages = samples.advantages
    assert advantages.std() == pytest.approx(1, rel=1e-3)
    assert (advantages == 0).any() and (advantages != 0).any()
    (plain,) = buffer.get()
    assert ((plain.advantages == 0).sum(), (plain.advantages > 0).sum()) == (
        (advantages == 0).sum(),
        (advantages > 0).sum(),
    )


@every
def test_the_policy_learns_and_the_critic_does_not(estimator: Advantage, tmp_path: Any) -> None:
    model = grouped(estimator, learning_rate=1e-3)
    before = model.policy.network.heads.reasoning.weight.detach().clone()
    model.learn(2 * 12 * 48)
    assert not th.equal(model.policy.network.heads.reasoning.weight, before)
    assert not model.critic_optimizer.state
    model.save(tmp_path / "model")
    loaded = FramePPO.load(tmp_path / "model", env=model.env, device="cpu")
    assert (loaded.advantage, loaded.rollout_buffer.advantage) == (estimator, estimator)


# Problems in groups.


def problem_from_prompt(env: ArithmeticVectorEnv) -> list[str]:
    return [problem.text for problem in env.episodes.problems if problem]


def runs(problems: list[str]) -> list[int]:
    """Lengths of the runs of equal problems."""
    ends = [i for i in range(1, len(problems)) if problems[i] != problems[i - 1]]
    return np.diff([0, *ends, len(problems)]).tolist()


def grouped_env(group_size: int, count: int = 8, **changes: Any) -> ArithmeticVectorEnv:
    settings = {**SMALL_ENV, "digits": 3, "autoreset_mode": "SameStep", **changes}
    return ArithmeticVectorEnv(count, group_size=group_size, **settings)


def test_every_problem_is_posed_as_often_as_the_group_is_large() -> None:
    env = grouped_env(3)
    env.reset(seed=0)
    problems = problem_from_prompt(env)
    assert runs(problems) == [3, 3, 2]
    for env_index in (4, 1, 4, 4):  # the environments that begin next complete the group
        env.episodes.start([env_index], [env.generators[env_index]])
        problems.append(problem_from_prompt(env)[env_index])
    assert runs(problems) == [3, 3, 3, 3]
    env.episodes.start([0], [env.generators[0]], {"problem": "1+1"})
    env.episodes.start([0], [env.generators[0]], {"level": Level("addition", 2)})
    env.episodes.start([0], [env.generators[0]])
    env.episodes.start([1], [env.generators[1]])
    assert problem_from_prompt(env)[0] == problem_from_prompt(env)[1] != problems[-1]


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_the_same_seed_gives_the_same_groups_and_a_reset_begins_a_new_one(mode: str) -> None:
    env = grouped_env(3, autoreset_mode=mode)
    env.reset(seed=0)
    first = problem_from_prompt(env)
    env.reset(seed=1)
    assert not set(problem_from_prompt(env)) & set(first)
    env.reset(seed=0)
    assert problem_from_prompt(env) == first
    env.reset()
    assert runs(problem_from_prompt(env)) == [3, 3, 2] and not set(problem_from_prompt(env)) & set(first)


def test_a_group_size_of_one_groups_nothing() -> None:
    env, plain = grouped_env(1), ArithmeticVectorEnv(8, **{**SMALL_ENV, "digits": 3, "autoreset_mode": "SameStep"})
    env.reset(seed=0), plain.reset(seed=0)
    assert problem_from_prompt(env) == problem_from_prompt(plain) and runs(problem_from_prompt(env)) == [1] * 8


def test_a_group_continues_from_a_saved_state() -> None:
    env, other = grouped_env(5), grouped_env(5)
    env.reset(seed=0), other.reset(seed=1)
    other.load_state_dict(through_a_file(env.state_dict()))
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = random_legal(env.action_masks(), rng)
        assert np.array_equal(env.step(actions)[0], other.step(actions)[0])
    assert problem_from_prompt(env) == problem_from_prompt(other) and len(set(problem_from_prompt(env))) > 1


def test_groups_without_partners_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="group_size=0; expected"):
        grouped_env(0)
    with pytest.raises(ConfigurationError, match=r"ppo.group_size=1 with ppo.advantage=group; expected at least 2"):
        TrainConfig(ppo=PPOConfig(advantage="group")).validate()
    TrainConfig(ppo=PPOConfig(advantage="group", group_size=2)).validate()
    with pytest.raises(ConfigurationError, match="advantage='gae'; expected 'critic'"):
        frame_ppo(advantage="gae")
