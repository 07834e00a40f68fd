"""The sum of a list."""

from __future__ import annotations

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import ID, PLUS
from o1nano.envs.problems.lists import ListFamily


class ListSum(ListFamily):
    """``total(3, 14, 15)``."""

    name, op = "list_sum", ID["total"]
    phrasings = (
        "what is the sum of all numbers in the list {list} ?",
        "calculate the sum of the numbers {list}",
        "find the total of {list}",
    )

    def fold(self, *numbers: int) -> int:
        """Returns the sum."""
        return sum(numbers)

    def pair(self, left: int, right: int) -> Binary:
        """Two numbers are added."""
        return Binary(PLUS, left, right)
