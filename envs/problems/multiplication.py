"""Products: one digit of the second factor at a time, the rest by calls."""

from __future__ import annotations

from o1nano.envs.language.expression import Binary, answer
from o1nano.envs.language.vocab import PLUS, TIMES, ZERO
from o1nano.envs.problems.family import Script, TwoOperands, digits_least_first


class Multiplication(TwoOperands):
    """``a * b`` of non-negative integers."""

    name, op = "multiplication", TIMES
    asks = ("multiplication", "addition")
    phrasings = (
        "calculate the product of {a} and {b}",
        "what is the product of {a} and {b} ?",
        "calculate {a} times {b}",
        "what is {a} times {b} ?",
    )

    def think(self, expr: Binary, script: Script) -> list[int]:
        """By one digit: digit and carry. Otherwise ``a * b = r0 + 10 * (r / 10 + a * (b / 10))`` with ``r = a * b0``.

        The unit of r is the unit of the product, so the sums never grow beyond the digits of both factors.
        """
        left, right = expr.left, expr.right
        assert isinstance(left, int) and isinstance(right, int)
        if right < 10:
            carry = 0
            for digit in digits_least_first(left):
                carry, unit = divmod(digit * right + carry, 10)
                script.write(ZERO + unit, ZERO + carry)
        else:
            script.call(Binary(TIMES, left, right % 10))
            script.step()
            script.call(Binary(TIMES, left, right // 10))
            script.step()
            script.call(Binary(PLUS, left * (right % 10) // 10, left * (right // 10)))
        return answer(expr, least_first=True)
