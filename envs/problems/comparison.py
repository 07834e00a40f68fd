"""Comparisons: digit by digit from the units, each column overruling those before."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import GREATER, ID, LESS, SAME
from o1nano.envs.problems.family import FunctionFamily, Script, below, digits_least_first, draw_number


class Comparison(FunctionFamily):
    """``compare(12, 34)``, answered by ``<``, ``>`` or ``==``."""

    name, op = "comparison", ID["compare"]
    phrasings = (
        "how does {a} compare to {b} ?",
        "compare {a} and {b}",
        "compare {a} with {b}",
    )
    arity = range(2, 3)
    negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws two numbers, half of the time alike in all but a few last digits: other pairs are told by length.

        The first has ``size`` digits, the second ``other``: by default as many in half of the cases, else at most.
        """
        left = draw_number(rng, size)
        if other is None and rng.random() < 0.5:
            alike = 10 ** below(rng, size + 1)
            right = left - left % alike + below(rng, min(alike, 10**15))
        else:
            right = draw_number(rng, 1 + below(rng, size) if other is None else other)
        return self.of(left, right) if rng.random() < 0.5 else self.of(right, left)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the one token of the answer."""
        return [compare(*numbers)]

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Writes after each column how the digits so far compare; of two negative numbers, compares the opposites."""
        left, right = numbers
        if left < 0 and right < 0:
            script.call(self.of(-right, -left))
        elif left >= 0 and right >= 0:
            verdict = SAME
            columns = zip_longest(digits_least_first(left), digits_least_first(right), fillvalue=0)
            for one, other in columns:
                verdict = verdict if one == other else compare(one, other)
                script.write(verdict)
        return self.answer(numbers, least_first=True)


def compare(left: int, right: int) -> int:
    """Returns ``<``, ``>`` or ``==`` as a token."""
    return LESS if left < right else GREATER if left > right else SAME
