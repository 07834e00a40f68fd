"""Differences: digit and borrow; a last borrow means that the answer is negative."""

from __future__ import annotations

from itertools import zip_longest

from o1nano.envs.language.expression import Binary, answer
from o1nano.envs.language.vocab import MINUS, ZERO
from o1nano.envs.problems.family import Script, TwoOperands, digits_least_first


def write_columns(left: int, right: int, script: Script) -> bool:
    """Writes digit and borrow of each column of a difference, units first; returns whether a borrow is left over."""
    borrow = 0
    for one, other in zip_longest(digits_least_first(left), digits_least_first(right), fillvalue=0):
        digit = one - other - borrow
        borrow = int(digit < 0)
        script.write(ZERO + digit % 10, ZERO + borrow)
    return bool(borrow)


class Subtraction(TwoOperands):
    """``a - b`` of non-negative integers; the difference may be negative."""

    name, op = "subtraction", MINUS
    asks = ("subtraction",)
    phrasings = (
        "calculate the difference between {a} and {b}",
        "what is the difference of {a} and {b} ?",
        "calculate {a} minus {b}",
        "what is {a} minus {b} ?",
    )

    def think(self, expr: Binary, script: Script) -> list[int]:
        """Column by column, ``d borrow``; with a borrow left over, calls the reverse difference and negates it."""
        assert isinstance(expr.left, int) and isinstance(expr.right, int)
        if write_columns(expr.left, expr.right, script):
            return [MINUS, *script.call(Binary(MINUS, expr.right, expr.left))]
        return answer(expr, least_first=True)
