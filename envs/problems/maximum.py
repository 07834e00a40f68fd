"""The largest number of a list, by comparisons."""

from __future__ import annotations

from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import ID
from o1nano.envs.problems.lists import ListFamily


class Maximum(ListFamily):
    """``max(3, 14, 15)``."""

    name, op = "maximum", ID["max"]
    phrasings = (
        "what is the largest of the numbers {list} ?",
        "find the maximum of {list}",
        "which is larger , {a} or {b} ?",
    )

    def fold(self, *numbers: int) -> int:
        """Returns the largest number."""
        return max(numbers)

    def pair(self, left: int, right: int) -> Function:
        """Two numbers are compared."""
        return Function(ID["compare"], (left, right))
