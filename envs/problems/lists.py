"""Folding a list: a call makes one number of the first two, and a tail call continues with the shorter list."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from o1nano.envs.language.expression import Binary, Function, Task, render
from o1nano.envs.language.vocab import ID, PLUS
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.script import Script

# Of a list, by default.
_MOST_NUMBERS = 5


class ListFamily(FunctionFamily):
    """A function of a list of numbers that can be computed two numbers at a time."""

    extra_name = "numbers"
    allows_negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, numbers: int | None = None, /) -> Function:
        """Draws a list: one number of exactly ``size`` digits, the others of at most ``size``, in random order.

        Args:
            rng: Source of all randomness.
            size: Digits of the longest number.
            numbers: How many numbers; by default 2 to 5.
        """
        count = 2 + below(rng, _MOST_NUMBERS - 1) if numbers is None else numbers

        # The first number has the full size; the permutation moves it to a random place.
        digits = [size, *rng.integers(1, size + 1, count - 1)]
        drawn = [draw_number(rng, int(digits[index])) for index in rng.permutation(count)]
        return self.of(*drawn)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws a list; in a part of the problems round ones.

        Args:
            rng: Source of all randomness.
            size: Digits of the longest number.
        """
        return self.rounded(self.sample(rng, size), rng)

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longest number of a list that is not too long.

        Args:
            task: Any problem.
            extra: Most numbers, 5 by default.
        """
        # Levels without a second parameter draw lists of up to five numbers.
        most = _MOST_NUMBERS if extra is None else extra
        if isinstance(task, Function) and len(task.args) > most:
            return None
        return super().size_of(task, extra)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the value.

        Args:
            numbers: The list.
            least_first: Whether digits are written least significant first.
        """
        return render(self.fold(*numbers), least_first)

    @abstractmethod
    def fold(self, *numbers: int) -> int:
        """Returns the value of a list.

        Args:
            numbers: The list.
        """

    @abstractmethod
    def pair(self, left: int, right: int) -> Task:
        """Returns the subtask that makes one number of two.

        Args:
            left: The first number.
            right: The second number.
        """

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int] | None:
        """Calls a subtask for the first two numbers, then tail-calls the list in which its answer replaces them.

        Args:
            numbers: The list.
            script: Receives the thinking.
        """
        # A list of one number is its own value.
        if len(numbers) > 1:
            script.call(self.pair(*numbers[:2]))
        if len(numbers) <= 2:
            return self.answer(numbers, least_first=True)

        # The list with the value of the first two in their place.
        script.step()
        script.tail_call(self.of(self.fold(*numbers[:2]), *numbers[2:]))
        return None


class Maximum(ListFamily):
    """``max(3, 14, 15)``."""

    name = "maximum"
    op = ID["max"]
    phrasings = (
        "what is the largest of the numbers {list} ?",
        "find the maximum of {list}",
        "which is larger , {a} or {b} ?",
    )

    nouns = (
        "the largest of {listed}",
        "largest of {listed}",
        "the biggest of {listed}",
        "the highest of {listed}",
        "the maximum of {listed}",
        "{op} of {listed}",
    )
    orders = (
        "which is bigger , {a} or {b} ?",
        "which number is larger , {a} or {b} ?",
        "which is the largest of {listed} ?",
        "which of {listed} is the biggest ?",
    )

    def fold(self, *numbers: int) -> int:
        """Returns the largest number.

        Args:
            numbers: The list.
        """
        return max(numbers)

    def pair(self, left: int, right: int) -> Function:
        """Returns the comparison of two numbers.

        Args:
            left: The first number.
            right: The second number.
        """
        return Function(ID["compare"], (left, right))


class ListSum(ListFamily):
    """``total(3, 14, 15)``."""

    name = "list_sum"
    op = ID["total"]
    phrasings = (
        "what is the sum of all numbers in the list {list} ?",
        "calculate the sum of the numbers {list}",
        "find the total of {list}",
    )

    nouns = (
        "the sum of {listed}",
        "the {op} of {listed}",
        "{op} of {listed}",
        "{listed} together",
        "the sum of the numbers {listed}",
    )
    orders = (
        "add {listed}",
        "add up {listed}",
        "add up the numbers {listed}",
        "add all of {listed}",
    )

    def fold(self, *numbers: int) -> int:
        """Returns the sum.

        Args:
            numbers: The list.
        """
        return sum(numbers)

    def pair(self, left: int, right: int) -> Binary:
        """Returns the sum of two numbers.

        Args:
            left: The first number.
            right: The second number.
        """
        return Binary(PLUS, left, right)
