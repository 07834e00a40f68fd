"""Environments, buffers and streams continue exactly from a saved state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.vec_env import GymnasiumVecEnv, TimedVecMonitor
from o1nano.envs.core.curriculum import AdaptiveCurriculum, UniformLevels
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level, draw, problem_from_prompt, sizes
from o1nano.envs.seeding import stream
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorCurriculumWrapper, VectorRewardWrapper
from tests.helpers.states import through_a_file
from tests.helpers.tiny import SMALL_ENV, random_legal


def rewarded(curriculum: AdaptiveCurriculum) -> TimedVecMonitor:
    families = {"operations": tuple(curriculum.first), "autoreset_mode": "SameStep"}
    env = VectorCurriculumWrapper(ArithmeticVectorEnv(5, **{**SMALL_ENV, **families}), curriculum)
    return TimedVecMonitor(
        GymnasiumVecEnv(VectorRewardWrapper(VectorRewardWrapper(env, "sub_answers"), "token_price", price=0.01))
    )


def play(env: TimedVecMonitor, seed: int, steps: int = 60) -> list[Any]:
    rng, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        observations, rewards, dones, infos = env.step(random_legal(np.stack(env.env_method("action_masks")), rng))
        for info in infos:
            info.get("episode", {}).pop("t", None)
        seen.append((observations.tolist(), rewards.tolist(), dones.tolist(), repr(infos)))
    return seen


def test_environments_continue_from_a_saved_state() -> None:
    first = {"addition": 2, "multiplication": 2, "gcd": 1, "countdown": 2}
    curricula = [AdaptiveCurriculum(first, {family: 4 for family in first}) for _ in range(2)]
    env, other = map(rewarded, curricula)
    env.seed(3)
    env.reset()
    other.reset()
    play(env, 0)
    play(other, 1, 7)
    state = through_a_file({"env": env.state_dict(), "curriculum": curricula[0].state_dict()})
    other.load_state_dict(state["env"])
    curricula[1].load_state_dict(state["curriculum"])
    expected = play(env, 2, 200)
    assert play(other, 2, 200) == expected
    assert sum(map(any, (dones for _, _, dones, _ in expected))) > 10
    assert curricula[0].state_dict() == curricula[1].state_dict()


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("size", [1, 3])
def test_a_prompt_says_everything_about_its_problem(family: str, size: int) -> None:
    size = max(size, 2 if family == "countdown" else 1)
    level = Level(family, size)
    for index in range(20):
        problem = draw(level, stream("states", family, size, index), "all", "mixed")
        again = problem_from_prompt(problem.prompt, level)
        assert (again.prompt, again.answer, again.text) == (problem.prompt, problem.answer, problem.text)
        assert again.accepts(problem.answer)


@pytest.mark.parametrize("taken", [0, 1, 4, 5, 11])
def test_demonstrations_continue_in_the_middle_of_a_pool(taken: int) -> None:
    def demonstrations() -> DemonstrationStream:
        levels = UniformLevels(sizes(("addition", "division"), (1, 2)))
        return DemonstrationStream(levels, stream("states", 0), batch_tokens=200, pool=4)

    stopped, resumed = demonstrations(), demonstrations()
    batches = iter(stopped)
    for _ in range(taken):
        next(batches)
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    for _, batch, other in zip(range(9), batches, iter(resumed), strict=False):
        assert [frame.tokens.tolist() for frame in batch] == [frame.tokens.tolist() for frame in other]
        assert all(np.array_equal(one.returns, two.returns) for one, two in zip(batch, other, strict=True))


def test_a_state_of_something_else_is_an_error() -> None:
    env = ArithmeticVectorEnv(3, **SMALL_ENV)
    with pytest.raises(ValueError):
        ArithmeticVectorEnv(4, **SMALL_ENV).load_state_dict(env.state_dict())
