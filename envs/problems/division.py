"""Quotient and remainder: long division, in which each quotient digit is guessed, checked and revised."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, OK, QUOTIENT_DIGIT, REVISE, TIMES, WRONG, ZERO
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.family import TwoOperands
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script
from o1nano.envs.problems.subtraction import write_columns

# Of one quotient digit.
_MAX_WRONG_GUESSES = 3
# Share of wrong guesses that are off by one, as most of a model's own wrong guesses are.
_NEAR_MISSES = 0.8


class Division(TwoOperands):
    """``a / b`` of non-negative integers, answered by quotient and remainder."""

    name = "division"
    op = DIVIDE
    # The quotient of the other digits; for one digit of the quotient, its product with the divisor and the remainder.
    asks = ("division", "multiplication", "subtraction")
    phrasings = (
        "calculate the quotient of {a} and {b}",
        "what is the quotient of {a} and {b} ?",
        "calculate {a} divided by {b}",
        "what is {a} divided by {b} ?",
    )

    nouns = (
        "{a} over {b}",
        "quotient of {a} and {b}",
        "half of {a} {b=2}",
        "half {a} {b=2}",
    )
    orders = (
        "divide {a} by {b}",
        "what do you get if you divide {a} by {b} ?",
        "divide {a} in half {b=2}",
    )

    @property
    def operators(self) -> tuple[int, ...]:
        """``/``, and ``\\``, which divides with a quotient of one digit."""
        return (DIVIDE, QUOTIENT_DIGIT)

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Binary:
        """Draws dividend and divisor. The dividend is the longer one: otherwise every quotient would be 0.

        Args:
            rng: Source of all randomness.
            size: Digits of the dividend.
            second_digits: Digits of the divisor; by default 1 to ``size``.
        """
        divisor_digits = 1 + below(rng, size) if second_digits is None else second_digits
        return self.of_digits(rng, size, divisor_digits)

    def of_digits(self, rng: np.random.Generator, left: int, right: int) -> Binary:
        """Draws a problem with given numbers of digits and a divisor other than 0.

        Args:
            rng: Source of all randomness.
            left: Digits of the dividend.
            right: Digits of the divisor.
        """
        dividend = draw_number(rng, left)
        # Of one digit, 0 is left out.
        divisor = draw_number(rng, right) if right > 1 else 1 + below(rng, 9)
        return Binary(DIVIDE, dividend, divisor)

    def think(self, task: Binary, script: Script) -> list[int]:
        """Divides all digits but the units first, then the remainder with the units brought down.

        A dividend that is not longer than the divisor has a quotient of one digit, which is found at once.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        left = task.left
        right = task.right
        assert isinstance(left, int) and isinstance(right, int)

        # "/" reduces the dividend by its last digit; "\\" finds one digit of the quotient.
        if task.op == QUOTIENT_DIGIT:
            self._quotient_digit(left, right, script)
        elif len(str(left)) <= len(str(right)):
            # 89 / 64: with no more digits than the divisor, the quotient has one digit.
            script.call(Binary(QUOTIENT_DIGIT, left, right))
        else:
            # 8914 / 64: 891 / 64 leaves 59, so the last digit of the quotient is that of 594 / 64.
            script.call(Binary(DIVIDE, left // 10, right))
            script.step()
            remainder = left // 10 % right
            script.call(Binary(QUOTIENT_DIGIT, remainder * 10 + left % 10, right))
        return expected_answer(task, least_first=True)

    def _quotient_digit(self, left: int, right: int, script: Script) -> None:
        """Guesses the digit, multiplies and subtracts, until the remainder is from 0 to the divisor less 1.

        Every guess may be wrong, not only the first one: a model that has seen right second guesses only accepts them
        unread.
        """
        # A number with fewer digits is smaller, which can be seen without a subtraction.
        if len(str(left)) < len(str(right)):
            script.write(ZERO, OK)
            return

        # An agent may ask for a quotient of several digits: the grammar allows it.
        digit = left // right
        if digit > 9:
            raise ProblemError(f"{left}\\{right} is not a digit; expected a quotient from 0 to 9")

        # Wrong guesses rule out digits: the right one stays between low and high.
        low = 0
        high = 9
        for _ in range(_MAX_WRONG_GUESSES):
            if low == high or not script.draw_mistake():
                break
            # The guess is the next token.
            script.mistakes.append(len(script.tokens))
            wrong = self._wrong_digit(digit, low, high, script)
            self._try_digit(wrong, left, right, script)
            script.write(WRONG, REVISE)

            if wrong < digit:
                low = wrong + 1
            else:
                high = wrong - 1

        self._try_digit(digit, left, right, script)
        script.write(OK)

    @staticmethod
    def _try_digit(digit: int, left: int, right: int, script: Script) -> None:
        """Writes a guess, its product with the divisor, and the remainder that it leaves.

        The columns of ``remainder - divisor`` follow if the remainder is not negative: their last borrow shows whether
        it is less than the divisor. A model cannot compare two numbers at a glance.
        """
        script.write(ZERO + digit)
        script.call(Binary(TIMES, right, digit))
        script.call(Binary(MINUS, left, right * digit))

        remainder = left - right * digit
        if remainder >= 0:
            script.step()
            write_columns(remainder, right, script)

    @staticmethod
    def _wrong_digit(digit: int, low: int, high: int, script: Script) -> int:
        """Draws a wrong digit among those that earlier guesses have left."""
        assert script.rng is not None
        # There is one: a guess is only wrong if more than one digit is left.
        left = [other for other in range(low, high + 1) if other != digit]
        near = [other for other in left if abs(other - digit) == 1]
        among = near if script.rng.random() < _NEAR_MISSES else left
        return among[below(script.rng, len(among))]
