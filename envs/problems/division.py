"""Quotient and remainder: long division, each quotient digit guessed, checked and revised."""

from __future__ import annotations

import numpy as np

from o1nano.envs.expression import Binary, answer
from o1nano.envs.problems.base import Script, TwoOperands, below, draw_number
from o1nano.envs.vocab import DIVIDE, MINUS, OK, PLUS, QUOTIENT_DIGIT, REVISE, TIMES, WRONG, ZERO

_REVISIONS = 2  # in a frame, at most


class Division(TwoOperands):
    """``a / b`` of non-negative integers, answered by quotient and remainder."""

    name, op = "division", DIVIDE
    asks = ("division", "multiplication", "subtraction", "addition")
    phrasings = (
        "calculate the quotient of {a} and {b}",
        "what is the quotient of {a} and {b} ?",
        "calculate {a} divided by {b}",
        "what is {a} divided by {b} ?",
    )

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """The dividend is the longer operand: the other way round every quotient is 0."""
        return self.of_digits(rng, size, 1 + below(rng, size) if other is None else other)

    def of_digits(self, rng: np.random.Generator, left: int, right: int) -> Binary:
        """Draws a problem with exactly these numbers of digits and a divisor other than 0."""
        dividend = draw_number(rng, left)
        return Binary(DIVIDE, dividend, draw_number(rng, right) if right > 1 else 1 + below(rng, 9))

    def think(self, expr: Binary, script: Script) -> list[int]:
        """Divides all but the units first, then the remainder with the units brought down."""
        left, right = expr.left, expr.right
        assert isinstance(left, int) and isinstance(right, int)
        if expr.op == QUOTIENT_DIGIT:
            self._quotient_digit(left, right, script)
        elif left < 10:
            script.call(Binary(QUOTIENT_DIGIT, left, right))
        else:
            script.call(Binary(DIVIDE, left // 10, right))
            script.step()
            script.call(Binary(QUOTIENT_DIGIT, left // 10 % right * 10 + left % 10, right))
        return answer(expr, least_first=True)

    def _quotient_digit(self, left: int, right: int, script: Script) -> None:
        """Guesses the digit, multiplies, subtracts, and subtracts the divisor once more: two signs judge the guess.

        One that is too large is ``<wrong>`` and revised. One that is too small leaves a smaller problem of that kind
        for a frame of its own: what is tried again and again in one frame is soon accepted unread (docs/log.md).
        """
        if len(str(left)) < len(str(right)):
            script.write(ZERO, OK)
            return
        digit = left // right
        guess = self._guess(digit, 10, script)
        for _ in range(_REVISIONS):
            if guess <= digit:
                break
            self._try_digit(guess, left, right, script)
            script.write(WRONG, REVISE)
            guess = self._guess(digit, guess, script)
        guess = min(guess, digit)
        remainder = self._try_digit(guess, left, right, script)
        script.call(Binary(MINUS, remainder, right))
        if guess == digit:
            script.write(OK)
        else:
            script.call(Binary(QUOTIENT_DIGIT, remainder, right))
            script.call(Binary(PLUS, guess, remainder // right))

    @staticmethod
    def _try_digit(digit: int, left: int, right: int, script: Script) -> int:
        script.write(ZERO + digit)
        script.call(Binary(TIMES, right, digit))
        script.call(Binary(MINUS, left, right * digit))
        return left - right * digit

    @staticmethod
    def _guess(digit: int, limit: int, script: Script) -> int:
        """Returns the digit or, where the expert slips, another one: mostly off by one, as a model's own guesses are."""
        wrong = [other for other in range(1, limit) if other != digit]
        if not wrong or not script.slips():
            return digit
        assert script.rng is not None
        script.slipped.append(len(script.tokens))
        near = [other for other in wrong if abs(other - digit) == 1]
        among = near if script.rng.random() < 0.8 else wrong
        return among[below(script.rng, len(among))]
