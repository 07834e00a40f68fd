"""Differences: digit and borrow of each column. A borrow that is left over means that the answer is negative."""

from __future__ import annotations

from itertools import zip_longest

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import MINUS, ZERO
from o1nano.envs.problems.draws import digits_least_first
from o1nano.envs.problems.family import TwoOperands
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script


def write_columns(left: int, right: int, script: Script) -> bool:
    """Writes digit and borrow of each column of a difference, units first.

    Args:
        left: The number to subtract from.
        right: The number to subtract.
        script: Receives the columns: ``9 1 1 0`` for 53 - 34, since 3 - 4 borrows and leaves 9, and 5 - 3 - 1 = 1.

    Returns:
        Whether a borrow is left over, so that ``left`` is less than ``right``.
    """
    borrow = 0
    # Columns from the units: (3, 4) and (5, 3) for 53 - 34. Missing digits are 0.
    columns = zip_longest(digits_least_first(left), digits_least_first(right), fillvalue=0)
    for upper, lower in columns:
        digit = upper - lower - borrow
        # A negative digit borrows 10 from the next column: -1 becomes 9.
        borrow = int(digit < 0)
        script.write(ZERO + digit % 10, ZERO + borrow)
    return bool(borrow)


class Subtraction(TwoOperands):
    """``a - b`` of non-negative integers. The difference may be negative."""

    name = "subtraction"
    op = MINUS
    # The reverse difference, if the answer is negative.
    asks = ("subtraction",)
    phrasings = (
        "calculate the difference between {a} and {b}",
        "what is the difference of {a} and {b} ?",
        "calculate {a} minus {b}",
        "what is {a} minus {b} ?",
    )

    nouns = (
        "difference between {a} and {b}",
        "{a} take away {b}",
        "{a} decreased by {b}",
    )
    orders = (
        "subtract {b} from {a}",
        "take {b} from {a}",
        "take {b} away from {a}",
        "take away {b} from {a}",
        "what do you get if you subtract {b} from {a} ?",
    )

    def think(self, task: Binary, script: Script) -> list[int]:
        """Writes digit and borrow of each column. If a borrow is left over, calls the reverse difference.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        assert isinstance(task.left, int) and isinstance(task.right, int)
        if write_columns(task.left, task.right, script):
            reverse = script.call(Binary(MINUS, task.right, task.left))
            return [MINUS, *reverse]
        return expected_answer(task, least_first=True)
