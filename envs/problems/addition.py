"""Sums: digit and carry, digit and carry."""

from __future__ import annotations

from itertools import zip_longest

from o1nano.envs.language.expression import Binary, answer
from o1nano.envs.language.vocab import PLUS, ZERO
from o1nano.envs.problems.family import Script, TwoOperands, digits_least_first


class Addition(TwoOperands):
    """``a + b`` of non-negative integers."""

    name, op = "addition", PLUS
    asks = ()
    phrasings = (
        "calculate the sum of {a} and {b}",
        "what is the sum of {a} and {b} ?",
        "calculate {a} plus {b}",
        "what is {a} plus {b} ?",
    )

    def think(self, expr: Binary, script: Script) -> list[int]:
        """Column by column, ``s c`` with the carry explicit, so that every step is a lookup."""
        assert isinstance(expr.left, int) and isinstance(expr.right, int)
        carry = 0
        columns = zip_longest(digits_least_first(expr.left), digits_least_first(expr.right), fillvalue=0)
        for left, right in columns:
            carry, digit = divmod(left + right + carry, 10)
            script.write(ZERO + digit, ZERO + carry)
        return answer(expr, least_first=True)
