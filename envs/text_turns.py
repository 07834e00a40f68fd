"""Turns as text, for libraries whose actions are strings: the last line of an action calls one tool of ``TextEnv``."""

from __future__ import annotations

import re
from typing import NamedTuple

from o1nano.envs.errors import ActionError, O1NanoError
from o1nano.envs.text_env import TextEnv

TURN_INSTRUCTIONS = (
    "End your message with one line: solve(EXPRESSION) to work on a smaller problem first, or answer(VALUE) to answer "
    "what you see, such as solve(98+45) or answer(143)."
)
"""How a language model writes a turn, for its prompt."""

_TURN = re.compile(r"(solve|answer)\((.*)\)", re.ASCII)


class Turn(NamedTuple):
    """What a turn led to.

    Attributes:
        context: What the model sees next: the context, or why its turn could not be read.
        reward: What the turn was paid.
        ended: Whether the episode has ended.
    """

    context: str
    reward: float
    ended: bool


def take_turn(env: TextEnv, text: str) -> Turn:
    """Takes the turn that a message asks for. A message without one, or one that cannot be read, changes nothing.

    Args:
        env: The environment.
        text: The message of a model. Nothing but its last line is read.
    """
    # The environment sums up its rewards; a turn is paid the difference.
    paid = env.get_reward()
    try:
        tool, argument = read_turn(text)
        context = env.solve(argument) if tool == "solve" else env.answer(argument)
    except O1NanoError as error:
        return Turn(f"Error: {error}\n{env.context}", 0.0, env.ended)
    return Turn(context, env.get_reward() - paid, env.ended)


def read_turn(text: str) -> tuple[str, str]:
    """Returns the tool that the last line of a message calls, and its argument.

    Args:
        text: The message.

    Raises:
        ActionError: If the last line calls neither tool.
    """
    # Models like to put code between backticks, and to print it bold.
    last = text.strip().rpartition("\n")[2].strip(" `*")
    found = _TURN.fullmatch(last)
    if found is None:
        raise ActionError(f"last line {last[:60]!r}; expected solve(EXPRESSION) or answer(VALUE)")

    # Some quote the argument as in a programming language.
    return found[1], found[2].strip("\"'")
