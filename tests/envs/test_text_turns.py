"""Turns as the last line of a message."""

from __future__ import annotations

import pytest

from o1nano.envs.errors import ActionError
from o1nano.envs.text_env import TextEnv, expert_turn
from o1nano.envs.text_turns import Turn, read_turn, take_turn


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("answer(143)", ("answer", "143")),
        ("I think.\n\n**answer(143)**\n", ("answer", "143")),
        ("solve(98+45)\nNo:\n`solve(8+5)`", ("solve", "8+5")),
        ('answer("143")', ("answer", "143")),
        ("answer((7-8/8)*4)", ("answer", "(7-8/8)*4")),
        ("solve(gcd(48, 36))", ("solve", "gcd(48, 36)")),
    ],
)
def test_the_last_line_is_the_turn(text: str, turn: tuple[str, str]) -> None:
    assert read_turn(text) == turn


@pytest.mark.parametrize(
    "text", ["", "143", "answer(143) or so", "answer 143", "eval(143)", "answer(143)\n144", "answer("]
)
def test_anything_else_is_refused_and_changes_nothing(text: str) -> None:
    with pytest.raises(ActionError, match="last line"):
        read_turn(text)
    env = TextEnv()
    env.reset(problem="98+45")
    turn = take_turn(env, text)
    assert turn.context.startswith("Error: ") and turn.context.endswith("Problem: 98+45")
    assert (turn.reward, turn.ended) == (0.0, False)


@pytest.mark.parametrize("text", ["answer(143)answer(144)", "answer(143 or 144)", "answer()", "solve(143)"])
def test_hedging_in_a_turn_is_not_paid(text: str) -> None:
    env = TextEnv()
    env.reset(problem="98+45")
    assert take_turn(env, text).reward == 0.0
    assert env.get_reward() == 0.0


def test_the_expert_is_paid_once() -> None:
    env = TextEnv()
    context, paid, ended = env.reset(problem="98+45"), 0.0, False
    while not ended:
        context, reward, ended = take_turn(env, "{}({})".format(*expert_turn(context)))
        paid += reward
    assert paid == 1.0
    assert take_turn(env, "answer(143)") == Turn(take_turn(env, "answer(143)").context, 0.0, True)
