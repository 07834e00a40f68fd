"""Sums: digit and carry, digit and carry."""

from __future__ import annotations

from itertools import zip_longest

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import PLUS, ZERO
from o1nano.envs.problems.draws import digits_least_first
from o1nano.envs.problems.family import TwoOperands
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script


class Addition(TwoOperands):
    """``a + b`` of non-negative integers."""

    name = "addition"
    op = PLUS
    # A column is a lookup, so no frame of a sum has a use for calls.
    asks = ()
    phrasings = (
        "calculate the sum of {a} and {b}",
        "what is the sum of {a} and {b} ?",
        "calculate {a} plus {b}",
        "what is {a} plus {b} ?",
    )

    nouns = (
        "sum of {a} and {b}",
        "{a} and {b} together",
        "{a} increased by {b}",
    )
    orders = (
        "add {a} and {b}",
        "add {b} to {a}",
        "{a} and {b} is how much ?",
        "what do you get if you add {a} and {b} ?",
    )

    def think(self, task: Binary, script: Script) -> list[int]:
        """Writes digit and carry of each column, so that every step is a lookup.

        Args:
            task: The problem.
            script: Receives the thinking: ``3 1 4 1`` for 98 + 45, since 8 + 5 = 13 and 9 + 4 + 1 = 14.
        """
        assert isinstance(task.left, int) and isinstance(task.right, int)
        carry = 0
        # Columns from the units: (8, 5) and (9, 4) for 98 + 45. Missing digits are 0.
        columns = zip_longest(digits_least_first(task.left), digits_least_first(task.right), fillvalue=0)
        for left, right in columns:
            # Two digits and a carry are at most 19.
            carry, digit = divmod(left + right + carry, 10)
            script.write(ZERO + digit, ZERO + carry)
        return expected_answer(task, least_first=True)
