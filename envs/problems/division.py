"""Quotient and remainder: long division, each quotient digit guessed, checked and revised."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, answer
from o1nano.envs.language.vocab import DIVIDE, MINUS, OK, QUOTIENT_DIGIT, REVISE, TIMES, WRONG, ZERO
from o1nano.envs.problems.family import Script, TwoOperands, below, draw_number
from o1nano.envs.problems.subtraction import write_columns

_WRONG_GUESSES = 3  # in a frame, at most


class Division(TwoOperands):
    """``a / b`` of non-negative integers, answered by quotient and remainder."""

    name, op = "division", DIVIDE
    asks = ("division", "multiplication", "subtraction")
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
        """Guesses the digit, multiplies, subtracts: a remainder below 0 or not below the divisor is ``<wrong>``.

        Whether it is below the divisor shows as the last borrow of their difference, column by column: two numbers are
        not compared at a glance (docs/log.md).
        Later guesses can be wrong like the first: whoever has only seen right ones accepts them unread (docs/log.md).
        """
        if len(str(left)) < len(str(right)):
            script.write(ZERO, OK)
            return
        digit, low, high = left // right, 0, 9
        if digit > high:
            raise ProblemError(f"{left}\\{right} is no digit; accepted: a quotient from 0 to 9")
        for _ in range(_WRONG_GUESSES):
            if low == high or not script.slips():
                break
            script.slipped.append(len(script.tokens))
            wrong = self._wrong_digit(digit, low, high, script)
            self._try_digit(wrong, left, right, script)
            script.write(WRONG, REVISE)
            low, high = (wrong + 1, high) if wrong < digit else (low, wrong - 1)
        self._try_digit(digit, left, right, script)
        script.write(OK)

    @staticmethod
    def _try_digit(digit: int, left: int, right: int, script: Script) -> None:
        script.write(ZERO + digit)
        script.call(Binary(TIMES, right, digit))
        script.call(Binary(MINUS, left, right * digit))
        if right * digit <= left:
            script.step()
            write_columns(left - right * digit, right, script)

    @staticmethod
    def _wrong_digit(digit: int, low: int, high: int, script: Script) -> int:
        """Among those that earlier guesses have left, mostly off by one, as a model's own wrong guesses are."""
        assert script.rng is not None
        left = [other for other in range(low, high + 1) if other != digit]
        near = [other for other in left if abs(other - digit) == 1]
        among = near if script.rng.random() < 0.8 else left
        return among[below(script.rng, len(among))]
