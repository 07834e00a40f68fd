"""Products: by one digit of the second factor at a time, the rest by calls."""

from __future__ import annotations

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import PLUS, TIMES, ZERO
from o1nano.envs.problems.draws import digits_least_first
from o1nano.envs.problems.family import TwoOperands
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script


class Multiplication(TwoOperands):
    """``a * b`` of non-negative integers."""

    name = "multiplication"
    op = TIMES
    # Two products with parts of the second factor, and the sum of both; or the product with its factors exchanged.
    asks = ("multiplication", "addition")
    phrasings = (
        "calculate the product of {a} and {b}",
        "what is the product of {a} and {b} ?",
        "calculate {a} times {b}",
        "what is {a} times {b} ?",
    )

    nouns = (
        "{a} multiplied by {b}",
        "product of {a} and {b}",
        "{a} squared {b=a}",
        "{a} ^2 {b=a}",
        "the square of {a} {b=a}",
        "twice {a} {b=2}",
        "double {a} {b=2}",
        "triple {a} {b=3}",
    )
    orders = (
        "multiply {a} by {b}",
        "multiply {a} and {b}",
        "square {a} {b=a}",
        "double the number {a} {b=2}",
        "what do you get if you multiply {a} by {b} ?",
    )

    def think(self, task: Binary, script: Script) -> list[int]:
        """Writes digit and carry of each column if the second factor has one digit; otherwise makes calls.

        A second factor with more digits is exchanged for the first one, which leaves fewer parts.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        left = task.left
        right = task.right
        assert isinstance(left, int) and isinstance(right, int)

        if right < 10:
            self._write_columns(left, right, script)
        elif len(str(right)) > len(str(left)):
            script.call(Binary(TIMES, right, left))
        else:
            self._call_parts(left, right, script)
        return expected_answer(task, least_first=True)

    @staticmethod
    def _write_columns(left: int, digit: int, script: Script) -> None:
        """Writes digit and carry of each column: ``2 4 8 2`` for 47 * 6, since 7 * 6 = 42 and 4 * 6 + 4 = 28."""
        # The last carry is the first digit of the product, and may be 0.
        carry = 0
        for factor in digits_least_first(left):
            carry, unit = divmod(factor * digit + carry, 10)
            script.write(ZERO + unit, ZERO + carry)

    @staticmethod
    def _call_parts(left: int, right: int, script: Script) -> None:
        """Splits the second factor into its last digit and the rest.

        With ``units = a * (b % 10)`` and ``tens = a * (b // 10)``, the product has the last digit of ``units``, and in
        front of it ``units // 10 + tens``. So no sum has more digits than both factors together. For 47 * 86:
        units = 282 and tens = 376, so 404 stands in front of 2.
        """
        units = left * (right % 10)
        tens = left * (right // 10)

        script.call(Binary(TIMES, left, right % 10))
        script.step()
        script.call(Binary(TIMES, left, right // 10))
        script.step()
        script.call(Binary(PLUS, units // 10, tens))
