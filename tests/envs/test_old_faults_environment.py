"""The faults of the code base that this one replaces (DESIGN.md, section 1), on the side of the environment."""

from __future__ import annotations

import ast
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import o1nano
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import AdaptiveCurriculum
from o1nano.envs.errors import TokenizationError
from o1nano.envs.language.vocab import PAD, spell, tokenize, value_of
from o1nano.envs.problems.expert import ExpertPolicy
from o1nano.envs.problems.problem import Level
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import CurriculumWrapper
from tests.helpers.play import play

ENVS = Path(o1nano.__file__).resolve().parent.parent / "envs"


@pytest.mark.parametrize("number", [9, 10, 11, 99, 100, 101, 98765, 10**20])
def test_numbers_above_9_were_read_as_padding(number: int) -> None:
    tokens = tokenize(f"{number}+{number}")
    assert PAD not in tokens
    half = len(tokens) // 2
    assert value_of(tokens[:half], least_first=False) == value_of(tokens[half + 1 :], least_first=False) == number
    observation, _ = ArithmeticEnv().reset(seed=0, options={"problem": f"{number}+{number}"})
    written = " ".join(str(number))
    assert spell(observation.astype(int)) == f"<problem> {written} + {written} ="


def test_unknown_words_were_read_as_padding() -> None:
    with pytest.raises(TokenizationError, match="'twelve'"):
        ArithmeticEnv().reset(seed=0, options={"problem": "What is twelve plus 3?"})


def test_different_problems_had_the_same_observation() -> None:
    env, seen = ArithmeticEnv(), set()
    env.reset(seed=0)
    for left in range(0, 200, 7):
        observation, _ = env.reset(options={"problem": f"{left}+{left}"})
        seen.add(observation.tobytes())
    assert len(seen) == len(range(0, 200, 7))


def test_the_reward_was_constant() -> None:
    rewards = [play(f"{answer} <eos>", "58+85")[0] for answer in ("1 4 3", "1 4 2", "1 4 3", "3 4 1")]
    assert rewards == [1.0, 0.0, 1.0, 0.0]


def test_the_reward_was_the_same_for_good_and_bad_agents() -> None:
    rewards: dict[bool, set[float]] = {True: set(), False: set()}
    for good, found in rewards.items():
        env, expert, episodes = ArithmeticEnv(), ExpertPolicy(), 0
        observation, _ = env.reset(seed=0)
        while episodes < 10:
            action = expert.predict(observation[None])[0] if good else np.int64(PAD)
            observation, reward, terminated, _, _ = env.step(action)
            if terminated:
                found.add(reward)
                episodes += 1
                observation, _ = env.reset()
    assert rewards == {True: {1.0}, False: {0.0}}


def test_the_curriculum_set_a_variable_that_nothing_read() -> None:
    curriculum = AdaptiveCurriculum(first={"addition": 1}, last={"addition": 2}, window=4, floor=0.0)
    env = CurriculumWrapper(gym.make("o1nano/Arithmetic-v0"), curriculum)

    def longest(count: int) -> int:
        problems = [env.reset(seed=seed)[1]["problem"] for seed in range(count)]
        return max(len(number) for problem in problems for number in numbers(problem))

    assert longest(40) == 1
    for _ in range(4):
        curriculum.record(Level("addition", 1), True)
    assert longest(40) == 2


def numbers(problem: str) -> list[str]:
    return "".join(letter if letter.isdigit() else " " for letter in problem).split()


class Broken:
    """A source of levels with an error in every method."""

    def draw(self, rng: np.random.Generator) -> Level:
        raise ZeroDivisionError("draw")

    def record(self, level: Level, success: bool) -> None:
        raise ZeroDivisionError("record")


@pytest.mark.parametrize("make", [ArithmeticEnv, lambda: ArithmeticVectorEnv(2)])
def test_a_bare_except_hid_errors_when_problems_were_drawn(make: type[ArithmeticEnv]) -> None:
    env = make()
    env.episodes.levels = Broken()
    with pytest.raises(ZeroDivisionError, match="draw"):
        env.reset(seed=0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_bare_except_hid_errors_when_results_were_recorded(count: int) -> None:
    envs = ArithmeticVectorEnv(count)
    envs.reset(seed=0)
    envs.episodes.levels = Broken()
    with pytest.raises(ZeroDivisionError, match="record"):
        envs.step(np.full(count, PAD))


def test_a_bare_except_hid_errors_in_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bytes:
        raise ZeroDivisionError("verifier")

    env = ArithmeticEnv()
    env.reset(seed=0, options={"problem": "1+1"})
    env.step(np.int64(tokenize("2")[0]))
    monkeypatch.setattr(env.episodes.stacks, "answer", fail)
    with pytest.raises(ZeroDivisionError, match="verifier"):
        env.step(np.int64(o1nano.envs.language.vocab.EOS))


@pytest.mark.parametrize("path", sorted(ENVS.rglob("*.py")), ids=lambda path: str(path.relative_to(ENVS)))
def test_nothing_in_the_environment_catches_every_error(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"a bare except in line {node.lineno}"
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            assert not caught & {"Exception", "BaseException"}, f"line {node.lineno} catches everything"
