"""Problems that fill a frame: exact answers, lengths, the expert in place, and an environment of 128,000 tokens."""

from __future__ import annotations

import resource
import time

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import O1NanoError
from o1nano.envs.language.vocab import COLON, spell
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, Phrasing, draw, read, split_of
from o1nano.envs.problems.recall import KEY_DIGITS, Recall
from o1nano.envs.problems.verifier import is_useful_subtask
from tests.helpers.expressions import numbers_of
from tests.helpers.play import ids

LONG = sorted(name for name, family in FAMILIES.items() if family.solved_in_place)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("recall(11:5, 12:60) 11+12", "65"),
        ("recall(11:5, 12:60) 12+11", "65"),
        ("recall(11:5, 12:60) 11-12", "-55"),
        ("recall(11:5, 12:60) 12-11", "55"),
        ("recall(11:5, 12:60) 11+11", "10"),
        ("recall(11:5, 12:60) 11-11", "0"),
        ("recall 11:5, 12:60 for 11+12", "65"),
        ("recall(7:0) 7+7", "0"),
        ("In the list 11:5, 12:60 what is the value of 11+12?", "65"),
        ("Using the list 11:5, 12:60 find the value of 11-12", "-55"),
        ("balance(34, -12, 5)", "27"),
        ("balance(-12, 5)", "-7"),
        ("balance(7)", "7"),
        ("balance(2*3, -4-5, 1)", "-2"),
        ("What is the balance of the list 34, -12, 5?", "27"),
        ("balance " + ", ".join(["1"] * 9000), "9000"),
    ],
)
def test_answers_by_hand(text: str, answer: str) -> None:
    assert read(text).answer_text == answer
    root = demonstrate(read(text))[0].tokens
    assert spell(root).endswith(f"</think> {' '.join(answer)} <eos>")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("recall(11:5, 12:60) 11+13", "key 13 is not in the list"),
        ("recall(11:5, 12:60) 13-11", "key 13 is not in the list"),
        ("recall(11:5, 11:60) 11+11", "a key twice"),
        ("recall(0:5, 11:60) 11+11", "a key below 1"),
        ("recall(11:5, 12:60) 11+0", "key 0 is not in the list"),
        ("recall(11:5, 12) 11+11", "breaks off"),
        ("recall(11:5, 12:60) 11", "breaks off"),
        ("recall(11:5, 12:60) 11*12", "breaks off"),
        ("recall(11:5:6, 12:60) 11+12", "breaks off"),
        ("balance()", "breaks off"),
        ("balance(1:2)", "breaks off"),
    ],
)
def test_what_has_no_answer_is_refused(text: str, why: str) -> None:
    with pytest.raises(O1NanoError, match=f"{why}.*expected"):
        read(text)


@given(st.sampled_from(LONG), st.integers(1, 4), st.integers(128, 3000), st.integers(0, 2**32 - 1))
def test_a_problem_and_its_solution_fill_their_frame(name: str, size: int, length: int, seed: int) -> None:
    problem = draw(Level(name, size, length), np.random.default_rng(seed), "all")
    root, *children = demonstrate(problem)
    assert length - 64 - 9 * size <= len(root.tokens) <= length
    assert max(len(child.tokens) for child in children) <= 64
    assert read(problem.text).expr == problem.expr


@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_answers_of_random_problems_are_those_of_another_reader(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, *pairs = numbers_of(draw(Level("recall", size, 400), rng, "all"))
    table = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert len(table) == len(pairs) // 2 and all(len(str(key)) == KEY_DIGITS for key in table)
    assert all(len(str(value)) == size for value in table.values())
    problem = draw(Level("recall", size, 400), np.random.default_rng(seed), "all")
    assert int(problem.answer_text) == table[first] + table[abs(second)] * (1 if second > 0 else -1)
    ledger = draw(Level("ledger", size, 400), rng, "all")
    entries = numbers_of(ledger)
    assert int(ledger.answer_text) == sum(entries)
    assert min(np.cumsum(entries)) >= 0 and max(map(abs, entries)) < 10**size
    assert any(entry < 0 for entry in entries)


def test_nothing_but_the_exact_answer_is_right() -> None:
    problem = read("recall(11:5, 12:60, 13:9) 11+12")
    assert problem.accepts(bytes(ids("6 5")))
    for wrong in ("6 4", "6 6", "1 4", "5", "6 0", "0 6 5", "6 5 =", "", "- 6 5", "5 6", "5 + 6 0"):
        assert not problem.accepts(bytes(ids(wrong)))


def test_every_line_and_both_signs_are_asked_for() -> None:
    family, rng = FAMILIES["recall"], np.random.default_rng(0)
    assert isinstance(family, Recall)
    pairs = [number for line in range(8) for number in (10001 + line, line)]
    asked = [numbers_of_question(family, rng, pairs) for _ in range(400)]
    assert {first for first, _ in asked} == {abs(second) for _, second in asked} == set(pairs[::2])
    once = sum(first == second for first, second in asked)
    assert 80 < once < 180 and any(second < 0 for _, second in asked)
    assert numbers_of_question(family, rng, pairs, 3)[0] == 10004


def numbers_of_question(
    family: Recall, rng: np.random.Generator, pairs: list[int], line: int | None = None
) -> tuple[int, int]:
    first, second = family.question(rng, pairs, line).args[:2]
    assert isinstance(first, int) and isinstance(second, int)
    return first, second


@given(st.integers(12, 10**5))
def test_content_decides_the_side_not_order_or_wording(key: int) -> None:
    same = (
        f"recall(11:5, {key}:60) 11+{key}",
        f"recall({key}:60, 11:5) {key}+11",
        f"in the list {key}:60, 11:5 what is the value of 11+{key}?",
    )
    assert len({split_of(read(text).expr) for text in same}) == 1
    assert split_of(read(f"balance({key}, 5, -3)").expr) == split_of(read(f"balance(-3, {key}, 5)").expr)


def test_roots_of_long_problems_may_ask_for_sums_and_differences() -> None:
    root = bytes(ids("<problem> recall ( 1 1 : 5 , 1 2 : 6 0 ) 1 1 + 1 2 ="))
    ledger = bytes(ids("<problem> balance ( 3 4 , - 1 2 , 5 ) ="))
    for question, sensible in (("5 + 0 6", True), ("3 - 4", True), ("5 * 0 6", False), ("gcd 5 , 6", False)):
        assert is_useful_subtask(root, bytes(ids(f"<subtask> {question} ="))) == sensible
        assert is_useful_subtask(ledger, bytes(ids(f"<subtask> {question} ="))) == sensible


def solve(env: gym.Env, seed: int) -> tuple[int, float, dict[str, object]]:
    """Steps, reward and terminal info of an episode of the expert."""
    expert, (observation, info), steps, terminated, reward = ExpertPolicy(env), env.reset(seed=seed), 0, False, 0.0
    while not terminated:
        observation, reward, terminated, _, info = env.step(expert.predict(observation[None])[0])
        steps += 1
    return steps, float(reward), info


@pytest.mark.parametrize("name", ["o1nano/Recall-v0", "o1nano/Ledger-v0"])
@pytest.mark.parametrize("length", [256, 1000])
def test_the_frame_length_is_the_length_of_the_context(name: str, length: int) -> None:
    env = gym.make(name, frame_length=length, split="test")
    steps, reward, info = solve(env, seed=1)
    assert reward == 1.0 and length - 64 < int(str(info["longest_context"])) <= length
    assert env.observation_space.shape == (length,)
    assert info["level"] == f"{name[7:13].lower()}/2x{length}"
    assert steps > 20


def test_a_problem_can_be_shorter_than_its_frame() -> None:
    env = ArithmeticEnv(operations=("recall",), digits=1, frame_length=1000, tokens=200)
    env.reset(seed=0)
    assert 100 < len(env.episodes.problems[0].prompt) <= 200  # type: ignore[union-attr]


def test_an_environment_of_128000_tokens_is_usable() -> None:
    """An episode of Recall: 128,000 bytes a frame, steps that cost copies of one observation and nothing else."""
    env = gym.make("o1nano/Recall-v0", frame_length=128_000, obs_dtype="uint8")
    assert isinstance(env.unwrapped, ArithmeticEnv)
    assert env.unwrapped.episodes.stacks.tokens.nbytes == 32 * 128_000
    start = time.process_time()
    steps, reward, info = solve(env, seed=0)
    assert reward == 1.0 and int(str(info["longest_context"])) > 127_900
    assert time.process_time() - start < 20 and steps < 100


@pytest.mark.slow
@pytest.mark.parametrize("length", [32_000, 128_000])
def test_the_expert_solves_a_long_ledger(length: int) -> None:
    env = gym.make("o1nano/Ledger-v0", frame_length=length, obs_dtype="uint8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps, reward, info = solve(env, seed=0)
    assert reward == 1.0 and int(str(info["subtasks"])) > length / 20
    assert int(str(info["longest_context"])) > 0.95 * length and steps > length
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@pytest.mark.parametrize("phrasing", ["symbolic", "words"])
def test_the_question_follows_the_list(phrasing: Phrasing) -> None:
    """One computed context serves every question about it."""
    for seed in range(10):
        prompt = draw(Level("recall", 2, 300), np.random.default_rng(seed), "all", phrasing).prompt
        last = len(prompt) - 1 - prompt[::-1].index(COLON)
        assert last > len(prompt) - 32
