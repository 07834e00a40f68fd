"""Draws of numbers that the families share."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import MINUS, TIMES

# Shares of what gets a sign in signed problems.
_NEGATIVE_NUMBERS = 0.5
_NEGATED_PARENTHESES = 0.25
# A float has 53 bits: a number of up to 15 digits can be drawn with one call of ``below``.
_EXACT_DIGITS = 15


def below(rng: np.random.Generator, bound: int) -> int:
    """Draws an integer from 0 to ``bound - 1``.

    A scalar draw of ``rng.integers`` takes several times longer, and was the largest part of drawing a problem.

    Args:
        rng: Source of all randomness.
        bound: A number from 1 to 2 to the 53.
    """
    drawn: float = rng.random()
    return int(drawn * bound)


def draw_number(rng: np.random.Generator, digits: int) -> int:
    """Draws a number uniformly among those with a given number of digits. 0 has one digit.

    Args:
        rng: Source of all randomness.
        digits: The number of digits.

    Raises:
        ConfigurationError: If Python cannot convert products of two such numbers to text.
    """
    if digits == 1:
        return below(rng, 10)
    if digits <= _EXACT_DIGITS:
        least: int = 10 ** (digits - 1)
        return least + below(rng, 9 * least)

    # Products of two numbers, and sums of such products, are converted to text too. 0 means that Python has no limit.
    limit = sys.get_int_max_str_digits()
    most = limit // 2 - 5
    if limit and digits > most:
        raise ConfigurationError(f"numbers of {digits} digits; expected at most {most} (PYTHONINTMAXSTRDIGITS={limit})")

    # Digit by digit, since the number has more bits than a float.
    first = 1 + below(rng, 9)
    others = rng.integers(0, 10, digits - 1)
    return int("".join(map(str, (first, *others))))


def round_off(number: int, rng: np.random.Generator) -> int:
    """Returns a number whose last digits are 0, as in 1200: some of the digits of 1234, but not the first one.

    Args:
        number: The number, not negative.
        rng: Source of all randomness.
    """
    power: int = 10 ** below(rng, len(str(number)))
    return number - number % power


def draw_square(rng: np.random.Generator, digits: int) -> Binary:
    """Draws a square as part of an expression, ``(7*7)``. People write it ``7^2``.

    Args:
        rng: Source of all randomness.
        digits: Most digits of the number.
    """
    number = draw_number(rng, 1 + below(rng, digits))
    return Binary(TIMES, number, number, parens=True)


def is_square(expr: Expr) -> bool:
    """Returns True for the square of a number as part of an expression: see ``draw_square``.

    Args:
        expr: A number or arithmetic.
    """
    if not isinstance(expr, Binary) or expr.op != TIMES or not expr.parens:
        return False
    return isinstance(expr.left, int) and expr.left == expr.right


def draw_signs(expr: Expr, rng: np.random.Generator) -> Expr:
    """Returns an expression with a sign before half of its numbers, and before a quarter of its parentheses.

    Args:
        expr: A number or arithmetic.
        rng: Source of all randomness.
    """
    if isinstance(expr, int):
        return -expr if rng.random() < _NEGATIVE_NUMBERS else expr

    left = draw_signs(expr.left, rng)
    # The square of a negative number is one, too: "(-7*-7)" is "(-7)^2".
    right = left if is_square(expr) else draw_signs(expr.right, rng)
    signed = replace(expr, left=left, right=right)
    # "-(1+2)": the sign stands before the parentheses, which belong to the sum.
    if expr.parens and rng.random() < _NEGATED_PARENTHESES:
        return Binary(MINUS, 0, signed, negation=True)
    return signed


def digits_least_first(value: int) -> list[int]:
    """Returns the digits of a number, units first.

    Args:
        value: A non-negative integer.
    """
    return [int(digit) for digit in reversed(str(value))]
