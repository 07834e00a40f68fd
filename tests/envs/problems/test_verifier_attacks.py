"""Ways to be paid without the exact visible answer. Each is a script of tokens, and each is paid nothing."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.language.vocab import ID, TOKENS
from tests.helpers.play import emit, play

HONEST = "<think> <call> 8 9 + 5 4 </call> <think> 3 1 4 1 </think> 3 4 1 <eos> </think> 1 4 3 <eos>"


def assert_unpaid(script: str, outcome: str, problem: str = "98+45", **config: int) -> None:
    reward, info = play(script, problem, **config)
    assert reward == 0.0
    assert info["is_success"] is False
    assert info["outcome"] == outcome


def test_the_honest_script_is_paid() -> None:
    reward, info = play(HONEST)
    assert (reward, info["is_success"], info["outcome"], info["answer"]) == (1.0, True, "answered", "143")


@pytest.mark.parametrize(
    "script", ["1 4 3 <eos>", "<think> </think> 1 4 3 <eos>", "<think> 7 <ok> </think> 1 4 3 <eos>"]
)
def test_only_the_visible_answer_is_read_however_it_was_found(script: str) -> None:
    assert play(script)[0] == 1.0


@pytest.mark.parametrize("script", ["<eos>", "<think> <eos>", "<think> </think> <eos>", "- <eos>", "1 4 3 R <eos>"])
def test_empty_and_broken_answers(script: str) -> None:
    assert_unpaid(script, "illegal_token")


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("<think> 1 4 3 </think> 0 <eos>", "answered"),
        ("<think> 1 4 3 <eos>", "illegal_token"),
        ("<think> 1 4 3 </think> <eos>", "illegal_token"),
        ("<think> <ok> 1 4 3 <ok> </think> 1 4 <eos>", "answered"),
        ("<think> <call> 1 4 3 </call> 1 4 3 <eos> </think> 0 <eos>", "answered"),
    ],
)
def test_an_answer_hidden_in_the_reasoning(script: str, outcome: str) -> None:
    assert_unpaid(script, outcome)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("1 4 3 1 4 4 <eos>", "answered"),
        ("1 4 3 1 4 3 <eos>", "answered"),
        ("1 4 2 R 1 4 3 <eos>", "answered"),
        ("1 4 3 R 1 4 2 <eos>", "answered"),
        ("1 4 3 ;", "illegal_token"),
        ("1 4 3 _", "illegal_token"),
        ("1 4 3 -", "illegal_token"),
        ("1 4 3 <think>", "illegal_token"),
        ("1 4 3 <revise>", "illegal_token"),
        ("1 4 3 R 0 R", "illegal_token"),
    ],
)
def test_several_answers(script: str, outcome: str) -> None:
    assert_unpaid(script, outcome)


@pytest.mark.parametrize(
    "answer", ["0 1 4 3", "0 0 0 1 4 3", "- 1 4 3", "1 4 3 R 0", "3 4 1", "1 4", "4 3", "1 4 3 0", "1 4 4", "0"]
)
def test_almost_the_right_answer(answer: str) -> None:
    assert_unpaid(f"{answer} <eos>", "answered")


@pytest.mark.parametrize(
    ("problem", "right", "wrong"),
    [
        ("5-5", "0", ["- 0", "0 0", "0 R 0"]),
        ("34-53", "- 1 9", ["1 9", "- 0 1 9", "- 9 1"]),
        (
            "8914/64",
            "1 3 9 R 1 8",
            ["1 3 9", "1 3 9 R 0 1 8", "1 3 9 R 8 1", "1 8 R 1 3 9", "1 3 9 1 8", "0 1 3 9 R 1 8"],
        ),
        ("8/4", "2", ["2 R 0", "0 2", "- 2"]),
        ("3/5", "0 R 3", ["0", "3", "0 R 0 3"]),
    ],
)
def test_minus_zero_leading_zeros_and_remainders(problem: str, right: str, wrong: list[str]) -> None:
    assert play(f"{right} <eos>", problem)[0] == 1.0
    for answer in wrong:
        assert_unpaid(f"{answer} <eos>", "answered", problem)


@pytest.mark.parametrize("script", ["9 8 +", "(", "<think> </think> (", "9 8 %", "9 8 ="])
def test_nothing_is_evaluated_for_the_agent(script: str) -> None:
    env = ArithmeticEnv()
    env.reset(seed=0, options={"problem": "98+45"})
    reward, terminated, info = emit(env, script)
    assert (reward, terminated) == (0.0, True)
    assert info["outcome"] == "illegal_token"


@pytest.mark.parametrize("token", [token for token in TOKENS if token not in {*"0123456789", "-", "<think>"}])
def test_a_frame_begins_with_thinking_or_an_answer(token: str) -> None:
    assert_unpaid(token, "illegal_token")


def test_a_right_answer_of_a_child_is_not_one_of_the_root() -> None:
    env = ArithmeticEnv()
    env.reset(seed=0, options={"problem": "98+45"})
    assert emit(env, "<think> <call> 8 9 + 5 4 </call> 1 4 3 <eos>")[:2] == (0.0, False)
    assert emit(env, "</think> 3 4 1 <eos>")[:2] == (0.0, True)


def test_injected_tokens_are_not_a_visible_answer() -> None:
    assert_unpaid("<think> <call> 1 + 2 </call> 1 4 3 <eos> </think> <eos>", "illegal_token")


def test_self_call() -> None:
    assert_unpaid("<think> <call> 8 9 + 5 4 </call> <think> <call> 8 9 + 5 4 </call>", "self_call")


def test_self_call_by_tail_call() -> None:
    assert_unpaid("<think> <call> 8 9 + 5 4 </call> <think> <goto> 8 9 + 5 4 =", "self_call")


def test_recursion_too_deep() -> None:
    down = " ".join(f"<think> <call> {number} + 1 </call>" for number in range(8))
    assert_unpaid(down, "too_deep", depth=8)
    below = " ".join(f"<think> <call> {number} + 1 </call>" for number in range(7))
    env = ArithmeticEnv(depth=8)
    env.reset(seed=0, options={"problem": "98+45"})
    assert emit(env, below)[1] is False


def test_two_frames_that_call_each_other_run_out_of_depth() -> None:
    assert_unpaid(" ".join(["<think> <call> 1 + 2 </call>", "<think> <call> 2 + 1 </call>"] * 4), "too_deep", depth=8)


def test_tail_calls_in_a_circle_run_out_of_tokens() -> None:
    circle = "<think> <goto> 2 + 1 = <think> <goto> 1 + 2 = " * 4  # 12 tokens a round
    assert_unpaid(f"<think> <call> 1 + 2 </call> {circle}", "out_of_tokens", max_tokens=6 + 4 * 12)


def test_endless_thinking_fills_the_frame() -> None:
    assert_unpaid("<think> " + "; " * 24, "frame_full", frame_length=32)  # 7 + 1 + 24


def test_endless_thinking_runs_out_of_tokens() -> None:
    assert_unpaid("<think> " + "<wrong> <revise> " * 10, "out_of_tokens", max_tokens=21)


def test_repeated_calls_fill_the_frame() -> None:
    once = "<call> 1 + 2 </call> 3 <eos> "  # 5 tokens of the parent's, 1 injected
    assert_unpaid("<think> " + once * 4, "frame_full", frame_length=7 + 1 + 4 * 6)


def test_repeated_calls_run_out_of_tokens() -> None:
    assert_unpaid("<think> " + "<call> 1 + 2 </call> 3 <eos> " * 4, "out_of_tokens", max_tokens=1 + 4 * 7)


def test_an_answer_too_long_for_its_parent() -> None:
    call = "<think> <call> 1 + 2 </call> "  # leaves 24 - 7 - 6 = 11 places
    assert_unpaid(call + "1 " * 12 + "<eos>", "frame_full", frame_length=24)


@pytest.mark.parametrize("script", ["1 4 3", "<think> </think> 1", "<think> ; ;"])
def test_unfinished_is_nothing(script: str) -> None:
    assert_unpaid(script, "out_of_tokens", max_tokens=3)


def test_the_last_token_of_the_budget_may_finish() -> None:
    reward, info = play("1 4 3 <eos>", max_tokens=4)
    assert (reward, info["outcome"]) == (1.0, "answered")


def test_a_time_limit_truncates_and_pays_nothing() -> None:
    env = gym.make("o1nano/Arithmetic-v0", max_episode_steps=3)
    env.reset(seed=0, options={"problem": "98+45"})
    for token in ("1", "4"):
        assert env.step(np.int64(ID[token]))[1:4] == (0.0, False, False)
    assert env.step(np.int64(ID["3"]))[1:4] == (0.0, False, True)


def test_nothing_is_left_over_for_the_next_episode() -> None:
    env = ArithmeticEnv()
    env.reset(seed=0, options={"problem": "98+45"})
    emit(env, "<think> <call> 1 + 2 </call> <think> 1 4 3")
    env.reset(options={"problem": "1+1"})
    assert emit(env, "<think> </think> 1 4 3 <eos>")[0] == 0.0
    env.reset(options={"problem": "1+1"})
    reward, _, info = emit(env, "2 <eos>")
    assert (reward, info["reasoning_tokens"], info["subtasks"], info["depth"]) == (1.0, 0, 0, 1)
