"""Draws of numbers that the families share."""

from __future__ import annotations

import sys

import numpy as np

from o1nano.envs.errors import ConfigurationError

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


def digits_least_first(value: int) -> list[int]:
    """Returns the digits of a number, units first.

    Args:
        value: A non-negative integer.
    """
    return [int(digit) for digit in reversed(str(value))]
