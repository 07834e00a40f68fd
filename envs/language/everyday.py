"""Everyday ways to write a problem: words for signs, openings such as "how much is", endings such as "= ?".

What a template says is varied here, token by token, in ways that ``reader`` reads back as the same problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from o1nano.envs.language.vocab import (
    CLOSE,
    DIVIDE,
    EQUALS_WORD,
    ID,
    MINUS,
    OPEN,
    PLUS,
    TIMES,
    ZERO,
    X,
    is_digit,
)

_OPERATOR_WORDS = {
    PLUS: (ID["plus"],),
    MINUS: (ID["minus"],),
    TIMES: (ID["times"],),
    DIVIDE: (ID["divided"], ID["by"]),
}
_OPENINGS = (
    *("what is", "what's", "how much is", "calculate", "compute", "evaluate", "find", "work out", "tell me", "give me"),
    *("solve", "tell me what is", "what is the result of", "please calculate"),
)
_OPENINGS_OF_EQUATIONS = ("solve", "find")
_ENDINGS_AFTER_OPENING = ("?", "please")
_ENDINGS = ("?", "equals ?", "equals", "please", "equals what ?")
# Shares of what is varied.
_IN_WORDS = 0.25
_X_FOR_TIMES = 0.2
_OPENED = 0.5
_ENDED = 0.4
_POLITE = 0.05
_DOES_EQUAL = 0.03
_OTHER_SIGN = 0.5


def vary_signs(tokens: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Writes operators and signs of arithmetic in other ways: ``12 x 3``, ``minus 5 plus 3``, ``2 * (-3)``.

    Args:
        tokens: A problem without an unknown x.
        rng: Source of all randomness.
    """
    in_words = rng.random() < _IN_WORDS
    with_x = not in_words and rng.random() < _X_FOR_TIMES and _may_have_x(tokens)
    varied: list[int] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        is_first = index == 0 or not _ends_operand(tokens[index - 1])
        if token == MINUS and is_first:
            index += _write_negative(tokens, index, varied, in_words, rng)
            continue

        if in_words and token in _OPERATOR_WORDS:
            varied += _OPERATOR_WORDS[token]
        else:
            varied.append(X if with_x and token == TIMES else token)
        index += 1
    return varied


def _write_negative(
    tokens: Sequence[int], index: int, varied: list[int], in_words: bool, rng: np.random.Generator
) -> int:
    """Writes a sign, or a whole negative number in parentheses.

    Args:
        tokens: The problem.
        index: Where the sign is.
        varied: Receives what is written.
        in_words: Whether operators are written in words.
        rng: Source of all randomness.

    Returns:
        The number of tokens that are done.
    """
    if rng.random() < _OTHER_SIGN:
        if in_words:
            varied.append(ID["minus"] if rng.random() < 0.5 else ID["negative"])
            return 1

        # Only after an operator: people do not write "(-5)+3".
        end = index + 1
        while end < len(tokens) and is_digit(tokens[end]):
            end += 1
        if index > 0 and tokens[index - 1] in _OPERATOR_WORDS and end > index + 1:
            varied += [OPEN, *tokens[index:end], CLOSE]
            return end - index
    varied.append(MINUS)
    return 1


def _ends_operand(token: int) -> bool:
    """Returns True if an operator, and not a sign, follows a token."""
    return is_digit(token) or token == CLOSE


def _may_have_x(tokens: Sequence[int]) -> bool:
    """Returns True if a calculation is read back with ``x`` for ``*``.

    "3 x - 4" would be half of an equation, and "0x7" a number in another base.
    """
    previous = OPEN
    for token, following in pairwise(tokens):
        is_zero = token == ZERO and not is_digit(previous)
        if (token, following) == (TIMES, MINUS) or (is_zero and following == TIMES):
            return False
        previous = token
    return True


def vary_frame(tokens: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Adds an opening and an ending to what is asked for, or does not: ``how much is 1 + 2``, ``1 + 2 = ?``.

    Args:
        tokens: What is asked for: a calculation, a function of numbers, an equation.
        rng: Source of all randomness.
    """
    # An equation is solved, and has its "equals" already.
    is_equation = EQUALS_WORD in tokens
    if not is_equation and rng.random() < _DOES_EQUAL:
        return [*_ids("what does"), *tokens, *_ids("equal ?")]

    opening: list[int] = []
    if rng.random() < _OPENED:
        opening = _pick(_OPENINGS_OF_EQUATIONS if is_equation else _OPENINGS, rng)

    endings = _ENDINGS_AFTER_OPENING if opening or is_equation else _ENDINGS
    ending: list[int] = []
    if rng.random() < _ENDED:
        ending = _pick(endings, rng)
    return [*opening, *tokens, *ending]


def vary_sentence(tokens: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Leaves the question mark of a sentence out, or asks politely, or does not.

    Args:
        tokens: A whole sentence.
        rng: Source of all randomness.
    """
    varied = list(tokens)
    if varied[-1] == ID["?"] and rng.random() < 0.5:
        varied.pop()
    if varied[-1] != ID["?"] and rng.random() < _POLITE:
        varied.append(ID["please"])
    return varied


def _pick(texts: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Draws one of some texts."""
    return _ids(texts[int(rng.integers(len(texts)))])


def _ids(text: str) -> list[int]:
    """Returns the token ids of some words."""
    return [ID[word] for word in text.split()]
