"""Everyday ways to write a problem: words for signs, openings such as "how much is", endings such as "= ?".

What a template says is varied here, token by token, in ways that ``reader`` reads back as the same problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from o1nano.envs.language.vocab import (
    CLOSE,
    COMMA,
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
_SQUARES = (ID["^2"], ID["squared"])
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
_SQUARED = 0.8
_SQUARED_IN_WORDS = 0.25
_TWO_SIGNS = 0.02
_COMMA_BEFORE_AND = 0.3


def vary_squares(tokens: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Writes ``( 7 * 7 )`` as ``7 ^2`` or ``7 squared``, and ``( - 7 * - 7 )`` as ``( - 7 ) ^2``.

    Args:
        tokens: A problem.
        rng: Source of all randomness.
    """
    varied: list[int] = []
    index = 0
    while index < len(tokens):
        factor = _squared_factor(tokens, index)
        # "-7^2" has two meanings.
        if not factor or _is_sign(tokens, index - 1) or rng.random() >= _SQUARED:
            varied.append(tokens[index])
            index += 1
            continue

        varied += [OPEN, *factor, CLOSE] if factor[0] == MINUS else factor
        varied.append(ID["squared"] if rng.random() < _SQUARED_IN_WORDS else ID["^2"])
        # Both factors, the sign between them, and the parentheses.
        index += 2 * len(factor) + 3
    return varied


def _squared_factor(tokens: Sequence[int], start: int) -> list[int]:
    """Returns the tokens of n if ``( n * n )`` begins at an index, with or without a sign; otherwise nothing."""
    if tokens[start] != OPEN or TIMES not in tokens[start:]:
        return []
    middle = tokens.index(TIMES, start)
    factor = list(tokens[start + 1 : middle])
    digits = factor[1:] if factor[:1] == [MINUS] else factor
    if not digits or not all(map(is_digit, digits)):
        return []
    rest = list(tokens[middle + 1 : middle + len(factor) + 2])
    return factor if rest == [*factor, CLOSE] else []


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
        if _is_sign(tokens, index):
            index += _write_negative(tokens, index, varied, in_words, rng)
            continue
        # "3 x -4" is not read.
        if not with_x and _may_have_two_signs(tokens, index) and rng.random() < _TWO_SIGNS:
            index += _write_two_signs(tokens, index, varied)
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

        # "2*(-3)" and "(-5)+3", but not "(-5)" alone.
        end = _end_of_digits(tokens, index + 1)
        after_operator = index > 0 and tokens[index - 1] in _OPERATOR_WORDS
        before_operator = index == 0 and end < len(tokens) and tokens[end] in _OPERATOR_WORDS
        if (after_operator or before_operator) and end > index + 1:
            varied += [OPEN, *tokens[index:end], CLOSE]
            return end - index
    varied.append(MINUS)
    return 1


def _may_have_two_signs(tokens: Sequence[int], index: int) -> bool:
    """Returns True if an operand of digits begins at an index, of which people might write ``-(-5)``."""
    if not is_digit(tokens[index]):
        return False
    if index > 0 and tokens[index - 1] not in _OPERATOR_WORDS:
        return False
    end = _end_of_digits(tokens, index)
    # Not "x - -(-5)", and no square of it.
    is_squared = end < len(tokens) and tokens[end] in _SQUARES
    return not is_squared and not (index > 0 and tokens[index - 1] == MINUS)


def _write_two_signs(tokens: Sequence[int], index: int, varied: list[int]) -> int:
    """Writes the opposite of the opposite of a number; returns the number of tokens that are done."""
    end = _end_of_digits(tokens, index)
    varied += [MINUS, OPEN, MINUS, *tokens[index:end], CLOSE]
    return end - index


def _end_of_digits(tokens: Sequence[int], index: int) -> int:
    """Returns the index after the digits that begin at an index."""
    end = index
    while end < len(tokens) and is_digit(tokens[end]):
        end += 1
    return end


def _is_sign(tokens: Sequence[int], index: int) -> bool:
    """Returns True if the token at an index is a minus sign that belongs to what follows."""
    if index < 0 or tokens[index] != MINUS:
        return False
    return index == 0 or not _ends_operand(tokens[index - 1])


def vary_lists(tokens: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Writes a comma before the "and" of a list of three or more, or does not: ``3 , 14 , and 15``.

    Args:
        tokens: A problem.
        rng: Source of all randomness.
    """
    varied = list(tokens)
    if ID["and"] not in varied:
        return varied
    index = varied.index(ID["and"])
    # "1 and 2" has no comma.
    if COMMA in varied[:index] and rng.random() < _COMMA_BEFORE_AND:
        varied.insert(index, COMMA)
    return varied


def _ends_operand(token: int) -> bool:
    """Returns True if an operator, and not a sign, follows a token."""
    return is_digit(token) or token == CLOSE or token in _SQUARES


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
