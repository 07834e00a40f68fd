"""Folding a list: the first two numbers become one by a call, a tail call goes on with the rest."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from o1nano.envs.language.expression import Function, Task, render
from o1nano.envs.problems.family import FunctionFamily, Script, below, draw_number


class ListFamily(FunctionFamily):
    """A function of a list of numbers that can be computed two numbers at a time; negative ones are read too."""

    negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws ``other`` numbers, by default 2 to 5: one of exactly ``size`` digits, the others of at most so many."""
        count = 2 + below(rng, 4) if other is None else other
        digits = [size, *rng.integers(1, size + 1, count - 1)]
        return self.of(*(draw_number(rng, int(digits[index])) for index in rng.permutation(count)))

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the value."""
        return render(self.fold(*numbers), least_first)

    @abstractmethod
    def fold(self, *numbers: int) -> int:
        """Returns the value of a list."""

    @abstractmethod
    def pair(self, left: int, right: int) -> Task:
        """Returns the call that two numbers are computed with."""

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int] | None:
        """One call for the first two numbers, then the list with one number less."""
        if len(numbers) > 1:
            script.call(self.pair(*numbers[:2]))
        if len(numbers) <= 2:
            return self.answer(numbers, least_first=True)
        script.step()
        script.tail_call(self.of(self.fold(*numbers[:2]), *numbers[2:]))
        return None
